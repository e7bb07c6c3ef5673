"""What rewards a model's own answers: whether they are right, as a program says.

The recipes rloo and grpo name it as `studies.alignment.rewards:right`.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from corpora.planted.family import passes
from winnow.core.records import Row
from winnow.train.policies import Answer


@cache
def asked() -> dict[str, tuple[str, str]]:
    """The check of every question that pairs are of, and its answer; rows.py wrote both."""
    text = Path(__file__).with_name("answers.jsonl").read_text(encoding="utf-8")
    found = map(json.loads, text.splitlines())
    return {
        Row("", "", one["instruction"], one["input"], "").question: (one["check"], one["answer"])
        for one in found
    }


def right(answers: Sequence[Answer]) -> list[float]:
    """1 for each answer that is right, else 0."""
    return [float(passes(*asked()[one.question], one.text)) for one in answers]
