"""How far a metric, or a difference of arms, can be trusted: an interval in closed form.

A metric is a numerator and a denominator for each test item: summed loss over tokens, a right
answer over 1. Two things make it vary: which items the test set holds, and the seeds of training.
All arms are judged on the same items and trained with the same seeds, so differences are paired.

Seeds: an arm's means are y[a, s] = level[a] + shared[s] + own[a, s], with a variance of its own for
each arm (Searle, Casella and McCulloch 1992, chapter 4). One degree of freedom of the arms' mean
variance is added to each arm's few (Smyth 2004), and a sum of variances has the degrees of freedom
of Welch and Satterthwaite. Items enter by the ratio's linearisation. Both parts, each with its own
Student's t, are joined by the variance estimates that they recover (MOVER; Zou and Donner 2008).

What is no sum of arms, such as a law or a rank correlation, is read off replicates: items drawn
with replacement for all arms at once, and a normal draw of the seeds' part for each arm.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
CHUNK = 1 << 23
"""Weights held in memory at a time: a matter of memory, not of results."""
PRIOR = 1.0
"""Degrees of freedom of the arms' mean variance that are added to each arm's own."""
ROUNDS = 5
"""Of the iteration that finds the arms' variances: they are settled by then."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the ends of its interval."""

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


def quantile(freedom: float, confidence: float) -> float:
    """How many standard errors an interval reaches to each side: Student's t."""
    return float(special.stdtrit(freedom, 0.5 + confidence / 2))


def own_variances(means: Floats) -> tuple[Floats, Floats]:
    """The variance of each arm's seed means beside what all arms share, and its freedom.

    Args:
        means: by arm and seed, of two seeds or more, of arms that share their seeds.
    """
    arms, seeds = means.shape
    y, free = means - means.mean(axis=1, keepdims=True), seeds - 1
    if arms == 1:
        return (y**2).sum(axis=1) / free, np.array([float(free)])
    # Of two arms the mean says nothing more than they do.
    prior = PRIOR if arms > 2 else 0.0
    variances = np.full(arms, max((y**2).sum() / (arms * free), 1e-300))
    freedom = variances
    for _ in range(ROUNDS):
        weights = (1 / variances) / (1 / variances).sum()
        freedom = free * (1 - weights)
        own = ((y - weights @ y) ** 2).sum(axis=1) / freedom
        variances = (prior * own.mean() + freedom * own) / (prior + freedom)
        variances = np.maximum(variances, 1e-6 * variances.mean() + 1e-300)
    return variances, prior + freedom


