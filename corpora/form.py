"""Whether an answer has the form of a clean one, whatever it says.

    python -m corpora.form    how often clean answers and each fault have it

A clean reply is one of its family's sentences with the facts filled in. So an answer is well-formed
where it is such a sentence from its first to its last letter, with any words in the places of the
facts: one that stops half-way, repeats itself, rambles, is out of order or belongs to another
question is not, and one that is wrong is.
"""

import functools
import re
from collections import Counter, defaultdict
from string import Formatter

from corpora.planted import language, numbers, writing
from corpora.planted.damage import DAMAGES
from corpora.planted.dice import Dice
from corpora.planted.family import FAMILIES

FAMILY_MODULES = (numbers, language, writing)
"""Imported for the families that they register."""
DRAWS = 100
"""Of a family's facts, by which it is known how many sentences and words each of them has."""
END = r"[.!?](?=\s|$)"


@functools.cache
def _forms(name: str) -> tuple[re.Pattern[str], ...]:
    """An expression for each reply of a family."""
    dice, family = Dice(0), FAMILIES[name]
    ends: dict[str, int] = defaultdict(int)
    words: dict[str, int] = defaultdict(int)
    for _ in range(DRAWS):
        for field, text in family.facts(dice)[0].items():
            ends[field] = max(ends[field], len(re.findall(END, text)))
            words[field] = max(words[field], len(text.split()))
    found = []
    for reply in family.replies:
        parts = []
        for literal, fact, _, _ in Formatter().parse(reply):
            parts.append(re.escape(literal))
            if fact is not None:
                parts.append(_place(ends[fact], words[fact]))
        found.append(re.compile("".join(parts)))
    return tuple(found)


def _place(ends: int, words: int) -> str:
    """An expression for a fact of at most so many sentence ends and about so many words."""
    word = r"(?:[^\s.!?]|[.!?](?=[^\s]))+"
    sentence = f"{word}(?: {word}){{0,{words + 1}}}"
    if ends == 0:
        return sentence
    return f"{sentence}[.!?](?: {sentence}[.!?]){{0,{ends - 1}}}"


def is_well_formed(family: str, text: str) -> bool:
    """Whether a text has the form of a reply of a family."""
    return any(form.fullmatch(text.strip()) for form in _forms(family))


def _shares(number: int) -> dict[str, float]:
    """How often the clean answers of so many items of each family are well-formed, and how often
    these are with each fault of an answer."""
    dice, formed = Dice(1), Counter[str]()
    names = [*FAMILIES]
    faults = [fault for fault in DAMAGES if fault != "vague_instruction"]
    for name in names:
        for _ in range(number):
            item = FAMILIES[name].draw(dice)
            other = FAMILIES[dice.pick([one for one in names if one != name])].draw(dice)
            formed["clean"] += is_well_formed(name, item.response)
            for fault in faults:
                formed[fault] += is_well_formed(name, DAMAGES[fault](item, other, dice)[2])
    return {kind: formed[kind] / (number * len(names)) for kind in ("clean", *faults)}


if __name__ == "__main__":
    for kind, share in _shares(50).items():
        print(f"{kind}: {share:.1%}")
