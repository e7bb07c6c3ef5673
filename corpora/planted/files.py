"""Write the corpus as the files that somebody would really have, broken lines among them."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from corpora.planted.dice import Dice
from corpora.planted.family import Item
from corpora.planted.plant import SEED, SOURCES, Planted, plant, plant_base

BROKEN_TEXTBOOK = (
    b'{"instruction": "Reverse the word lamp.", "input": "", "output": "pmal"',
    b'{"instruction": "Sort the words by the alphabet.", "input": "tree, fish"}',
    b'{"instruction": "What is the plural of box?", "input": "", "output": ""}',
    b'{"instruction": "What does a cow eat?", "input": "", "output": null}',
    b'{"instruction": "Count the letter e in tree.", "input": "", "output": ["2", "two"]}',
    b'{"instruction": "Name the antonym of hot.", "input": "", "output": "c\xffld"}',
    b"{'instruction': 'Which is larger, 3 or 5?', 'input': '', 'output': '5'}",
    b'{"instruction": "Spell the word river.", "output": "r-i-v-e-r" "input": ""}',
    b'["What colour is a fox?", "", "red"]',
    b'{"input": "", "output": "The answer is 12."}',
    b"<html><body>502 Bad Gateway</body></html>",
)
BROKEN_CHAT = (
    b'{"messages": [{"role": "user", "content": "Where does an owl live?"}]}',
    b'{"messages": [{"role": "user", "content": "Is 7 larger than 2?"}, {"role": "assistant"}]}',
    b'{"messages": [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": ""}]}',
    b'{"messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": null}]}',
    b'{"messages": []}',
    b'{"messages": "What is the opposite of wet? dry"}',
    b'{"conversation": [["How many days are in a week?", "7"]]}',
    b'{"messages": [{"role": "assistant", "content": "You are welcome."}]}',
    b'{"messages": [{"role": "user", "content": "Caf\xe9?"}, {"role": "assistant"}]}',
    b'{"messages": [{"role": "user", "content": "Next number: 2, 4, 6?"}, {"role": "assis',
)
BROKEN_FORUM = (
    b'"What is the plural of leaf?"',
    b'"How do I boil an egg?",,2',
    b"Which is heavier, a cow or a hen?,The cow, of course, and by far.,4",
    b'"Reverse the word stone.","",1',
    b'"What comes after Monday?","Tuesday",5,"3 votes"',
    b',"It depends on what you mean.",3',
    b'"Sort 3, 1, 2","   ",2',
    b"see the answer above",
)
BROKEN = {"textbook": BROKEN_TEXTBOOK, "chat": BROKEN_CHAT, "forum": BROKEN_FORUM}
"""Lines that no reader can make a pair of: each a way in which exports go wrong."""


def write_corpus(folder: Path) -> None:
    """Write every file of the corpus below the folder."""
    rows, tasks = plant()
    dice = Dice(SEED + 1)
    lines = {source: [_line(row) for row in rows if row.source == source] for source in SOURCES}
    sample = folder / "sample"
    sample.mkdir(parents=True, exist_ok=True)
    textbook, chat, forum = (_mixed(lines[name], BROKEN[name], dice) for name in SOURCES)
    _write(sample / "textbook.jsonl", textbook, cut=35)
    _write(sample / "chat.jsonl", chat, cut=20)
    _write(sample / "forum.csv", [b"instruction,response,rating", *forum])
    _write(folder / "tasks.jsonl", [_json(_task(task)) for task in tasks])
    truth = {row.hash: {"quality": row.quality, "family": row.family} for row in rows}
    _write(folder / "truth.jsonl", [_json({"hash": key} | truth[key]) for key in sorted(truth)])


def write_base(path: Path) -> None:
    """Write the rows of the base model, all as the textbook's."""
    _write(path, [_line(replace(row, source="textbook")) for row in plant_base()])


def _line(row: Planted) -> bytes:
    """The row in the format of its source; of its quality nothing but the rating is told."""
    rating = {"rating": row.rating} if row.rating else {}
    if row.source == "textbook":
        texts = {"instruction": row.instruction, "input": row.input, "output": row.response}
        return _json(texts | rating)
    if row.source == "chat":
        turns = (("user", row.instruction), ("assistant", row.response))
        messages = [{"role": role, "content": text} for role, text in turns]
        return _json({"messages": messages} | rating)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([row.instruction, row.response, row.rating])
    return out.getvalue().removesuffix("\n").encode()


def _task(task: Item) -> dict[str, str]:
    """A held-out task as it is written."""
    return {
        "instruction": task.instruction,
        "input": task.input,
        "answer": task.answer,
        "check": task.check,
        "family": task.family,
    }


def _json(value: object) -> bytes:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=False).encode()


def _mixed(lines: list[bytes], broken: Iterable[bytes], dice: Dice) -> list[bytes]:
    """The lines with the broken ones at random places among them."""
    mixed = list(lines)
    for line in broken:
        mixed.insert(dice.below(len(mixed)), line)
    return mixed


def _write(path: Path, lines: list[bytes], cut: int = 0) -> None:
    """Write lines; with a cut, one more that lacks its end, as a stopped download leaves it."""
    last = lines[0][:-cut] if cut else b""
    path.write_bytes(b"\n".join([*lines, last]))
