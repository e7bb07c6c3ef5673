"""How many unique rows more shards will bring, how sure that is, and how many a target needs.

Rows of a shard depend on each other: they share a seed's luck, and whatever a method builds on. So
the error of a forecast is measured on shards, not on rows: random parts of the shards forecast the
others, whose outcome is known. To draw shards with replacement would not do, as every text of a
shard that is drawn twice would have come twice.

The headline is the smoothed estimator of Good and Toulmin, beside it stand iNEXT and Pitman-Yor;
docs/generate.md says what was measured of each (`python -m benchmarks.forecast`).
"""

import functools
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from winnow.generate.estimators import (
    ESTIMATORS,
    Frequencies,
    furthest,
    good_toulmin_deviation,
    inext,
)

HEADLINE = "smoothed Good-Toulmin"
CONFIDENCE = 0.9
LEAST_SHARDS = 4
"""With fewer no interval is given: two or three do not tell what shards have of their own."""
PARTS = 20
"""Random parts of the shards that an interval is read off."""


@dataclass(frozen=True, slots=True)
class Shards:
    """How often each text came in each shard, in the order in which shards were made."""

    counts: sparse.csr_array
    """[shards, texts], whole numbers."""

    @classmethod
    def of(cls, labels: NDArray[np.int64], shard: NDArray[np.int64], number: int) -> "Shards":
        """From the label and the shard, in [0, number), of every row."""
        codes, labels = np.unique(labels, return_inverse=True)
        ones, shape = np.ones(len(labels), np.int64), (number, len(codes))
        counts = sparse.coo_array((ones, (shard, labels)), shape=shape).tocsr()
        return cls(counts)

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    @property
    def rows(self) -> NDArray[np.int64]:
        """Of each shard."""
        return np.asarray(self.counts.sum(axis=1), np.int64).ravel()

    def frequencies(self, some: Sequence[int] | NDArray[np.int64]) -> Frequencies:
        """Of the texts of some shards together."""
        spans = [slice(*self.counts.indptr[one : one + 2]) for one in some]
        texts = np.concatenate([self.counts.indices[span] for span in spans] or [[]])
        times = np.concatenate([self.counts.data[span] for span in spans] or [[]])
        return Frequencies.of(np.bincount(texts.astype(np.int64), times).astype(np.int64))

    def first(self, number: int) -> Frequencies:
        """Of the texts of the first shards."""
        return self.frequencies(range(number))


@dataclass(frozen=True, slots=True)
class Estimate:
    """Unique rows in all after the shards to come, by one estimator."""

    estimator: str
    unique: float
    low: float | None
    """The ends of the interval; None with fewer than LEAST_SHARDS shards."""
    high: float | None


@dataclass(frozen=True, slots=True)
class BackTest:
    """What the first shards would have foretold of the others, beside what came."""

    shards: int
    unique: int
    """Of the first shards."""
    forecast: float
    """New texts of the other shards."""
    actual: int

    @property
    def error(self) -> float | None:
        """The forecast's, as a share of what came; None where nothing new came."""
        return self.forecast / self.actual - 1 if self.actual else None


@dataclass(frozen=True, slots=True)
class Need:
    """How many more shards a number of unique rows takes."""

    target: int
    shards: int | None
    """None where the target lies beyond what can be known."""
    fewest: int | None
    """By the high end of the interval; None where even it does not reach the target."""
    most: int | None
    """By the low end; None where it does not reach the target within what can be known."""
    cost: float | None
    """Dollars for `shards`, where the price of one is known."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What more shards bring; where `refusal` says why not, there are no estimates."""

    match: str
    """Which texts count as one, such as "exact"."""
    shards: int
    rows: int
    unique: int
    more: int
    """Shards to come, each of the mean number of rows."""
    furthest: int
    """The most shards that can be foretold."""
    estimates: tuple[Estimate, ...]
    """The headline first."""
    confidence: float
    back_tests: tuple[BackTest, ...]
    need: Need | None
    refusal: str | None
    sentence: str


New = Callable[[Frequencies, int], float]


def _ratios(
    shards: Shards, estimator: New, more: int, seed: int
) -> tuple[NDArray[np.float64], int]:
    """How much more came than random parts of the shards foretold, as logarithms; last, what the
    first shards foretold. With it the number of shards a part has: so many that it foresees at
    least as many times its own number as is asked."""
    number = len(shards)
    part = max(1, number * number // (number + more))
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(number), (PARTS, 1)), axis=1)
    whole, found = shards.first(number), []
    for order in (*orders, np.arange(number)):
        before = shards.frequencies(order[:part])
        new = estimator(before, whole.draws - before.draws)
        # Half a text, as the logarithm of none is infinite.
        found.append(math.log(max(whole.unique - before.unique, 0.5) / max(new, 0.5)))
    return np.array(found), part


