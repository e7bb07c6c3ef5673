"""Numbers and arms in words: the one place where what people read of them gets its form."""

import math
from collections.abc import Sequence

from winnow.analyze.intervals import Interval
from winnow.analyze.study import Arm
from winnow.core import rules
from winnow.core.experiments import DOCUMENTED

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def count(number: float) -> str:
    """A whole number with thousands set apart: 12,345."""
    return f"{round(number):,}"


def short(number: float) -> str:
    """A large count in three digits: 1.23M, 45.6k."""
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def percent(share: float) -> str:
    """A share of a whole: 5%, 0.25%, 33%; below a thousandth of a percent, the exponent."""
    value = 100 * share
    if 99.5 <= value < 100:
        return "over 99%"
    digits = 0 if value == 0 else max(0, 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}" if digits < 6 else f"{value:.1e}"
    text = text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
    return f"{text}%".replace("-", MINUS)


def decimal(number: float, digits: int = 3) -> str:
    """A plain number with a true minus sign."""
    text = f"{number:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("-")


def signed(number: float, digits: int = 3) -> str:
    """A difference with its sign: +0.012, −0.003."""
    text = decimal(number, digits)
    return text if number < 0 or not float(text) else f"+{text}"


def significant(number: float) -> str:
    """Four significant figures, as perplexities are read: 8.213, 56.10, 1,234."""
    whole = math.floor(math.log10(abs(number))) + 1 if number else 1
    return f"{number:,.{max(0, 4 - max(1, whole))}f}".replace("-", MINUS)


def ratio(number: float) -> str:
    """Two significant figures of a positive ratio: 0.053, 1.2, 34, 1,200."""
    digits = max(0, 1 - math.floor(math.log10(number)))
    return f"{number:,.{digits}f}"


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would use."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:.2g} s"


def plural(number: int, noun: str) -> str:
    """1 seed, 3 seeds."""
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")


def listed(items: Sequence[str], last: str = "and") -> str:
    """a; a and b; a, b and c."""
    return (
        f" {last} ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)
    )


def span(interval: Interval, digits: int = 3) -> str:
    """An interval's ends: 0.010 to 0.034."""
    return f"{decimal(interval.low, digits)} to {decimal(interval.high, digits)}"


def rows(arm: Arm, whole: str = " of the curated pool", share: bool = True) -> str:
    """What an arm keeps: `the top 500 rows by rating (5% of the curated pool)`."""
    if arm.is_unfiltered:
        return f"all {count(arm.num_rows)} rows"
    phrase = rules.find(arm.rule).phrase.format(count(arm.num_rows), of=arm.of)
    if arm.by:
        phrase += " by the documented score" if arm.by == DOCUMENTED else f" by {arm.by}"
    return f"{phrase} ({percent(arm.share)}{whole})" if share else phrase
