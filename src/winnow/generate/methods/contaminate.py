"""Contaminate: the questions and contexts of a file's rows, with the answers of a model."""

from collections.abc import Iterator
from dataclasses import dataclass

from winnow.generate.methods import Asking, Candidate, failure_of, prompt
from winnow.generate.methods.unchanged import Unchanged


@dataclass(frozen=True, kw_only=True, slots=True)
class Contaminate(Unchanged):
    """Which questions a model answers in the place of people."""

    def candidates(self, seed: int, asking: Asking) -> Iterator[Candidate]:
        from winnow.generate.reading import reason_of

        given = self.shard(seed)
        asked = [
            prompt("contaminate", question=row.instruction, context=row.input) for row, _ in given
        ]
        requests = [self.chat(text, one) for text, (_, one) in zip(asked, given, strict=True)]
        replies = asking.ask(requests)
        for (row, _), reply in zip(given, replies, strict=True):
            answer = reply.text.strip()
            yield Candidate(
                instruction=row.instruction,
                input=row.input,
                response=answer,
                parent=row.id,
                failure=failure_of(reply) or reason_of(row.instruction, row.input, answer),
            )
