"""What a scorer may say, how reasons are counted, and what a column costs.

pytest tests/score/test_score_columns.py
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.score import columns
from winnow.score.corpus import SPLITS, Corpus
from winnow.score.params import Item
from winnow.score.scorers import Ready, Scores, Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Said(Settings):
    """Says of a row what it is told, by the number in its id."""

    words: Sequence[Any]

    def prepare(self, corpus: Corpus) -> Ready:
        return _Said(self.words)


class _Said(Ready):
    def __init__(self, words: Sequence[Any]) -> None:
        self.words, self.flops = words, 0.0

    def __call__(self, rows: pa.RecordBatch) -> Scores:
        self.flops = (self.flops or 0.0) + 10 * len(rows)
        return [self.words[int(name)] for name in rows["id"].to_pylist() if name != "left out"]


def test_another_process_is_sent_the_place_of_a_row_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pa.table({"response": ["words " * number for number in range(1000)]})
    pq.write_table(rows, tmp_path / "train.parquet", row_group_size=300)
    monkeypatch.chdir(tmp_path)
    sent = [pickle.dumps(group) for group in Corpus(Path(), {}).row_groups("train")]
    assert len(sent) == 4 and max(map(len, sent)) < 1000
    monkeypatch.chdir("/")
    batches = [batch for group in sent for batch in pickle.loads(group).batches(200)]
    assert pa.Table.from_batches(batches).equals(rows)
    assert [len(batch) for batch in batches] == [200, 100] * 3 + [100]


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def scored(folder: Path, ids: list[str], words: Sequence[Any], rows: int) -> Any:
    table = pa.table({"id": ids})
    for split in SPLITS:
        pq.write_table(table, folder / f"{split}.parquet")
    corpus = Corpus(folder, {split: table for split in SPLITS})
    return columns.score(Item("said", "said", Said(words=words), "here"), corpus, rows)


def test_reasons_are_counted_and_no_more_than_a_hundred_by_name(tmp_path: Path) -> None:
    ids = [str(number) for number in range(200)]
    words = [f"reason {number}" if number % 3 else float(number) for number in range(200)]
    words[:8] = ["long " * 100] * 8
    tables, cost, card = scored(tmp_path, ids, words, 200)
    numbers = [word if isinstance(word, float) else None for word in words]
    assert tables["train"]["said"].to_pylist() == numbers
    named = {reason: number for reason, number in card["unscored"].items() if "(" not in reason}
    assert len(named) == columns.REASONS == 100 and max(map(len, named)) <= 200
    assert named[("long " * 100)[:200]] == 8 * len(SPLITS)
    assert card["unscored"].total() == numbers.count(None) * len(SPLITS)
    _Said.scores_dropped = False
    kept, dear, _ = scored(tmp_path, ids, words, 200)
    _Said.scores_dropped = True
    assert kept["train"] == tables["train"] and kept["dropped"]["said"].null_count == 200
    assert dear["flops"] == cost["flops"]
    again, _, same = scored(tmp_path, ids, words, 7)
    assert again == tables and same == card
    assert cost["flops"] == 10 * 3 * 200 and cost["rows"] == 600, "of the rows that were kept"


def test_the_numbers_lie_in_a_file_and_not_in_memory(tmp_path: Path) -> None:
    ids, before = ["0"] * 200_000, pa.total_allocated_bytes()
    tables, _, _ = scored(tmp_path, ids, [0.5], 10_000)
    assert sum(len(table) for table in tables.values()) == len(SPLITS) * len(ids)
    assert pa.total_allocated_bytes() - before < 8 * len(SPLITS) * len(ids) / 2, "ids are 5 a row"


@pytest.mark.parametrize(
    ("ids", "words", "message"),
    [
        (["0", "left out"], [1.0], "said: expected 2 scores, found 1"),
        (["0"], [float("nan")], "said: expected a finite number or a reason, found nan"),
    ],
)
def test_anything_else_is_a_bug_of_the_scorer(
    tmp_path: Path, ids: list[str], words: list[Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        scored(tmp_path, ids, words, 10)
