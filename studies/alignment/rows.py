"""Pairs whose better answer is known, and tasks.    PYTHONPATH=../.. python rows.py

Writes `corpus/pairs.jsonl`: questions of the planted families, each with its clean answer and with
a faulty one, every fault about as often; `answers.jsonl`, what is right there; `tasks.jsonl`, on
which the models are judged, `rates/tasks.jsonl`, on which their learning rates are chosen, and
`faulty/base/rows.jsonl`, faulty answers of which a base learns its faults. Of pairs, the two sets
of tasks and these rows no question stands in two.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from corpora.planted import language, numbers, writing
from corpora.planted.damage import DAMAGES
from corpora.planted.dice import Dice
from corpora.planted.family import FAMILIES, Item, passes

FAMILY_MODULES = (numbers, language, writing)
"""Imported for the families that they register."""
SEED = 20_266
FAULTS = tuple(name for name in DAMAGES if name != "vague_instruction")
"""Those of an answer; the other one is of the instruction."""
PAIRS, TASKS, RATES, FAULTY = 25, 20, 10, 100
"""Of each of the eighteen families."""


def distinct(dice: Dice, number: int, seen: set[str]) -> Iterator[Item]:
    """So many items of every family, in turn, whose questions were not seen."""
    for _ in range(number):
        for family in FAMILIES.values():
            item = family.draw(dice)
            while item.question in seen:
                item = family.draw(dice)
            seen.add(item.question)
            yield item


def faulty(item: Item, fault: str, dice: Dice) -> str:
    """An answer to the same question that has this fault, and is not the clean one."""
    others = [family for name, family in FAMILIES.items() if name != item.family]
    while True:
        _, _, response = DAMAGES[fault](item, dice.pick(others).draw(dice), dice)
        is_right = fault in ("wrong", "off_topic") and passes(item.check, item.answer, response)
        if response.strip() and response != item.response and not is_right:
            return response


def pairs(items: Iterable[Item], dice: Dice) -> Iterator[dict[str, str]]:
    """A row of a chosen and a rejected answer for every item, the faults in turn."""
    for at, item in enumerate(items):
        # Each family meets each fault: 18 families and 6 faults would else stay in step.
        fault = FAULTS[(at + at // len(FAMILIES)) % len(FAULTS)]
        if fault == "shuffled" and len(item.response.split()) < 2:
            fault = "wrong"  # one word has no order
        yield {
            "instruction": item.instruction,
            "input": item.input,
            "chosen": item.response,
            "rejected": faulty(item, fault, dice),
            "fault": fault,
        }


def faults(items: Iterable[Item], dice: Dice) -> Iterator[dict[str, str]]:
    """A row of a faulty answer alone for every item, the faults in turn."""
    for row in pairs(items, dice):
        names = ("instruction", "input", "fault")
        yield {name: row[name] for name in names} | {"output": row["rejected"]}


def asked(items: Iterable[Item]) -> Iterator[dict[str, str]]:
    """The tasks that items are, as corpora/tasks.jsonl has them."""
    for item in items:
        names = ("instruction", "input", "answer", "check", "family")
        yield {name: getattr(item, name) for name in names}


def write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def main(folder: Path) -> None:
    """Write all files below a folder."""
    dice, seen = Dice(SEED), set[str]()
    tasks = [*asked(distinct(dice, TASKS, seen))]
    for name in ("tasks.jsonl", "faulty/tasks.jsonl"):
        write(folder / name, tasks)
    write(folder / "rates/tasks.jsonl", asked(distinct(dice, RATES, seen)))
    items = [*distinct(dice, PAIRS, seen)]
    write(folder / "corpus/pairs.jsonl", pairs(items, dice))
    write(folder / "answers.jsonl", asked(items))
    write(folder / "faulty/base/rows.jsonl", faults(distinct(dice, FAULTY, seen), dice))


if __name__ == "__main__":
    main(Path())
