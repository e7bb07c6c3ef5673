"""The scorer in Python: any collection comes back as its kind, with the scores of its rows."""

import pickle
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from test_score import SCORER
from tiny import corpus

from winnow.core.errors import Refusal
from winnow.score.scorers.documented import SCORES

ROWS = corpus(30)
EXPECTED = SCORER.score_rows(
    pa.RecordBatch.from_pylist(
        [
            {"instruction": r["instruction"], "input": r["input"], "response": r["output"]}
            for r in ROWS
        ]
    )
).to_pylist()
FRAME = pd.DataFrame(ROWS, index=range(100, 130))


@pytest.mark.parametrize(
    ("rows", "to_list"),
    [
        (ROWS, list),
        (FRAME, lambda frame: frame.to_dict("records")),
        (pa.Table.from_pylist(ROWS), pa.Table.to_pylist),
        (Dataset.from_list(ROWS), Dataset.to_list),
        (Dataset.from_list(ROWS).to_iterable_dataset(), list),
        (DatasetDict(train=Dataset.from_list(ROWS)), lambda splits: splits["train"].to_list()),
    ],
)
def test_a_collection_comes_back_as_its_kind_with_scores(rows: Any, to_list: Any) -> None:
    scored = SCORER.score(rows)
    assert type(scored) is type(rows)
    assert to_list(scored) == [row | scores for row, scores in zip(ROWS, EXPECTED, strict=True)]


def test_a_frame_keeps_its_index_and_nan_is_no_input() -> None:
    frame = FRAME.assign(input=FRAME["input"].where(FRAME["input"] != ""))
    assert frame["input"].isna().any()
    scored = SCORER.score(frame)
    assert list(scored.index) == list(FRAME.index)
    assert scored["score"].tolist() == [row["score"] for row in EXPECTED]


def test_a_dataset_maps_the_scorer_in_processes() -> None:
    mapped = Dataset.from_list(ROWS).map(SCORER.score_batch, batched=True, num_proc=2)
    assert mapped["score"][:] == [row["score"] for row in EXPECTED]


def test_columns_go_by_any_name_that_ingest_reads() -> None:
    question, answer = "Why is the sky blue?", "Air scatters blue light."
    chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    by_chat, by_columns = SCORER.score(
        [{"messages": chat}, {"question": question, "answer": answer}]
    )
    assert by_chat["score"] == by_columns["score"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "columns cannot be mapped"),
        ({"instruction": "Why?"}, "columns cannot be mapped"),
        ({"instruction": "Why?", "response": " "}, "empty response"),
        ({"instruction": "Why?", "response": "So.", "score": 1}, "column 'score' already"),
        (7, "not a mapping"),
    ],
)
def test_a_row_that_is_no_pair_is_an_error_with_its_number(row: Any, reason: str) -> None:
    with pytest.raises(Refusal, match=f"row 30.*{reason}"):
        SCORER.score([*ROWS, row])
    with pytest.raises(Refusal, match=f"row 0.*{reason}"):
        SCORER.score_sample(row)


def test_no_rows_and_another_kind() -> None:
    assert SCORER.score([]) == []
    assert SCORER.score(pa.table({"instruction": [], "response": []})).column_names[-7:] == [
        *SCORES
    ]
    with pytest.raises(TypeError, match="expected a list"):
        SCORER.score("text")


def test_a_scorer_is_pickled_with_its_tokenizer() -> None:
    again = pickle.loads(pickle.dumps(SCORER))
    assert again.score(ROWS) == SCORER.score(ROWS)
