"""Self-Instruct: a model adds to a list of tasks that people wrote, and solves what is new.

Wang et al. 2022, arXiv 2212.10560: each request shows eight instructions, six of people and two
that were made before, in any shard; a new one is kept if its ROUGE-L to every other is below 0.7
and it asks for nothing that text alone cannot do. Whether it is one of classification the model
says itself: then the labels are written first and a text for each, as texts that come first are
mostly of one label; else an input comes first, where the task needs one. Simplified: the model is
asked in a chat and for a fixed number of tasks, one a line, without examples of either kind.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from winnow.core import rouge
from winnow.core.errors import Refusal
from winnow.core.params import Range, Text
from winnow.core.words import bare, cut
from winnow.generate.backends import Reply, Request
from winnow.generate.methods import Asking, Candidate, Recipe, draw, failure_of, prompt, seeds
from winnow.generate.rows import Given, read

SHOWN, MADE = 8, 2
"""Instructions in a request, and how many of them the model made, once there are as many."""
WANTED = 8
"""New instructions of a request."""
PARTS = 4
"""Of a round: the list, the kind of each task, its input or labels, its response."""
MOST_ALIKE = 0.7
"""The ROUGE-L from which on an instruction is not new."""
ITEM = re.compile(r"^[ \t]*(?:\d+[.):]|[-*\u2022](?=[ \t]))[ \t]*(.*)$", re.MULTILINE)
"""A line of a list, by its number or its dot."""
BEYOND_TEXT = re.compile(
    r"(?i)\b(?:audio|chart|draw|drawing|file|graph|image|map|photo|picture|sketch|video)s?\b"
)
"""Words of tasks that ask for more than text: the paper names images, pictures and graphs."""
NO_LIST = "no list in the reply"
TOO_MANY = "more tasks than were asked for"
BEYOND = "asks for what text alone cannot do"
UNLABELLED = "no label with a text in the reply"
TWO_LABELS = "one text with two labels"
LABELS = 6
"""Of a task of classification, at most."""
LABELLED = re.compile(
    r"^[ \t]*(?:class )?label:[ \t]*(\S.*)\n+[ \t]*input:[ \t]*(\S.*)$",
    re.MULTILINE | re.IGNORECASE,
)
ALIKE = f"ROUGE-L of {MOST_ALIKE} or more to another instruction"


@dataclass(slots=True)
class _Pool:
    """The instructions so far: people's and those that were kept."""

    people: list[str]
    made: list[str] = field(default_factory=list)
    split: list[list[str]] = field(default_factory=list)
    """Words of all of them, people's first."""

    def __post_init__(self) -> None:
        self.split = [_words(one) for one in (*self.people, *self.made)]

    def reason(self, instruction: str) -> str | None:
        """Why an instruction is not kept; else it is from now on."""
        words = _words(instruction)
        if not words:
            return NO_LIST
        if BEYOND_TEXT.search(instruction):
            return BEYOND
        if any(is_alike(words, others) for others in self.split):
            return ALIKE
        self.made.append(instruction)
        self.split.append(words)
        return None

    def shown(self, seed: int) -> list[str]:
        """Instructions for a request."""
        made = min(MADE, len(self.made))
        people = [self.people[at] for at in draw(seed, SHOWN - made, len(self.people))]
        return people + [self.made[at] for at in draw(seed, made, len(self.made))]


def _words(text: str) -> list[str]:
    return cut(text.lower())