def _logs(shards: Shards, estimator: New, more: int, seed: int) -> tuple[float, float, float]:
    """Of the number of new texts over its forecast, as logarithms: how far it scatters, and the
    ends of what is wrong with it, which hold 0.

    A part of b of J shards errs with a variance that is J / b times that of all, and with about the
    same bias. As shards may drift, the error that the first shards made of the others counts too.
    """
    ratios, part = _ratios(shards, estimator, more, seed)
    drawn, drift = ratios[:-1], ratios[-1]
    spread = float(drawn.std(ddof=1)) * math.sqrt(part / len(shards))
    wrong = (0.0, float(drawn.mean()), float(drift))
    return spread, min(wrong), max(wrong)


def _interval(shards: Shards, name: str, rows: int, more: int, seed: int) -> tuple[float, float]:
    """The ends of the number of new texts.

    The headline's scatter is at least that of independent draws, which counts where little new is
    left, and the interval holds what iNEXT says: far out both err, and differently.
    """
    whole = shards.first(len(shards))
    new = max(ESTIMATORS[name](whole, rows), 0.5)
    spread, low, high = _logs(shards, ESTIMATORS[name], more, seed)
    reach = special.stdtrit(len(shards) - 1, 0.5 + CONFIDENCE / 2)
    ends = [new * math.exp(low - reach * spread), new * math.exp(high + reach * spread)]
    # At least one text either way: a forecast of none has an interval too.
    least = 1.0
    if name == HEADLINE:
        least = max(least, reach * good_toulmin_deviation(whole, rows))
        ends.append(inext(whole, rows))
    ends += [new - least, new + least]
    return float(max(0.0, min(ends))), float(min(rows, max(ends)))


def _rows(shards: Shards, more: int) -> int:
    return round(more * int(shards.rows.sum()) / len(shards))


def estimate(shards: Shards, more: int, name: str = HEADLINE, seed: int = 0) -> Estimate:
    """Unique rows after more shards of the mean size, by an estimator of ESTIMATORS.

    Args:
        shards: with at least one row.
        more: at most `furthest_shards`, beyond which nothing is claimed.
        name: of the estimator.
        seed: of the random parts that the interval is read off.
    """
    whole, rows = shards.first(len(shards)), _rows(shards, more)
    new = ESTIMATORS[name](whole, rows)
    if len(shards) < LEAST_SHARDS:
        return Estimate(name, whole.unique + new, None, None)
    low, high = _interval(shards, name, rows, more, seed) if more else (0.0, 0.0)
    return Estimate(name, whole.unique + new, whole.unique + low, whole.unique + high)


def furthest_shards(shards: Shards) -> int:
    """How many more shards can be foretold: log(rows) times those that are there."""
    rows = int(shards.rows.sum())
    return furthest(rows) * len(shards) // rows if rows else 0


def back_tests(shards: Shards) -> tuple[BackTest, ...]:
    """Rolling: the first shards foretell all others, wherever these are not too many."""
    whole, found = shards.first(len(shards)), []
    for number in range(1, len(shards)):
        before = shards.first(number)
        rest = whole.draws - before.draws
        if 0 < rest <= furthest(before.draws):
            new = ESTIMATORS[HEADLINE](before, rest)
            found.append(BackTest(number, before.unique, new, whole.unique - before.unique))
    return tuple(found)


