"""Best of N: several responses to a question, of which a critic chooses one.

The critic `judge` is the backend itself, asked for a mark (Zheng et al. 2023, arXiv 2306.05685; a
small model's marks are worth little). One's own is a function of another package, which params.yaml
names as `package.module:name`: it takes pairs of question and response and returns a number each,
such as a reward model's. A scorer of the stage `score` is named with its keys, as in score.scorers;
it is loaded by its import path as well, since no stage imports another.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

from winnow.core import extensions
from winnow.core.errors import Refusal
from winnow.generate.backends import Reply, Request, Sampling
from winnow.generate.methods import Ask, prompt

Pairs = Sequence[tuple[str, str]]
"""Questions and responses."""
Critic = Callable[[Pairs], Sequence[float]]
JUDGE = "judge"
SCORER = "winnow.score.critic"
"""The module that scores single pairs."""
MARK = re.compile(r"\d+(?:\.\d+)?")
HIGHEST = 10
WORST = -1.0
"""The mark of a response about which a judge says nothing that can be read."""
JUDGING = Sampling(temperature=0.01, top_p=1.0, repetition_penalty=1.0, max_tokens=8)


@dataclass(frozen=True, slots=True)
class BestOf:
    """Answers questions with the best of several replies.

    Args:
        number: replies to a question.
        critic: JUDGE, `package.module:name`, or a scorer with its keys.
        ask: of the backend.
        place: of the critic in params.yaml.
    """

    number: int
    critic: str | Mapping[str, Any]
    ask: Ask
    place: str = "generate.recipes"

    def respond(self, requests: Sequence[Request]) -> list[Reply]:
        """The reply with the highest mark to each request, of equal ones the first; where none is
        a text, the first failure."""
        tries = [
            replace(request, seed=request.seed + (attempt << 64))
            for request in requests
            for attempt in range(self.number)
        ]
        replies = self.ask(tries)
        texts = [place for place, reply in enumerate(replies) if reply.failure is None]
        pairs = [(tries[place].chat[-1][1], replies[place].text) for place in texts]
        marks = dict(zip(texts, self._marks(pairs), strict=True))
        groups = range(0, len(replies), self.number)

        def liked(place: int) -> tuple[bool, float]:
            return place in marks, marks.get(place, 0.0)

        return [replies[max(range(at, at + self.number), key=liked)] for at in groups]

    def _marks(self, pairs: Pairs) -> Sequence[float]:
        if self.critic == JUDGE:
            return self._judge(pairs)
        if isinstance(self.critic, Mapping):
            marks = extensions.load(f"{SCORER}:marks", FunctionType)
            return list(marks(self.critic, pairs, self.place)) if pairs else []
        found = extensions.load(self.critic, FunctionType)(pairs)
        if len(found) != len(pairs):
            raise Refusal(
                f"critic: {self.critic} gave {len(found)} marks to {len(pairs)} responses"
            )
        return [-math.inf if math.isnan(mark) else float(mark) for mark in found]

    def _judge(self, pairs: Pairs) -> list[float]:
        asked = [
            Request(
                chat=(("user", prompt("judge", question=question, response=response)),),
                sampling=JUDGING,
                seed=0,
            )
            for question, response in pairs
        ]
        return [mark(reply) for reply in self.ask(asked)]


def check(critic: str | Mapping[str, Any], place: str) -> None:
    """Refuse a scorer that cannot be a critic, or its keys; a function is looked at when it is
    called."""
    if isinstance(critic, Mapping):
        extensions.load(f"{SCORER}:check", FunctionType)(critic, place)


def identity(critic: str | Mapping[str, Any], place: str) -> dict[str, str]:
    """What a scorer's marks depend on beside its keys; nothing is known of other critics."""
    if not isinstance(critic, Mapping):
        return {}
    found: dict[str, str] = extensions.load(f"{SCORER}:identity", FunctionType)(critic, place)
    return found


def mark(reply: Reply) -> float:
    """The number that a judge's reply begins with, in [0, HIGHEST]; else WORST."""
    found = MARK.search(reply.text)
    value = float(found[0]) if found and not reply.failure else WORST
    return value if value <= HIGHEST else WORST
