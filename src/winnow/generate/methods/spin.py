"""SPIN: own answers, rejected beside the rows' responses (Chen et al. 2024, arXiv 2401.01335).

Trained on such pairs by DPO, from the weights of the model that answered, a model takes one round
of self-play.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from winnow.generate.methods import Asking, Candidate, failure_of
from winnow.generate.rows import OfRows


@dataclass(frozen=True, kw_only=True, slots=True)
class Spin(OfRows):
    """Which rows are answered once more, by the model itself."""

    compared: ClassVar[str] = "whole"
    names: ClassVar[Mapping[str, str]] = {
        "instruction": "instruction",
        "input": "input",
        "response": "chosen",
        "rejected": "rejected",
    }

    def needed(self) -> tuple[str, ...]:
        return ("response",)

    def candidates(self, seed: int, asking: Asking) -> Iterator[Candidate]:
        given = self.shard(seed)
        replies = asking.ask([self.chat(row.question, one) for row, one in given])
        for (row, _), reply in zip(given, replies, strict=True):
            yield Candidate(
                instruction=row.instruction,
                input=row.input,
                response=row.response,
                rejected=reply.text.strip(),
                parent=row.id,
                failure=failure_of(reply),
            )
