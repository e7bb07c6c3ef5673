"""A model that a test writes: a function of a request, asked as a stage asks a backend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from winnow.generate.backends import CUT, Reply, Request
from winnow.generate.methods import Asking, Candidate, Recipe

LOST = "not answered"


@dataclass
class Model:
    """Answers by a script; every seventh reply is cut, empty or lost, if so wished."""

    script: Callable[[Request], str]
    fails: bool = False
    asked: list[Request] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        self.batches.append(len(requests))
        replies = []
        for request in requests:
            self.asked.append(request)
            bad = [Reply(text="zyx zyx", failure=CUT), Reply(text=" \n"), Reply(failure=LOST)]
            at = len(self.asked)
            failed = self.fails and at % 7 == 0
            replies.append(bad[at // 7 % 3] if failed else Reply(text=self.script(request)))
        return replies


def made(
    recipe: Recipe, model: Model, seed: int = 100, prefix: str | None = "<user>"
) -> list[Candidate]:
    return list(recipe.candidates(seed, Asking(model.ask, prefix)))
