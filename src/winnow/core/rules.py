"""The rules by which a tier chooses rows: how each is declared, spoken of and drawn.

How rows are chosen lies in winnow/select/rules, a file for each rule: who only speaks of a rule
loads none of its libraries. A user's own rule is a `Rule` of another package, which params.yaml
names as `package.module:name`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from winnow.core import extensions
from winnow.core.errors import Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One way to choose the rows of a tier."""

    phrase: str
    """What a sentence calls its rows, with {} for their number: `the top {} rows`; {of} is the tier
    that they are taken from or matched to."""
    adjective: str
    """What stands before `rows` where no number does: `length-matched random`."""
    description: str
    """What a table says of it: `the highest scores`."""
    keys: tuple[str, ...] = ("quantity",)
    """What a tier of it declares: the quantity, by count or by share, or fields of Tier."""
    other_keys: tuple[tuple[str, ...], ...] = ()
    """What it may declare instead."""
    is_scored: bool = False
    """Whether a score chooses the rows, so that an arm is charged the scoring."""
    is_drawn: bool = False
    """Whether chance chooses the rows, so that every training seed draws its own: one draw is not
    what a rule's rows are like."""
    is_paired: bool = False
    """Whether its rows must have a rejected answer beside their response."""
    colours: tuple[str, str] | None = None
    """On paper and on a dark page; a rule without colours is drawn in ink."""
    marker: str = "P"
    """The point in figures, as matplotlib names it."""
    glyph: str = "✚"
    """The same point as a character."""
    shift: float = 1.0
    """Times the number of rows where a figure draws it, so that arms of one size stand apart."""
    choose: Callable[..., Any] | None = None
    """Of a user's rule: which rows, as functions in winnow/select/rules do."""


RULES = {
    "top": Rule(
        phrase="the top {} rows",
        adjective="top",
        description="the highest scores",
        is_scored=True,
        colours=("#0072b2", "#5bb4ec"),
        marker="o",
        glyph="●",
    ),
    "diverse": Rule(
        phrase="{} of the top rows that differ most",
        adjective="top and diverse",
        description="the highest scores, those that differ most among twice as many",
        is_scored=True,
        colours=("#00697a", "#45bdd0"),
        marker="*",
        glyph="★",
        shift=1.02,
    ),
    "longest": Rule(
        phrase="the {} longest rows",
        adjective="longest",
        description="the longest responses",
        colours=("#007a5a", "#4fc3a1"),
        marker="^",
        glyph="▲",
        shift=0.95,
    ),
    "source": Rule(
        phrase="{} random rows of named sources",
        adjective="source's own",
        description="drawn at random from named sources",
        keys=("sources", "quantity"),
        is_drawn=True,
        colours=("#4a5aa8", "#9aa7ee"),
        marker="p",
        glyph="⬟",
        shift=1.15,
    ),
    "mixture": Rule(
        phrase="a mixture of {} rows",
        adjective="mixed",
        description="drawn at random from sources in fixed shares",
        keys=("weights", "quantity"),
        other_keys=(("of", "without"), ("of", "plus"), ("draw", "quantity")),
        is_drawn=True,
        colours=("#7a4b2a", "#c9986f"),
        marker="h",
        glyph="⬢",
        shift=1.2,
    ),
    "matched": Rule(
        phrase="{} random rows with the lengths of {of}",
        adjective="length-matched random",
        description="drawn at random, with the token lengths of another tier",
        keys=("of",),
        is_drawn=True,
        colours=("#b34a00", "#ef8f4f"),
        marker="D",
        glyph="◆",
        shift=1.05,
    ),
    "random": Rule(
        phrase="{} random rows",
        adjective="random",
        description="drawn at random",
        is_drawn=True,
        colours=("#8a6100", "#d9ad3c"),
        marker="s",
        glyph="■",
        shift=1.1,
    ),
    "pairs": Rule(
        phrase="{} random pairs of answers",
        adjective="paired",
        description="drawn at random from those with a rejected answer",
        is_drawn=True,
        is_paired=True,
        marker="d",
        glyph="⬥",
        shift=1.1,
    ),
    "part": Rule(
        phrase="{} random rows of {of}",
        adjective="replica",
        description="drawn at random from another tier, to stand for it",
        keys=("of", "quantity"),
        is_drawn=True,
        marker="X",
        glyph="✖",
        shift=1.15,
    ),
    "bottom": Rule(
        phrase="the lowest-scored {} rows",
        adjective="lowest-scored",
        description="the lowest scores",
        is_scored=True,
        colours=("#a1467c", "#dd8fbd"),
        marker="v",
        glyph="▼",
        shift=0.9,
    ),
}
"""In the order of arms of one size in tables and figures."""


@functools.cache
def find(name: str) -> Rule:
    """The rule of a name, or of an import path.

    Raises:
        Refusal: there is none; the message begins with what was expected.
    """
    if name in RULES:
        return RULES[name]
    if extensions.is_path(name):
        return extensions.load(name, Rule)
    known = ", ".join(RULES)
    raise Refusal(f"expected one of {known}, or package.module:name of your own, found {name!r}")


def order(name: str) -> tuple[int, str]:
    """The place of a rule among others in tables and figures; a user's own come last."""
    return ([*RULES].index(name) if name in RULES else len(RULES)), name