def is_alike(words: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists of words have a ROUGE-L of MOST_ALIKE or more."""
    # No common subsequence is longer than the shorter list.
    most = 2 * min(len(words), len(others)) / (len(words) + len(others))
    return most >= MOST_ALIKE and rouge.f1(words, others) >= MOST_ALIKE


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfInstruct(Recipe):
    """What people wrote, and how often the model's own tasks come back to it."""

    has_responses: ClassVar[bool] = True

    examples: Text
    """A file of rows, of which only the instructions are read."""
    rounds: Annotated[int, Range("[1, 100]")] = 5
    """A shard's requests are spread over these; what one keeps the next ones show."""

    def files(self) -> Mapping[str, str]:
        return {"examples": self.examples}

    def check(self) -> None:
        self._people()

    def _people(self) -> list[str]:
        rows = read("examples", self.examples)
        if len(rows) < SHOWN:
            raise Refusal(
                f"examples: {self.examples} has {len(rows)} rows, but a request shows {SHOWN}"
            )
        return [" ".join(row.instruction.split()) for row in rows]

    def candidates(self, seed: int, asking: Asking) -> Iterator[Candidate]:
        pool = _Pool(self._people(), [" ".join(one.split()) for one in asking.earlier])
        bounds = [self.requests * count // self.rounds for count in range(self.rounds + 1)]
        for number, (start, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
            asked = seeds(seed, end - start, PARTS * number)
            replies = asking.ask([self._request(pool.shown(one), one) for one in asked])
            found = [item for reply in replies for item in _judged(reply, pool)]
            yield from (item for item in found if item.failure)
            kept = [item.instruction for item in found if not item.failure]
            chances = [seeds(seed, len(kept), PARTS * number + part) for part in range(1, PARTS)]
            yield from self._instances(kept, chances, asking)

    def _instances(
        self, kept: Sequence[str], chances: Sequence[Sequence[int]], asking: Asking
    ) -> Iterator[Candidate]:
        """Rows of new tasks: by the label first, or by the input first."""
        said = self._told("self_instruct_kind", kept, chances[0], asking)
        sorts: list[tuple[str, int, int]] = []
        others: list[tuple[str, int, int]] = []
        for text, reply, *seeded in zip(kept, said, *chances[1:], strict=True):
            if failure := failure_of(reply):
                yield Candidate(instruction=text, failure=failure)
                continue
            is_sort = bare(reply.text.lower()).split()[:1] == ["yes"]
            (sorts if is_sort else others).append((text, seeded[0], seeded[1]))
        tasks = [text for text, *_ in sorts]
        replies = self._told("self_instruct_labels", tasks, [one for _, one, _ in sorts], asking)
        for text, reply in zip(tasks, replies, strict=True):
            yield from _labelled(text, reply)
        yield from self._answered(others, asking)

    def _answered(
        self, tasks: Sequence[tuple[str, int, int]], asking: Asking
    ) -> Iterator[Candidate]:
        """Rows of tasks with an input, where they need one, and a response."""
        first = [one for _, one, _ in tasks]
        given = self._told("self_instruct_input", [text for text, *_ in tasks], first, asking)
        left, chats = [], []
        for (text, _, seed), reply in zip(tasks, given, strict=True):
            if failure := failure_of(reply):
                yield Candidate(instruction=text, failure=failure)
                continue
            row = Given(id="", instruction=text, input=_input(reply.text))
            left.append(row)
            chats.append(self.chat(row.question, seed))
        for row, reply in zip(left, asking.respond(chats), strict=True):
            failure = failure_of(reply)
            yield Candidate(
                instruction=row.instruction,
                input=row.input,
                response="" if failure else reply.text.strip(),
                failure=failure,
            )

    def _told(
        self, name: str, tasks: Sequence[str], chances: Sequence[int], asking: Asking
    ) -> list[Reply]:
        """What the model says of each task by one of the prompts."""
        prompts = [prompt(name, task=text, most=str(LABELS)) for text in tasks]
        return asking.ask([self.chat(*one) for one in zip(prompts, chances, strict=True)])

    def _request(self, shown: Sequence[str], seed: int) -> Request:
        tasks = "\n".join(f"{number}. {text}" for number, text in enumerate(shown, 1))
        first, last = SHOWN + 1, SHOWN + WANTED
        content = prompt(
            "self_instruct", tasks=tasks, wanted=str(WANTED), first=str(first), last=str(last)
        )
        return self.chat(content, seed, (f"\n{last + 1}.",))


def _judged(reply: Reply, pool: _Pool) -> Iterator[Candidate]:
    """What a reply lists, each with the reason why it is not kept."""
    failure = failure_of(reply)
    items = [] if failure else [item.strip() for item in ITEM.findall(reply.text)]
    if not items:
        yield Candidate(instruction=reply.text.strip(), failure=failure or NO_LIST)
    for place, item in enumerate(items):
        yield Candidate(instruction=item, failure=pool.reason(item) if place < WANTED else TOO_MANY)


def _labelled(task: str, reply: Reply) -> Iterator[Candidate]:
    """Rows of a task of classification, each a label and the text that was written for it."""
    failure = failure_of(reply)
    pairs = [] if failure else LABELLED.findall(reply.text)
    if not pairs:
        yield Candidate(instruction=task, failure=failure or UNLABELLED)
    labels: dict[str, set[str]] = {}
    for label, text in pairs:
        labels.setdefault(text.strip(), set()).add(label.strip())
    for text, found in labels.items():
        label, *others = sorted(found)
        failure = TWO_LABELS if others else None
        yield Candidate(instruction=task, input=text, response=label, failure=failure)


def _input(reply: str) -> str:
    """What a task is to work on, without the name of that; empty where the model says that it
    needs nothing."""
    text = re.sub(r"^\s*input:\s*", "", reply, flags=re.IGNORECASE).strip()
    return "" if bare(text.lower()).split()[:1] in ([], ["none"]) else text
