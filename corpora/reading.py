"""A reading comprehension corpus made by program, which a tiny model learns to answer.

    python -m corpora.reading corpus.json 1 250    250 articles of seed 1 in SQuAD's own layout
    python -m corpora.reading rows.jsonl 0 900     rows that teach a base model, of other articles

A paragraph holds three facts of different kinds about people of a village; each is asked for in one
of several wordings. The base's rows answer such questions, and put them in other words, as
`winnow generate` asks for it.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpora.planted.dice import Dice
from corpora.planted.words import COLOURS, DAYS, NAMES, PLACES, THINGS, listed
from winnow.generate.methods import prompt

PEOPLE = (
    *NAMES,
    *listed("Amos Bella Clara Diego Edith Felix Greta Henry Ivan Julia Karl Lena Marco Nora Otto"),
)
JOBS = listed("baker painter teacher doctor farmer tailor singer writer driver sailor")
PARAGRAPHS = 4
"""Of an article."""
FACTS = 3
"""Of a paragraph; its questions ask for each of them."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fact: its sentence, and what may be asked of it."""

    sentence: str
    asked: dict[str, tuple[str, ...]]
    """Wordings of a question, by the part that answers it; some are short."""


KINDS = (
    Kind(
        "{who} keeps a {colour} {thing} in the {place}.",
        {
            "place": (
                "In which place does {who} keep the {colour} {thing}?",
                "What is the name of the place that holds the {thing} of {who}?",
                "If I look for the {colour} {thing} of {who}, where is it?",
                "Where does {who} keep a {thing}?",
            ),
            "colour": (
                "Which colour has the {thing} that {who} keeps in the {place}?",
                "What is the colour of the {thing} that belongs to {who}?",
                "If I see the {thing} of {who}, what colour is it?",
            ),
        },
    ),
    Kind(
        "{who} sold a {thing} to {other} on {day}.",
        {
            "other": (
                "Which person got the {thing} that {who} sold on {day}?",
                "What is the name of the person to whom {who} sold a {thing}?",
                "Who paid {who} for a {thing}?",
            ),
            "day": (
                "On which day of the week did {who} sell the {thing}?",
                "What was the day when {other} got the {thing} from {who}?",
                "If {who} sold a {thing} to {other}, when was it?",
            ),
        },
    ),
    Kind(
        "{who} is a {job} and lives near the {place}.",
        {
            "job": (
                "What is the work that {who} does near the {place}?",
                "Which job has the person near the {place} whose name is {who}?",
                "What job does {who} have?",
            ),
            "place": (
                "Near which place is the house in which {who} lives?",
                "What is the place close to the home of {who} the {job}?",
                "If I visit {who} at home, which place is near?",
            ),
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a paragraph."""

    context: str
    question: str
    answer: str
    others: tuple[str, ...]
    """The question in other words."""


def paragraph(dice: Dice, people: list[str]) -> list[Asked]:
    """A paragraph about some people, and a question for each of its facts, in one wording."""
    facts = []
    kinds = dice.sample(KINDS, FACTS)
    for kind, who, other in zip(kinds, people[:FACTS], people[FACTS:], strict=True):
        parts = {
            "who": who,
            "other": other,
            "colour": dice.pick(COLOURS),
            "thing": dice.pick(THINGS),
            "place": dice.pick(PLACES),
            "day": dice.pick(DAYS),
            "job": dice.pick(JOBS),
        }
        facts.append((kind, parts))
    context = " ".join(kind.sentence.format(**parts) for kind, parts in facts)
    asked = []
    for kind, parts in facts:
        part = dice.pick([*kind.asked])
        first, *others = dice.shuffled([text.format(**parts) for text in kind.asked[part]])
        asked.append(Asked(context, first, parts[part], tuple(others)))
    return asked


def articles(seed: int, number: int) -> Iterator[tuple[str, list[list[Asked]]]]:
    """Titles and paragraphs of articles: each is about eight people of its own village."""
    dice = Dice(seed)
    for place in range(number):
        village = dice.sample(PEOPLE, 8)
        paragraphs = [paragraph(dice, dice.sample(village, 2 * FACTS)) for _ in range(PARAGRAPHS)]
        yield f"Village_{seed}_{place}", paragraphs


def squad(seed: int, number: int) -> dict[str, Any]:
    """Articles in the layout of SQuAD v1.1."""
    data = []
    for title, paragraphs in articles(seed, number):
        entries = []
        for at, asked in enumerate(paragraphs):
            context = asked[0].context
            qas = [
                {
                    "id": f"{title}-{at}-{place}",
                    "question": one.question,
                    "answers": [{"text": one.answer, "answer_start": context.index(one.answer)}],
                }
                for place, one in enumerate(asked)
            ]
            entries.append({"context": context, "qas": qas})
        data.append({"title": title, "paragraphs": entries})
    return {"version": "1.1", "data": data}


def base(seed: int, number: int) -> Iterator[dict[str, str]]:
    """Rows of articles: questions with their contexts, plain and as `contaminate` asks them, and
    questions to be put in other words, as `synthesise` asks for it."""
    dice = Dice(seed + 1)
    for _, paragraphs in articles(seed, number):
        for one in (one for asked in paragraphs for one in asked):
            plain = f"{one.question}\n{one.context}"
            framed = prompt("contaminate", question=one.question, context=one.context)
            yield {"instruction": dice.pick([plain, framed]), "response": one.answer}
            asked_anew = prompt("synthesise", question=one.question)
            yield {"instruction": asked_anew, "response": dice.pick(one.others)}


def main(path: Path, seed: int, number: int) -> None:
    """Write a file of a kind that its suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        text = json.dumps(squad(seed, number))
    else:
        text = "".join(json.dumps(row) + "\n" for row in base(seed, number))
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m corpora.reading FILE.json|FILE.jsonl SEED ARTICLES")
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
