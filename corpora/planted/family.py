"""What a task family is: phrasings, the facts that fill them, and a check of the answer."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from corpora.planted.dice import Dice

Fields = dict[str, str]
Facts = tuple[Fields, Fields]
"""The fields of one instance, `answer` among them; and the fields to put in their place to make
the same reply confidently wrong."""


@dataclass(frozen=True, slots=True)
class Item:
    """One instance of a family: a question, a right reply, a wrong reply, and what is checked."""

    family: str
    instruction: str
    input: str
    response: str
    wrong: str
    answer: str
    check: str

    @property
    def question(self) -> str:
        """The instruction, with the input on the next line where there is one."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction

    def merged(self) -> "Item":
        """The same item for a source that has no field for the input."""
        return replace(self, instruction=self.question, input="")


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of task: several ways to ask, several ways to reply, one way to draw the facts."""

    name: str
    check: str
    asks: tuple[str, ...]
    replies: tuple[str, ...]
    material: str
    facts: Callable[[Dice], Facts]

    def draw(self, dice: Dice) -> Item:
        """One instance, drawn again until its wrong reply really is wrong."""
        while True:
            right, wrong = self.facts(dice)
            ask, reply = dice.pick(self.asks), dice.pick(self.replies)
            item = Item(
                family=self.name,
                instruction=ask.format_map(right),
                input=self.material.format_map(right),
                response=reply.format_map(right),
                wrong=reply.format_map(right | wrong),
                answer=right["answer"],
                check=self.check,
            )
            if not passes(item.check, item.answer, item.wrong):
                return item


FAMILIES: dict[str, Family] = {}
"""Every family by its name, in the order in which the modules define them."""


def family(
    check: str, *, asks: tuple[str, ...], replies: tuple[str, ...], material: str = ""
) -> Callable[[Callable[[Dice], Facts]], Family]:
    """Register the decorated function as the facts of a family that bears its name."""

    def register(facts: Callable[[Dice], Facts]) -> Family:
        made = Family(facts.__name__, check, asks, replies, material, facts)
        assert made.name not in FAMILIES, made.name
        FAMILIES[made.name] = made
        return made

    return register


def passes(check: str, answer: str, completion: str) -> bool:
    """Whether a completion gives the answer, by the named check."""
    if check == "exact":
        return completion.strip() == answer
    if check == "contains":
        return answer.lower() in completion.lower()
    assert check == "number", check
    numbers: list[str] = re.findall(r"-?\d+(?:\.\d+)?", completion)
    return bool(numbers) and float(numbers[-1]) == float(answer)


def capital(text: str) -> str:
    """The text with a capital first letter and the rest as it is."""
    return text[:1].upper() + text[1:]


def indefinite(noun: str) -> str:
    """The noun behind `a` or `an`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