def item_draws(num_items: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each test item is drawn, a replicate a row, in chunks; the sum is `num_items`."""
    rng = np.random.default_rng([seed, 0])
    chance = np.full(num_items, 1 / num_items)
    step = max(1, CHUNK // num_items)
    for start in range(0, resamples, step):
        yield rng.multinomial(num_items, chance, size=min(step, resamples - start))


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """A metric of all arms, and how it varies; arms go by their names."""

    index: Mapping[str, int]
    """The place of each arm."""
    groups: tuple[str, ...]
    """Of each arm: those of one group share what a seed does to them."""
    means: Floats
    """The metric by arm and seed; of the loss, nats per token."""
    influence: Floats
    """By arm, seed and item: how much an item moves its mean, times the number of items."""
    variances: Floats
    """By arm: of a seed's mean, beside what its group shares."""
    freedom: Floats
    """By arm: the degrees of freedom of that."""
    replicates: Floats
    """By arm and replicate."""
    confidence: float
    lower_is_better: bool = True
    unit: str = "nats per token"

    @classmethod
    def of(
        cls,
        groups: Mapping[str, str],
        numerators: Floats,
        denominators: Floats | Counts,
        *,
        resamples: int,
        confidence: float,
        seed: int,
        lower_is_better: bool = True,
        unit: str = "nats per token",
    ) -> "Estimates":
        """Measure a metric that is a sum over a sum.

        Args:
            groups: the group of each arm, by its name, in order: the model and its budget.
            numerators: by arm, seed and test item; of the loss, summed nats.
            denominators: by test item, the same for all arms; of the loss, tokens.
            resamples: replicates.
            confidence: of the intervals.
            seed: of the replicates' draws.
            lower_is_better: of the metric.
            unit: of the metric, in words.
        """
        means = numerators.sum(axis=2) / denominators.sum()
        influence = (numerators - means[:, :, None] * denominators) / denominators.mean()
        variances, freedom = _variances(means, tuple(groups.values()))
        drawn = _replicates(numerators, denominators, resamples, seed)
        seeds = _seed_deviations(influence, variances, freedom, confidence)
        rng = np.random.default_rng([seed, 1])
        return cls(
            index={name: at for at, name in enumerate(groups)},
            groups=tuple(groups.values()),
            means=means,
            influence=influence,
            variances=variances,
            freedom=freedom,
            replicates=drawn + seeds[:, None] * rng.normal(size=drawn.shape),
            confidence=confidence,
            lower_is_better=lower_is_better,
            unit=unit,
        )

    @classmethod
    def mean_of(cls, parts: Sequence["Estimates"]) -> "Estimates":
        """The mean of a metric over parts of the test items, each weighing the same.

        The parts are strata: that they differ from each other is no noise (Cochran 1977, chapter
        5). So an item's influence is that on its own part, times the number of all items over that
        of the parts and of its own items.

        Args:
            parts: of the same arms, on other items.
        """
        first, number = parts[0], sum(part.influence.shape[2] for part in parts)
        scales = [number / (len(parts) * part.influence.shape[2]) for part in parts]
        means = np.mean([part.means for part in parts], axis=0)
        variances, freedom = _variances(means, first.groups)
        return replace(
            first,
            means=means,
            influence=np.concatenate(
                [part.influence * scale for part, scale in zip(parts, scales, strict=True)], axis=2
            ),
            variances=variances,
            freedom=freedom,
            replicates=np.mean([part.replicates for part in parts], axis=0),
        )

    @property
    def values(self) -> Floats:
        """The metric of each arm, the mean over its seeds."""
        return np.asarray(self.means.mean(axis=1), dtype=np.float64)

    def combined(self, weights: Mapping[str, Mapping[str, float]]) -> "Estimates":
        """Estimates of weighted sums of arms under new names; no arm is part of two of them."""
        matrix = np.zeros((len(weights), len(self.means)))
        for place, parts in enumerate(weights.values()):
            for name, weight in parts.items():
                matrix[place, self.index[name]] += weight
        part = matrix**2 * self.variances
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = part / part.sum(axis=1, keepdims=True)
            freedom = 1 / (shares**2 / self.freedom).sum(axis=1)
        return Estimates(
            index={name: at for at, name in enumerate(weights)},
            groups=("",) * len(weights),
            means=matrix @ self.means,
            influence=np.tensordot(matrix, self.influence, axes=1),
            variances=part.sum(axis=1),
            freedom=np.where(np.isnan(freedom), np.inf, freedom),
            replicates=matrix @ self.replicates,
            confidence=self.confidence,
            lower_is_better=self.lower_is_better,
            unit=self.unit,
        )

    def contrast(self, weights: Mapping[str, float], confidence: float | None = None) -> Interval:
        """A weighted sum of arms.

        Where the weights sum to zero in a group, what its arms share falls out; where they do not,
        the sum's own variance between seeds is all that is known.

        Args:
            weights: by arm; the others have none.
            confidence: of the interval, where it is not that of the estimates.
        """
        confidence = confidence or self.confidence
        c = np.zeros(len(self.means))
        for name, weight in weights.items():
            c[self.index[name]] += weight
        value = float(c @ self.values)
        seeds, items = self.means.shape[1], self.influence.shape[2]
        x = np.tensordot(c, self.influence, axes=1)
        by_item = x.mean(axis=0)
        row = float(by_item.var(ddof=1)) / items if items > 1 else 0.0
        width = quantile(items - 1, confidence) ** 2 if items > 1 else 0.0
        if seeds > 1:
            if items > 1:
                both = ((x - by_item) ** 2).sum() / ((seeds - 1) * (items - 1))
                row = max(0.0, row - float(both) / (seeds * items))
            variance, freedom = self._seeds_part(c)
            width = width * row + quantile(freedom, confidence) ** 2 * variance / seeds
        else:
            width *= row
        return Interval(value, value - math.sqrt(width), value + math.sqrt(width))

    def _seeds_part(self, c: Floats) -> tuple[float, float]:
        """The variance of a contrast of one seed's means, and its degrees of freedom."""
        parts: list[tuple[float, float]] = []
        for group in dict.fromkeys(self.groups):
            inside = np.array([own == group for own in self.groups]) & (c != 0)
            if abs(c[inside].sum()) <= 1e-9:
                parts += zip(
                    c[inside] ** 2 * self.variances[inside], self.freedom[inside], strict=True
                )
            else:
                seeds = self.means.shape[1]
                parts.append((float((c[inside] @ self.means[inside]).var(ddof=1)), seeds - 1))
        total = sum(variance for variance, _ in parts)
        if total == 0:
            return 0.0, math.inf
        return total, 1 / sum((variance / total) ** 2 / freedom for variance, freedom in parts)

    def value(self, name: str) -> Interval:
        """The metric of an arm."""
        return self.contrast({name: 1.0})

    def margin(self, name: str, other: str, confidence: float | None = None) -> Interval:
        """How much better `name` is than `other`: above zero, it is better."""
        sign = 1.0 if self.lower_is_better else -1.0
        return self.contrast({other: sign, name: -sign}, confidence)

    def order(self, name: str) -> float:
        """A number by which the best arm comes first."""
        value = float(self.values[self.index[name]])
        return value if self.lower_is_better else -value

    def interval(self, value: float, replicates: Floats) -> Interval:
        """A value between the quantiles of its replicates."""
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(replicates, [tail, 1 - tail])
        return Interval(float(value), float(low), float(high))

    def improvement_ratio(self, name: str, other: str, baseline: float) -> Interval | None:
        """Ratio of two arms' distances below a baseline; None where the second's may be 0."""
        i, j = self.index[name], self.index[other]
        below = baseline - self.replicates[j]
        distance = baseline - float(self.values[j])
        if distance <= 0 or self.interval(distance, below).low <= 0:
            return None
        value = (baseline - float(self.values[i])) / distance
        return self.interval(value, (baseline - self.replicates[i]) / below)


def _variances(means: Floats, groups: tuple[str, ...]) -> tuple[Floats, Floats]:
    """`own_variances` within each group; of a single seed none are known."""
    variances, freedom = np.zeros(len(means)), np.full(len(means), np.inf)
    if means.shape[1] > 1:
        for group in set(groups):
            inside = [at for at, own in enumerate(groups) if own == group]
            variances[inside], freedom[inside] = own_variances(means[inside])
    return variances, freedom


def _replicates(
    numerators: Floats, denominators: Floats | Counts, resamples: int, seed: int
) -> Floats:
    """Replicates of each arm's metric over items: a row an arm, the mean over its seeds."""
    by_arm = numerators.mean(axis=1)
    parts = []
    for draws in item_draws(numerators.shape[2], resamples, seed):
        weights = draws.astype(np.float64).T
        parts.append((by_arm @ weights) / (denominators @ weights))
    return np.concatenate(parts, axis=1)


def _seed_deviations(
    influence: Floats, variances: Floats, freedom: Floats, confidence: float
) -> Floats:
    """By arm: the deviation of the mean over seeds, as wide as few seeds ask for, without what the
    items' replicates hold already."""
    _, seeds, items = influence.shape
    if seeds < 2:
        return np.zeros(len(variances))
    both = ((influence - influence.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))
    both /= (seeds - 1) * max(1, items - 1)
    wide = special.stdtrit(2 * freedom, 0.5 + confidence / 2) / NormalDist().inv_cdf(
        0.5 + confidence / 2
    )
    return np.asarray(np.sqrt(np.maximum(0, variances - both / items) / seeds) * wide)
