"""Magpie: a chat model says what a user might ask it, and then answers.

Xu et al. 2024, arXiv 2406.08464: the text of the chat format up to where the user's words begin is
all that the model is given; an aligned model goes on with a question, as it learned on such texts.
Simplified: no system prompt steers the topics, and the paper's filters by rewards are the stage
`score`'s work.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from winnow.core.errors import Refusal
from winnow.generate.backends import Request
from winnow.generate.methods import Asking, Candidate, Recipe, failure_of, seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Magpie(Recipe):
    """Nothing but what all methods have."""

    has_responses: ClassVar[bool] = True

    def candidates(self, seed: int, asking: Asking) -> Iterator[Candidate]:
        if asking.question_prefix is None:
            raise Refusal(
                "method: magpie lets a model go on from its chat format, which this backend does "
                "not know: take another method or backend"
            )
        prefix, sampling = asking.question_prefix, self.sampling()
        asked = seeds(seed, self.requests)
        questions = asking.ask([Request(text=prefix, sampling=sampling, seed=o) for o in asked])
        followed = seeds(seed, self.requests, 1)
        left = [
            self.chat(question.text.strip(), one)
            for question, one in zip(questions, followed, strict=True)
            if not failure_of(question)
        ]
        replies = iter(asking.respond(left))
        for question in questions:
            instruction, failure = question.text.strip(), failure_of(question)
            if failure:
                yield Candidate(instruction=instruction, failure=failure)
                continue
            reply = next(replies)
            failure = failure_of(reply)
            response = "" if failure else reply.text.strip()
            yield Candidate(instruction=instruction, response=response, failure=failure)
