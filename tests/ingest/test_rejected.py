"""The answer that was rejected is read in every shape that the chosen one has."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny import TINY, write_params

from winnow.core.mapping.fields import Unmapped
from winnow.core.mapping.pair import rejected_in, to_pair
from winnow.core.records import REJECTED
from winnow.ingest import stage

Q, A, B = "Which tree is this?", "It is a lime.", "A tree."


def chat(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


def hh(answer: str) -> str:
    """HH-RLHF's shape: the whole conversation as one text."""
    return f"\n\nHuman: Look.\n\nAssistant: Where?\n\nHuman: {Q}\n\nAssistant: {answer}"


ULTRAFEEDBACK = {
    "prompt": Q,
    "chosen": chat(("user", Q), ("assistant", A)),
    "rejected": chat(("user", Q), ("assistant", B)),
}
SHAPES: dict[str, dict[str, Any]] = {
    "texts": {"prompt": Q, "chosen": A, "rejected": B},
    "orca": {"system": "Be kind.", "question": Q, "chosen": A, "rejected": B},
    "UltraFeedback": ULTRAFEEDBACK | {"messages": ULTRAFEEDBACK["chosen"], "score_chosen": 8.0},
    "JSON": {key: json.dumps(value) for key, value in ULTRAFEEDBACK.items() if key != "prompt"},
    "HH-RLHF": {"chosen": hh(A), "rejected": hh(B)},
    "answers": {"prompt": Q} | {"chosen": chat(("assistant", A)), "Rejected": chat(("gpt", B))},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_both_answers_of_a_published_shape(shape: str) -> None:
    record = SHAPES[shape]
    pair = to_pair(record)
    assert (pair.instruction, pair.response) == (Q, A)
    assert rejected_in(record, pair) == B


def test_what_is_no_rejected_answer() -> None:
    alone = {"prompt": Q, "chosen": A}
    for nothing in ({}, {"rejected": None}, {"rejected": " "}, {"rejected": []}):
        assert rejected_in(alone | nothing, to_pair(alone)) == ""
    for worse, why in (
        (chat(("user", "And that?"), ("assistant", B)), "the answer is to another question"),
        (chat(("user", Q)), "rejected: columns cannot be mapped"),
        ([["a", "b", "c"]], "rejected: the conversation is not a list of turns"),
    ):
        with pytest.raises(Unmapped, match=why):
            rejected_in(alone | {"rejected": worse}, to_pair(alone))


def test_pairs_are_kept_beside_rows_and_others_are_counted(project: Path) -> None:
    other = {"chosen": hh(A), "rejected": hh(B).replace("Look.", "Listen.")}
    records = [*SHAPES.values(), other, {"instruction": "Go.", "output": "Gone."}]
    for left in (project / "data").iterdir():
        left.unlink()
    text = "".join(json.dumps(record) + "\n" for record in records)
    (project / "data/pairs.jsonl").write_text(text)
    write_params(project, TINY | {"ingest": {"source": "data", "keep": ["rejected"]}})
    stage.run()
    (shard,) = (project / "artifacts/ingest").glob("*.parquet")
    assert pq.read_table(shard)[REJECTED].to_pylist() == [*[B] * len(SHAPES), ""]
    card = json.loads((project / "artifacts/ingest/card.json").read_text())
    assert card["ledger"]["dropped"] == {"rejected: the answer is to another question": 1}
