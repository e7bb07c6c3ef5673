"""Put the corpus together: draw items, damage a known share of them, add duplicates."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from corpora.planted import language, numbers, writing
from corpora.planted.damage import DAMAGES, retyped, reworded
from corpora.planted.dice import Dice
from corpora.planted.family import FAMILIES, Item, passes
from winnow.core.records import content_hash

FAMILY_MODULES = (numbers, language, writing)
"""Imported for the families that they register."""

SEED = 20_250
TASKS_PER_FAMILY = 7
NUM_BASE = 36_000
"""Clean rows that the base model is trained on, and that are in no source."""

NUM_EXACT, NUM_NEAR = 400, 400
"""Copies that differ by case, width or white space at most; copies with a word or two changed."""

NEAR = 0.86
"""The least overlap of a near duplicate: well above 0.8, so that a MinHash estimate finds it."""

SOURCES = {"textbook": 3130, "chat": 3130, "forum": 2940}
"""Rows a source has before duplicates and broken rows are added."""

PER_MILLE = {
    "vague_instruction": (18, 90, 105),
    "truncated": (38, 65, 110),
    "wrong": (50, 70, 90),
    "off_topic": (16, 70, 125),
    "rambling": (42, 95, 85),
    "repetitive": (24, 65, 125),
    "shuffled": (12, 45, 110),
}
"""How many of a thousand rows have this damage, source by source; the rest are clean."""

RATINGS = {
    "clean": (1, 1, 3, 7, 8),
    "wrong": (1, 2, 4, 7, 6),
    "rambling": (2, 5, 6, 5, 2),
    "vague_instruction": (4, 5, 5, 4, 2),
    "truncated": (4, 6, 5, 3, 2),
    "repetitive": (4, 6, 5, 4, 1),
    "off_topic": (8, 6, 3, 2, 1),
    "shuffled": (9, 6, 3, 1, 1),
}
"""Of twenty rows of a quality, how many the made-up annotator rates 1, 2, 3, 4 and 5: one who reads
in haste, sees what looks poor and checks no answer."""

GREETINGS = (
    "Hi! ",
    "Hello, I have a question. ",
    "Quick question: ",
    "Good morning. ",
    "Hey, ",
    "Thanks for the last one. ",
    "I am stuck. ",
    "One more: ",
)
PLEAS = (
    " Thanks in advance.",
    " Any idea?",
    " Please help.",
    " I could not find it anywhere.",
    " It is for school.",
    " Thank you all!",
)


@dataclass(frozen=True, slots=True)
class Planted:
    """One row of the corpus and the truth about it."""

    source: str
    instruction: str
    input: str
    response: str
    quality: str
    family: str
    answer: str
    check: str
    question: str
    """What the undamaged item asks."""
    origin: str = ""
    """The hash of the row that this one is a copy of."""
    rating: int = 0
    """From 1 to 5, of the made-up annotator; every copy is rated anew."""

    @property
    def hash(self) -> str:
        """The content hash that the truth is kept under."""
        return content_hash(self.instruction, self.input, self.response)

    @property
    def words(self) -> list[str]:
        """The words of the whole row."""
        return f"{self.instruction} {self.input} {self.response}".lower().split()

    @property
    def correct(self) -> bool:
        """Whether the response passes the check of its family."""
        return passes(self.check, self.answer, self.response)


def plant() -> tuple[list[Planted], list[Item]]:
    """The rows of the corpus, broken ones aside, and the held-out tasks."""
    dice = Dice(SEED)
    tasks = [item for name in FAMILIES for item in _distinct(name, dice, TASKS_PER_FAMILY)]
    rows = list(_originals(dice, {task.question for task in tasks}))
    copies = [*_exact_copies(rows, dice), *_near_copies(rows, dice)]
    annotator = Dice(SEED + 3)
    planted = dice.shuffled([*rows, *copies])
    return [replace(row, rating=_rating(row.quality, annotator)) for row in planted], tasks


def _rating(quality: str, annotator: Dice) -> int:
    """A rating that the quality makes likely, and no more than that."""
    return annotator.pick([n for n, of in enumerate(RATINGS[quality], 1) for _ in range(of)])


def plant_base(number: int = NUM_BASE) -> list[Planted]:
    """Clean rows in the styles of all sources, none of which asks what a row or a task asks."""
    rows, tasks = plant()
    held_out, asked = {task.question for task in tasks}, {row.question for row in rows}
    dice, styles, names = Dice(SEED + 2), tuple(SOURCES), tuple(FAMILIES)
    base: dict[str, Planted] = {}
    while len(base) < number:
        item = FAMILIES[names[len(base) % len(names)]].draw(dice)
        row = _row(dice.pick(styles), item, item, "clean", dice)
        if item.question not in asked and not _asks(item, held_out):
            base[row.hash] = row
    return list(base.values())


def _distinct(name: str, dice: Dice, n: int) -> Iterator[Item]:
    """n items of a family with n different questions."""
    seen: set[str] = set()
    while len(seen) < n:
        item = FAMILIES[name].draw(dice)
        if item.question not in seen:
            seen.add(item.question)
            yield item


def _originals(dice: Dice, held_out: set[str]) -> Iterator[Planted]:
    """Rows of every source in their planted qualities, none with the question of another."""
    seen: set[str] = set()
    hashes: set[str] = set()
    names = list(FAMILIES)
    for source in SOURCES:
        for i, quality in enumerate(dice.shuffled(_qualities(source))):
            while True:
                item = FAMILIES[names[i % len(names)]].draw(dice)
                other = FAMILIES[dice.pick([name for name in names if name != item.family])]
                row = _row(source, item, other.draw(dice), quality, dice)
                known = row.hash in hashes or item.question in seen
                if not known and _damaged(row, item) and not _asks(item, held_out):
                    break
            seen.add(item.question)
            hashes.add(row.hash)
            yield row


def _asks(item: Item, held_out: set[str]) -> bool:
    """Whether the question holds a held-out one, perhaps within a longer sentence."""
    return any(question in item.question for question in held_out)


def _qualities(source: str) -> list[str]:
    """The quality of every row of a source, in no useful order."""
    num_rows, column = SOURCES[source], list(SOURCES).index(source)
    damaged = [
        quality
        for quality, shares in PER_MILLE.items()
        for _ in range(num_rows * shares[column] // 1000)
    ]
    return damaged + ["clean"] * (num_rows - len(damaged))


def _row(source: str, item: Item, other: Item, quality: str, dice: Dice) -> Planted:
    """The item as a row of the source, damaged as the quality says."""
    if source != "textbook":
        item = item.merged()
    instruction, input, response = item.instruction, item.input, item.response
    if quality in DAMAGES:
        instruction, input, response = DAMAGES[quality](item, other, dice)
    if source == "chat" and quality != "vague_instruction" and dice.chance(0.35):
        instruction = dice.pick(GREETINGS) + instruction
    if source == "forum" and quality != "vague_instruction" and dice.chance(0.35):
        instruction = instruction + dice.pick(PLEAS)
    return Planted(
        source=source,
        instruction=instruction,
        input=input,
        response=response,
        quality=quality,
        family=item.family,
        answer=item.answer,
        check=item.check,
        question=item.question,
    )


def _damaged(row: Planted, item: Item) -> bool:
    """Whether the damage took: a changed response, and no right answer where none should be."""
    if row.quality in ("clean", "vague_instruction"):
        return True
    if row.quality in ("wrong", "off_topic") and row.correct:
        return False
    return row.response != item.response and len(row.response.split()) > 1


def _exact_copies(rows: list[Planted], dice: Dice) -> Iterator[Planted]:
    """Copies with the same content hash; half of them are typed in another way."""
    for row in dice.sample(rows, NUM_EXACT):
        copy = replace(row, origin=row.hash)
        if dice.chance(0.5):
            yield _moved(copy, dice)
        else:
            asked, said = (retyped(text, dice) for text in (row.instruction, row.response))
            yield replace(copy, instruction=asked, response=said)


def _near_copies(rows: list[Planted], dice: Dice) -> Iterator[Planted]:
    """Copies of long rows in which one word is changed, two where the row is long enough."""
    hashes = {row.hash for row in rows}
    num_made = 0
    for row in dice.shuffled([row for row in rows if not row.origin]):
        response = reworded(row.response, 2 if len(row.words) >= 75 else 1, dice)
        copy = _moved(replace(row, response=response, origin=row.hash), dice)
        if copy.hash in hashes or copy.correct != row.correct or overlap(copy, row) < NEAR:
            continue
        hashes.add(copy.hash)
        yield copy
        num_made += 1
        if num_made == NUM_NEAR:
            return
    raise AssertionError(f"only {num_made} of {NUM_NEAR} near duplicates")


def overlap(one: Planted, other: Planted) -> float:
    """The Jaccard index of the three-word shingles of two rows."""
    left, right = (set(zip(w, w[1:], w[2:], strict=False)) for w in (one.words, other.words))
    return len(left & right) / len(left | right)


def _moved(row: Planted, dice: Dice) -> Planted:
    """The row as if posted again elsewhere; a row with an input stays where there is a field."""
    return row if row.input else replace(row, source=dice.pick(tuple(SOURCES)))
