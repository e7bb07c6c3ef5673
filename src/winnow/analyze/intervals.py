"""Paired bootstrap over test items and seeds: how far a metric, or a difference, can be trusted.

A metric is a numerator and a denominator for each test item: summed loss over tokens, a right
answer over 1. A replicate draws items with replacement and, independently, seeds with replacement;
its value is the sum of the drawn numerators over the sum of the drawn denominators. Every arm is
judged on the same draw (the tiers are nested and the test rows shared, so differences are paired;
Efron and Tibshirani 1993, chapter 8), and arms' seeds are paired by index.

Few seeds make a bootstrap too sure: with three, a 90% interval of seed noise would cover 60%. The
seeds' part of each replicate is therefore widened as Student's t asks (Hesterberg 2015,
arXiv 1411.5279, section 4): see `widening`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
CHUNK = 1 << 23
"""Weights held in memory at a time: a matter of memory, not of results."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is above zero: touching it does not count."""
        return self.low > 0

    @property
    def holds_zero(self) -> bool:
        """Whether zero is inside, its ends included."""
        return self.low <= 0 <= self.high

    def map(self, function: Callable[[float], float]) -> "Interval":
        """The interval of a monotone function of the value."""
        ends = sorted((function(self.low), function(self.high)))
        return Interval(function(self.value), *ends)


def item_draws(num_items: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each test item is drawn, a replicate a row, in chunks; the sum is `num_items`."""
    rng = np.random.default_rng([seed, 0])
    chance = np.full(num_items, 1 / num_items)
    step = max(1, CHUNK // num_items)
    for start in range(0, resamples, step):
        yield rng.multinomial(num_items, chance, size=min(step, resamples - start))


def seed_draws(num_seeds: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each seed is drawn, a replicate a row; the sum is `num_seeds`."""
    rng = np.random.default_rng([seed, 1])
    return rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=resamples)


def widening(num_seeds: int, confidence: float) -> float:
    """How much wider than a plain bootstrap few seeds must be read; 1 for one seed.

    sqrt(n / (n - 1)) undoes the bias of a bootstrap's variance; t / z is what not knowing that
    variance costs. 2.2 for three seeds, 1.3 for ten.
    """
    if num_seeds < 2:
        return 1.0
    tail = 0.5 + confidence / 2
    ratio = float(special.stdtrit(num_seeds - 1, tail)) / NormalDist().inv_cdf(tail)
    return math.sqrt(num_seeds / (num_seeds - 1)) * ratio


def replicate(
    numerators: Floats, denominators: Counts, *, resamples: int, confidence: float, seed: int
) -> Floats:
    """Replicates of each arm's metric: one row per arm, one column per replicate.

    Args:
        numerators: of the metric, by arm, seed and test item; of the loss, summed nats.
        denominators: by test item, the same for all arms; of the loss, tokens.
        resamples: replicates.
        confidence: of the intervals that will be read off them.
        seed: of the draws.
    """
    num_arms, num_seeds, num_items = numerators.shape
    flat = numerators.reshape(-1, num_items)
    parts = []
    for draws in item_draws(num_items, resamples, seed):
        weights = draws.astype(np.float64).T
        parts.append((flat @ weights) / (denominators @ weights))
    by_seed = np.concatenate(parts, axis=1).reshape(num_arms, num_seeds, resamples)
    drift = seed_draws(num_seeds, resamples, seed).T / num_seeds - 1 / num_seeds
    moved = by_seed.mean(axis=1) + widening(num_seeds, confidence) * (by_seed * drift).sum(axis=1)
    return np.asarray(moved, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A metric of all arms with its joint replicates; arms go by their names."""

    index: dict[str, int]
    """The row of each arm."""
    values: Floats
    """The metric of each arm, the mean over its seeds; of the loss, nats per token."""
    replicates: Floats
    """By arm and replicate."""
    confidence: float
    lower_is_better: bool = True

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        numerators: Floats,
        denominators: Counts,
        *,
        resamples: int,
        confidence: float,
        seed: int,
        lower_is_better: bool = True,
    ) -> "Bootstrap":
        """Draw once for all arms, so that any two of them are paired.

        Numerators and denominators are as `replicate` takes them: any metric that is a sum over a
        sum, so loss over tokens, loss over bytes, or an item's right answer over 1.
        """
        drawn = replicate(
            numerators, denominators, resamples=resamples, confidence=confidence, seed=seed
        )
        means = (numerators.sum(axis=2) / denominators.sum()).mean(axis=1)
        index = {name: i for i, name in enumerate(names)}
        return cls(index, means, drawn, confidence, lower_is_better)

    def interval(self, value: float, replicates: Floats) -> Interval:
        """A value between the quantiles of its replicates."""
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(replicates, [tail, 1 - tail])
        return Interval(float(value), float(low), float(high))

    def value(self, name: str) -> Interval:
        """The metric of an arm."""
        i = self.index[name]
        return self.interval(self.values[i], self.replicates[i])

    def margin(self, name: str, other: str) -> Interval:
        """How much better `name` is than `other`: above zero, it is better."""
        i, j = self.index[name], self.index[other]
        if not self.lower_is_better:
            i, j = j, i
        return self.interval(
            self.values[j] - self.values[i], self.replicates[j] - self.replicates[i]
        )

    def improvement_ratio(self, name: str, other: str, baseline: float) -> Interval | None:
        """Ratio of two arms' distances below a baseline; None where the second's may be 0."""
        i, j = self.index[name], self.index[other]
        below = baseline - self.replicates[j]
        if baseline - self.values[j] <= 0 or below.min() <= 0:
            return None
        value = (baseline - self.values[i]) / (baseline - self.values[j])
        return self.interval(value, (baseline - self.replicates[i]) / below)
