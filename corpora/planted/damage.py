"""The ways in which a row can be poor, each as a change to a good item."""

import re
from collections.abc import Callable

from corpora.planted.dice import Dice
from corpora.planted.family import Item

Texts = tuple[str, str, str]
"""Instruction, input, response."""

VAGUE = (
    ("Please", "Can you", "Could you maybe", "I need you to", "Just", "Someone should"),
    ("help me with", "do", "look at", "handle", "work on", "say something about", "finish"),
    (
        "this",
        "that thing",
        "the stuff from before",
        "it",
        "the usual",
        "something like that",
        "the other one",
        "what we talked about",
        "all of it",
        "the next part",
    ),
    ("", ", you know", " somehow", " or whatever fits", ", same as always", ", either way"),
)
"""Openers, verbs, objects and tails of an instruction that says nothing."""

FILLER = (
    (
        "As many people know",
        "Generally speaking",
        "At the end of the day",
        "To be honest",
        "Of course",
        "In a way",
        "As is often said",
        "When you think about it",
        "In this day and age",
        "All things considered",
    ),
    (
        "there are many ways to look at this",
        "every question has more than one side",
        "things can be simple and hard at the same time",
        "it is always good to take a moment",
        "people have asked this for a very long time",
        "the details matter more than it seems",
        "one could say much more about it",
        "no two cases are ever quite the same",
        "it all depends on how you see it",
        "this is a really interesting topic",
        "we should keep the bigger picture in mind",
        "there is a lot that could be added here",
    ),
    ("", ", more or less", ", as a rule", ", in many cases", ", and that is worth saying"),
)
"""Openers, claims and tails of a sentence that says nothing."""


def vague_instruction(item: Item, other: Item, dice: Dice) -> Texts:
    """The instruction no longer says what is wanted; the response is still a good one."""
    opener, verb, thing, tail = (dice.pick(part) for part in VAGUE)
    end = "?" if opener.startswith("C") else "."
    return f"{opener} {verb} {thing}{tail}{end}", "", item.response


def truncated(item: Item, other: Item, dice: Dice) -> Texts:
    """The response stops half-way, at times in the middle of a word."""
    stop = int(len(item.response) * (0.35 + 0.35 * dice.between(0, 100) / 100))
    return item.instruction, item.input, item.response[:stop].rstrip(" .,:;-\n")


def wrong(item: Item, other: Item, dice: Dice) -> Texts:
    """A wrong answer, as sure of itself as a right one."""
    return item.instruction, item.input, item.wrong


def off_topic(item: Item, other: Item, dice: Dice) -> Texts:
    """A good response to something else."""
    return item.instruction, item.input, other.response


def rambling(item: Item, other: Item, dice: Dice) -> Texts:
    """The response, lost between sentences that say nothing."""
    before = [filler(dice) for _ in range(dice.between(0, 2))]
    after = [filler(dice) for _ in range(dice.between(1, 2))]
    fence = "\n\n" if "\n" in item.response else " "
    parts = [" ".join(before), item.response, " ".join(after)]
    return item.instruction, item.input, fence.join(part for part in parts if part)


def filler(dice: Dice) -> str:
    """One sentence that says nothing."""
    opener, claim, tail = (dice.pick(part) for part in FILLER)
    return f"{opener}, {claim}{tail}."


def repetitive(item: Item, other: Item, dice: Dice) -> Texts:
    """One sentence of the response, said over and over in place of what follows it."""
    parts = re.split(r"(?<=[.!?])\s+", item.response)
    sentence = dice.pick([part for part in parts if part.count(" ") > 2] or [item.response])
    kept = item.response[: item.response.index(sentence) + len(sentence)]
    return item.instruction, item.input, " ".join([kept, *[sentence] * dice.between(2, 4)])


def shuffled(item: Item, other: Item, dice: Dice) -> Texts:
    """The right words in a random order."""
    return item.instruction, item.input, " ".join(dice.shuffled(item.response.split()))


DAMAGES: dict[str, Callable[[Item, Item, Dice], Texts]] = {
    damage.__name__: damage
    for damage in (vague_instruction, truncated, wrong, off_topic, rambling, repetitive, shuffled)
}
"""Every damage by the name that the truth gives it."""

SYNONYMS = (
    ("First,", "Initially,"),
    ("Then ", "Next "),
    ("Then,", "Next,"),
    ("Finally,", "Lastly,"),
    ("So ", "Thus "),
    (" so ", " thus "),
    (" weighs about ", " weighs roughly "),
    (" because ", " since "),
    ("Because ", "Since "),
    (" result ", " outcome "),
    (" large ", " big "),
    (" only ", " just "),
    (" small ", " little "),
    (" begins ", " starts "),
    (" near ", " by "),
    (" good ", " great "),
    ("Here is ", "This is "),
    ("It takes", "This takes"),
    (" soon", " shortly"),
    (" sure", " safe"),
    ("Best wishes", "Warm wishes"),
    ("Kind regards", "Best regards"),
    (" and ", " & "),
    (" keep ", " store "),
    ("Most people", "Many people"),
    (" lovely ", " nice "),
    (" fun ", " pleasant "),
    ("for help ", "for advice "),
    (" which ", " that "),
    (" we ", " you "),
    (" could ", " can "),
    (" clear ", " plain "),
    (" will ", " shall "),
    (" hope ", " trust "),
    (" really ", " truly "),
    (" say ", " claim "),
    (" many ", " several "),
    (" always ", " often "),
)
"""Words and what they can be changed for without a change in what is said."""


def reworded(response: str, num_words: int, dice: Dice) -> str:
    """The response with this many words changed for others; itself where none of them occurs."""
    changes = [pair for pair in SYNONYMS if pair[0] in response]
    for old, new in dice.sample(changes, num_words):
        response = response.replace(old, new, 1)
    return response


def retyped(text: str, dice: Dice) -> str:
    """The same text to a reader, in other letters: case, white space or width."""
    way = dice.below(5)
    if way == 0:
        return text.lower()
    if way == 1:
        return text.upper()
    if way == 2:
        return text.replace(". ", ".  ") + " \n"
    if way == 3:
        return " " + text.replace(" ", "\u00a0", 3)
    return text.translate({ord(c): ord(c) + 0xFEE0 for c in "0123456789"}) + "\n"