def _least(reaches: Callable[[int], bool], most: int) -> int | None:
    """The least number in [1, most] that reaches; None where there is none.

    It is looked for in steps of a tenth, as an interval's low end may fall again far out, and
    between two steps by halves.
    """
    below, step = 0, 1
    while below < most:
        if reaches(step):
            return below + 1 + bisect_left(range(below + 1, step), True, key=reaches)
        below, step = step, min(most, step + max(1, step // 10))
    return None


def need(shards: Shards, target: int, cost: float | None = None, seed: int = 0) -> Need:
    """How many more shards of the mean size bring the unique rows to a target.

    Args:
        shards: of which some texts repeat.
        target: unique rows in all.
        cost: of a shard in dollars, where it is known.
        seed: of the interval.
    """
    have, most = shards.first(len(shards)).unique, furthest_shards(shards)
    if have >= target:
        free = None if cost is None else 0.0
        return Need(target, 0, 0, 0, free, f"{target:,} unique rows are there already.")
    at = functools.cache(functools.partial(estimate, shards, seed=seed))

    def reached_by(end: str) -> int | None:
        return _least(lambda more: (getattr(at(more), end) or 0) >= target, most)

    found, fewest, longest = map(reached_by, ("unique", "high", "low"))
    paid = found * cost if found is not None and cost is not None else None
    sentence = _need_sentence(shards, target, (found, fewest, longest), paid, seed)
    return Need(target, found, fewest, longest, paid, sentence)


def _need_sentence(
    shards: Shards, target: int, found: tuple[int | None, ...], paid: float | None, seed: int
) -> str:
    more, fewest, longest = found
    beyond = furthest_shards(shards)
    if more is None:
        last = estimate(shards, beyond, seed=seed)
        return (
            f"{target:,} unique rows lie beyond what {_plural(len(shards), 'shard')} can foretell: "
            f"{beyond:,} more, the most that can be known, would bring {_spoken(last)} in all. "
            "Change how rows are made before making more of them."
        )
    price = f" for about ${paid:,.2f}" if paid is not None else ""
    if len(shards) < LEAST_SHARDS:
        interval = f"no interval: it takes {LEAST_SHARDS} shards"
    else:
        end = f"{longest:,}" if longest is not None else f"beyond the {beyond:,} that can be known"
        interval = f"{CONFIDENCE:.0%} interval {fewest:,} to {end}"
    return f"{target:,} unique rows take about {more:,} more shards{price} ({interval})."


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _tested(tests: tuple[BackTest, ...]) -> list[str]:
    """The rolling test in the middle, as a sentence."""
    if not tests:
        return []
    test = tests[len(tests) // 2]
    came = f"{test.actual:,} came" if test.actual else "none came"
    return [
        f"From the first {_plural(test.shards, 'shard')} alone it would have foretold "
        f"{_plural(round(test.forecast), 'new text')} in the others, and {came}."
    ]


def _spoken(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"about {found.unique:,.0f} (no interval: it takes {LEAST_SHARDS} shards)"
    return f"{found.unique:,.0f} ({CONFIDENCE:.0%} interval {found.low:,.0f} to {found.high:,.0f})"


def _refusal(shards: Shards, more: int) -> str | None:
    """Why nothing can be foretold."""
    rows = int(shards.rows.sum())
    if not rows:
        return "there is no row to forecast from"
    if shards.counts.shape[1] == rows:
        return f"none of {_plural(rows, 'row')} repeats another, so nothing says when rows will"
    if more > furthest_shards(shards):
        return (
            f"{_plural(more, 'more shard')} cannot be foretold from {len(shards):,}: at most "
            f"{furthest_shards(shards):,}, log({rows:,}) times as many"
        )
    return None


def forecast(
    shards: Shards,
    more: int,
    *,
    match: str = "exact",
    target: int | None = None,
    cost: float | None = None,
    seed: int = 0,
) -> Forecast:
    """Say what more shards will bring.

    Args:
        shards: what was made.
        more: shards to come.
        match: which texts count as one, for the sentence.
        target: unique rows in all that are wished for.
        cost: of a shard in dollars.
        seed: of the random parts that intervals are read off.
    """
    refusal, rows = _refusal(shards, more), int(shards.rows.sum())
    unique = int(shards.counts.shape[1])
    repeats = 0 < unique < rows
    names = sorted(ESTIMATORS, key=lambda name: name != HEADLINE) if refusal is None else ()
    estimates = tuple(estimate(shards, more, name, seed) for name in names)
    tests = back_tests(shards) if repeats else ()
    needed = need(shards, target, cost, seed) if target is not None and repeats else None
    said = [
        f"By {match} match {unique:,} of {_plural(rows, 'row')} in {_plural(len(shards), 'shard')} "
        "are unique."
    ]
    if estimates:
        said.append(f"{_plural(more, 'more shard')} would bring that to {_spoken(estimates[0])}.")
        said += _tested(tests)
    else:
        said.append(f"No forecast: {refusal}.")
    return Forecast(
        match=match,
        shards=len(shards),
        rows=rows,
        unique=unique,
        more=more,
        furthest=furthest_shards(shards),
        estimates=estimates,
        confidence=CONFIDENCE,
        back_tests=tests,
        need=needed,
        refusal=refusal,
        sentence=" ".join([*said, *([needed.sentence] if needed else [])]),
    )
