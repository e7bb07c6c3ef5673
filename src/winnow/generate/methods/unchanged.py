"""Unchanged: a file's rows as they are, which so meet the same checks as what is made of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from winnow.generate.methods import Asking, Candidate
from winnow.generate.rows import OfRows

READING_NAMES = {"instruction": "question", "input": "context", "response": "answer"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Unchanged(OfRows):
    """Which questions about a text, with their answers, are taken as they are; see reading.py."""

    compared: ClassVar[str] = "whole"
    names: ClassVar[Mapping[str, str]] = READING_NAMES

    def needed(self) -> tuple[str, ...]:
        return ("input", "response")

    def candidates(self, seed: int, asking: Asking) -> Iterator[Candidate]:
        from winnow.generate.reading import reason_of

        for row, _ in self.shard(seed):
            yield Candidate(
                instruction=row.instruction,
                input=row.input,
                response=row.response,
                parent=row.id,
                failure=reason_of(row.instruction, row.input, row.response),
            )
