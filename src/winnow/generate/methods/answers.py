"""Answers: several replies to each of a file's prompts, to choose among or to compare."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from winnow.generate.methods import Asking, Candidate, failure_of
from winnow.generate.rows import OfRows, Replies


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers(OfRows):
    """Which prompts are answered, and how often."""

    compared: ClassVar[str] = "response"
    number: Replies = 4
    """Replies to a prompt; `requests` counts them all."""

    def times(self) -> int:
        return self.number

    def candidates(self, seed: int, asking: Asking) -> Iterator[Candidate]:
        given = self.shard(seed)
        replies = asking.ask([self.chat(row.question, one) for row, one in given])
        for (row, _), reply in zip(given, replies, strict=True):
            yield Candidate(
                instruction=row.instruction,
                input=row.input,
                response=reply.text.strip(),
                parent=row.id,
                failure=failure_of(reply),
            )
