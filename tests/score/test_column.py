"""A number of the user's own: a column of the corpus, or of a file beside it.

pytest tests/score/test_column.py
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import corpus, write_jsonl

from winnow.core.errors import Refusal
from winnow.ingest import stage as ingest
from winnow.score.corpus import Corpus
from winnow.score.scorers.column import Column

SCORE = pa.schema([("id", pa.string())])


def scores(settings: Column, ids: list[str], hashes: list[str] | None = None) -> list[Any]:
    table = pa.table({"id": ids}, SCORE)
    ready = settings.prepare(Corpus(Path("none"), {"train": table}))
    batch = pa.RecordBatch.from_pydict({"id": ids, "hash": hashes or ids})
    found = [*ready(batch.slice(0, 1)), *ready(batch.slice(1))]
    ready.notes()
    return found


def test_a_column_of_the_corpus_is_carried_to_its_row(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Any] = corpus(6)
    for row, value in zip(rows, [1, "2.5", None, "high", [3], 1e999], strict=True):
        row["My score"] = value
    write_jsonl(project / "data/a.jsonl", rows)
    pq.write_table(
        pa.table({"instruction": ["Why?"], "response": ["So it is."], "My score": [7.25]}),
        project / "data/b.parquet",
    )
    params = (
        (project / "params.yaml")
        .read_text()
        .replace("source: data", "source: data\n  keep: [My score]")
    )
    (project / "params.yaml").write_text(params)
    ingest.run()
    monkeypatch.setattr(Corpus, "check_ingested", lambda self: None)
    ids = [*(f"a.jsonl:{line}" for line in range(1, 7)), "b.parquet:0"]
    found = scores(Column(column="My score"), ids)
    assert found == [1.0, 2.5, "no value", "no number", "no number", "no value", 7.25]
    assert (
        "My score"
        not in json.loads(Path("artifacts/ingest/card.json").read_text())["columns_not_used"]
    )
    with pytest.raises(Refusal, match="ingest kept no column 'other': name it in ingest.keep"):
        scores(Column(column="other"), ids)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("by", ["id", "hash", "line"])
def test_a_file_is_joined_by_id_hash_or_line(tmp_path: Path, ending: str, by: str) -> None:
    first = {"csv": 2, "jsonl": 1, "parquet": 0}[ending]
    ids = [f"a:{first + number}" for number in range(4)]
    hashes = ["h0", "h1", "h2", "h3"]
    keys = {"id": ids, "hash": hashes, "line": [str(first + n) for n in range(4)]}[by]
    rows = [{by: key, "s": value} for key, value in zip(keys, [0.5, 2, None], strict=False)]
    path = tmp_path / f"s.{ending}"
    if ending == "csv":
        lines = [f"{by},s", *(f"{r[by]},{'' if r['s'] is None else r['s']}" for r in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif ending == "jsonl":
        write_jsonl(path, rows)  # type: ignore[arg-type]
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    for name in {None, by if by == "line" else None}:
        settings = Column(column="s", file=str(path), by=by, id=name)  # type: ignore[arg-type]
        assert scores(settings, ids, hashes) == [0.5, 2.0, "no value", "no record"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,s\na,1\na,2\n", "two numbers for id 'a': keep one"),
        ("id,s\na,1\nb,2\na,1\nb,\na,3\n", "two numbers for id 'b': keep one"),
        ("key,s\na,1\n", "at 2: no column 'id', but key, s"),
        ("id,s\nz,1\n", "its 1 records are about no row, the first 'z'"),
        ("id,s\n", "holds no record"),
        ('id,s\n"a,1\n', "cannot be read"),
    ],
)
def test_a_file_that_says_nothing_of_the_rows_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(Refusal, match=message):
        scores(Column(column="s", file=str(path)), ["a", "b"])


def test_a_record_that_is_there_twice_is_one(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("id,s\nz,3\na,none\nb,-0.0\nz,3\na,no\nb,0\n")
    ready = Column(column="s", file=str(path)).prepare(Corpus(Path("none"), {}))
    rows = pa.RecordBatch.from_pydict({"id": ["b", "c", "a"]})
    assert ready(rows) == [0.0, "no record", "no number"]
    assert ready(rows.slice(0, 0)) == [] and ready.notes() == {"records_of_no_row": 1}


def test_by_line_is_for_a_corpus_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"s": 1}\n')
    with pytest.raises(Refusal, match="by: line is for a corpus of one file, found a, b"):
        scores(Column(column="s", file=str(path), by="line"), ["a:1", "b:1"])
