"""Evol-Instruct: a model makes tasks harder, or others of their kind, in rounds.

Xu et al. 2023, arXiv 2304.12244 (WizardLM). In depth a task gets constraints, more depth, more
concrete terms, more steps of reasoning or data as its input; in breadth it gives rise to a rarer
one. What a round
brings forth is eliminated if it gains nothing, if nothing can be said to it, or if it copies words
of the prompt; then the task stays as it was for the next round. Simplified: a row's input is a part
of its task, and the new one stands by itself; data come without the paper's worked examples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from winnow.core.params import Range
from winnow.core.words import bare, cut
from winnow.generate.backends import Reply
from winnow.generate.methods import Asking, Candidate, draw, failure_of, prompt, seeds
from winnow.generate.rows import OfRows

WAYS = ("constrain", "deepen", "concretise", "reason", "complicate", "broaden")
"""Prompts by which a task evolves, all equally likely: five in depth, one in breadth."""
FORMS = ("a table", "XML", "JSON", "HTML", "SQL", "program code", "a shell command and its output")
"""In which data are put before a task that is complicated; one is drawn."""
COPIED = ("given task", "rewritten task", "given prompt", "rewritten prompt", "created prompt")
"""What the prompts call their parts, and the paper's: no task speaks of itself so."""
SORRY_WORDS = 80
"""Words below which a response that says sorry counts as none."""
STOP_WORDS = frozenset(
    cut(
        "a about after all also am an and any are as at be been but by can could did do does for"
        " from had has have he her here him his how i if in into is it its just me more my no not"
        " of on or our she so some such than that the their them then there these they this those"
        " to too up us was we were what when where which who why will with would yes you your"
    )
)
NO_GAIN = "no gain over the task it is made of"
UNJUDGED = "no verdict on what is gained"
COPIES = "copies words of the prompt"
SORRY = "the response is an apology"
HOLLOW = "the response has only stop words or signs"


@dataclass(slots=True)
class _Task:
    """A row's task as the last round left it, and what this round makes of it."""

    id: str
    text: str
    evolved: str = ""
    response: str = ""
    failure: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EvolInstruct(OfRows):
    """Which rows evolve, and how far."""

    has_responses: ClassVar[bool] = True

    rounds: Annotated[int, Range("[1, 100]")] = 4

    def candidates(self, seed: int, asking: Asking) -> Iterator[Candidate]:
        tasks = [_Task(row.id, row.question) for row, _ in self.shard(seed)]
        for number in range(self.rounds):
            for task in tasks:
                task.evolved, task.response, task.failure = "", "", None
            self._evolve(tasks, asking, seeds(seed, len(tasks), 3 * number))
            self._judge(tasks, asking, seeds(seed, len(tasks), 3 * number + 1))
            self._respond(tasks, asking, seeds(seed, len(tasks), 3 * number + 2))
            for task in tasks:
                yield Candidate(
                    instruction=task.evolved,
                    response=task.response,
                    parent=task.id,
                    failure=task.failure,
                )
                task.text = task.text if task.failure else task.evolved

    def _evolve(self, tasks: Sequence[_Task], asking: Asking, asked: Sequence[int]) -> None:
        requests = []
        for task, one in zip(tasks, asked, strict=True):
            way = WAYS[draw(one, 1, len(WAYS))[0]]
            form = FORMS[draw(one, 2, len(FORMS))[1]]
            requests.append(self.chat(prompt(f"evol_{way}", task=task.text, form=form), one))
        for task, reply in zip(tasks, asking.ask(requests), strict=True):
            task.evolved, task.failure = reply.text.strip(), failure_of(reply)
            if not task.failure and _copies(task.evolved, task.text):
                task.failure = COPIES

    def _judge(self, tasks: Sequence[_Task], asking: Asking, asked: Sequence[int]) -> None:
        """Ask whether the new task gains anything, as the paper does."""
        left = [(task, one) for task, one in zip(tasks, asked, strict=True) if not task.failure]
        requests = [
            self.chat(prompt("evol_gain", first=task.text, second=task.evolved), one, ("\n", "."))
            for task, one in left
        ]
        for (task, _), reply in zip(left, asking.ask(requests), strict=True):
            task.failure = failure_of(reply) or _gain_failure(reply)

    def _respond(self, tasks: Sequence[_Task], asking: Asking, asked: Sequence[int]) -> None:
        left = [(task, one) for task, one in zip(tasks, asked, strict=True) if not task.failure]
        replies = asking.respond([self.chat(task.evolved, one) for task, one in left])
        for (task, _), reply in zip(left, replies, strict=True):
            task.response = reply.text.strip()
            task.failure = failure_of(reply) or hollow(task.response)


def _copies(evolved: str, text: str) -> bool:
    """Whether a new task has words of the prompt that the one before it has not."""
    new, old = evolved.lower(), text.lower()
    return any(words in new and words not in old for words in COPIED)


def _gain_failure(reply: Reply) -> str | None:
    first = (bare(reply.text.lower()).split() or [""])[0]
    return {"equal": NO_GAIN, "different": None}.get(first, UNJUDGED)


def hollow(response: str) -> str | None:
    """Why a response has no content, where that is so."""
    words = bare(response.lower()).split()
    if "sorry" in words and len(cut(response)) < SORRY_WORDS:
        return SORRY
    return None if {*words} - STOP_WORDS else HOLLOW
