"""Free generation: a base model goes on with a list of tasks and their responses.

The few-shot prompt of the documented first stage. Which tasks come is left to the model, so that
they gather round what it finds most probable; `topics` names a topic for every task, and `rotate`
takes the topics in turn rather than by chance.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from winnow.core.errors import Refusal
from winnow.core.params import Range, Text
from winnow.generate.backends import Request
from winnow.generate.methods import Asking, Candidate, Recipe, draw, failure_of, prompt, seeds
from winnow.generate.rows import Given, read

HEADER = r"Task \d+(?: \[[^\]\n]*\])?[ \t]*"
"""The line above a task."""
MARKED = re.compile(rf"^[ \t]*(?:(?:Instruction|Input|Response):|{HEADER}$)", re.MULTILINE)
"""What tells the parts of a task from each other, and tasks."""
END = re.compile(rf"^[ \t]*(?:Instruction:|{HEADER}$)", re.MULTILINE)
"""Where another task begins."""
PART = re.compile(r"^[ \t]*(Input|Response):", re.MULTILINE)
OTHERWISE = re.compile(r"^[ \t]*(?:Output|Answer):", re.MULTILINE)
"""What models put before a response instead: a repetition penalty falls on the words of the
prompt, and so on its marks."""
UNPARSED = "no instruction and response in the reply"


@dataclass(frozen=True, kw_only=True, slots=True)
class Free(Recipe):
    """Which examples a request shows, and what it asks for."""

    examples: Text
    """A file of rows, each an instruction with its response."""
    shots: Annotated[int, Range("[1, 100]")] = 4
    """Examples that each request shows, drawn for it."""
    topics: tuple[Text, ...] = ()
    """Such as Science and History: every task has one in brackets; then the examples need theirs
    under `topic`."""
    rotate: bool = False
    """Whether the wanted topics go round the list in turn, from shard to shard, or are drawn."""

    def files(self) -> Mapping[str, str]:
        return {"examples": self.examples}

    def check(self) -> None:
        self._examples()

    def _examples(self) -> list[Given]:
        if self.rotate and not self.topics:
            raise Refusal("rotate: there are no topics to go round: name some under topics")
        for topic in self.topics:
            if "]" in topic:
                raise Refusal(f"topics: {topic!r} has a bracket, which ends a topic: rename it")
        needed = ("response", "topic") if self.topics else ("response",)
        rows = read("examples", self.examples, needed)
        for row in rows:
            for text in (row.instruction, row.input, row.response):
                if found := MARKED.search(text):
                    raise Refusal(
                        f"examples: row {row.id} has a line that begins with "
                        f"{found[0].strip()!r}, which tells the parts of an example apart: "
                        "leave it out"
                    )
            if re.search(r"[\]\n]", row.topic):
                raise Refusal(f"examples: the topic of row {row.id} has a bracket or two lines")
        if len(rows) < self.shots:
            raise Refusal(f"examples: {self.examples} has {len(rows)} rows, below shots")
        return rows

    def candidates(self, seed: int, asking: Asking) -> Iterator[Candidate]:
        rows = self._examples()
        requests = [
            self._request(rows, one, self._topic(one, seed * self.requests + place))
            for place, one in enumerate(seeds(seed, self.requests))
        ]
        for reply in asking.ask(requests):
            failure, said = failure_of(reply), reply.text
            yield Candidate(instruction=said, failure=failure) if failure else parse(said)

    def _topic(self, seed: int, place: int) -> str:
        if not self.topics:
            return ""
        at = place % len(self.topics) if self.rotate else draw(seed, 1, len(self.topics))[0]
        return self.topics[at]

    def _request(self, rows: Sequence[Given], seed: int, topic: str) -> Request:
        # Of the examples without a topic none shows, as then there are no topics.
        shown = [rows[place] for place in draw(seed, self.shots, len(rows))]
        last = self.shots + 1
        tasks = "\n\n".join(
            f"{_header(number, row.topic if topic else '')}\n{render(row)}"
            for number, row in enumerate(shown, 1)
        )
        text = prompt("free", tasks=tasks, wanted=f"{_header(last, topic)}\nInstruction:")
        # The number of the next task alone would leave a model that counts wrongly going on.
        stop = (f"\nTask {last + 1}", "\nInstruction:")
        return Request(text=text, sampling=self.sampling(), seed=seed, stop=stop)


def _header(number: int, topic: str) -> str:
    return f"Task {number} [{topic}]" if topic else f"Task {number}"


def render(row: Given) -> str:
    """A row as an example shows it, below its header."""
    middle = f"Input: {row.input}\n" if row.input else ""
    return f"Instruction: {row.instruction}\n{middle}Response: {row.response}"


def parse(reply: str) -> Candidate:
    """The row that a reply wrote behind "Instruction:", or why it is none."""
    ended = END.search(reply)
    text = reply[: ended.start()] if ended else reply
    if "Response" not in PART.findall(text):
        text = OTHERWISE.sub("Response:", text, count=1)
    head, *parts = PART.split(text)
    if parts[::2] not in (["Response"], ["Input", "Response"]):
        return Candidate(instruction=reply.strip(), failure=UNPARSED)
    found = dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
    row = Candidate(
        instruction=head.strip(), input=found.get("Input", ""), response=found["Response"]
    )
    if not row.instruction or not row.response:
        return Candidate(instruction=reply.strip(), failure=UNPARSED)
    return row
