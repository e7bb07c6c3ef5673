"""What could a grid see? Said also before it is paid for.    winnow analyze --power

A pilot of two or more seeds tells how much a paired difference of two arms varies between seeds and
between test rows. The interval of a grid of any seeds and test rows follows in closed form, and the
least effect is the margin that excludes zero in 80 of 100 grids. That is of one comparison: the
headline's arm must beat every other one at once, which happens less often.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist

import numpy as np
from scipy import special

from winnow.analyze.intervals import PRIOR, Counts, Estimates, Floats, quantile
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Study

POWER = 0.8
"""The share of grids that see the least effect."""
SEEDS, ROWS = (2, 3, 5, 10), (1, 4)
"""Also told: for these seeds, and these multiples of the test rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How the difference of two arms' losses per token varies: variances, in nats squared."""

    seed: float
    """Between seeds, over all test rows there could be."""
    seed_high: float
    """The upper confidence bound of that."""
    item: float
    """Between test rows, over all seeds there could be; of a mean, divided by the rows."""
    both: float
    """What is left for a row and a seed together; of a mean, divided by rows and seeds."""
    freedom: int
    """Degrees of freedom of the seeds' part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """The least margin that a grid sees, in nats per token; None where it knows no spread."""

    effect: float | None
    effect_high: float | None
    """The same if the seeds vary as much as the confidence allows."""
    headline: float | None
    """How often an arm that is better than all others by `effect` is kept for sure: less often than
    one comparison is decided."""
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned(Effect):
    """The same of the grid of params.yaml."""

    seeds: int
    rows: int
    """Test rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pilot:
    """What a spread was measured on; deviations are of a difference of two arms, nats per token."""

    experiments: Sequence[str]
    seeds: int
    rows: int
    paired: bool
    """Whether there were two arms or more."""
    deviation_of_seeds: float
    deviation_of_seeds_high: float
    deviation_of_rows: float
    freedom: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment:
    """The trainings that are still to be paid for."""

    trainings: int
    guessed: int | None
    """Of arms without a finished seed."""
    hours: float | None
    """By the clock."""
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Foresight:
    """What the arms of one model could see."""

    pilot: Pilot | None
    planned: Planned | None
    grid: Mapping[str, Mapping[str, Effect]] | None
    """By seeds and test rows."""
    to_pay: Payment
    reasons: Mapping[str, str] = field(default_factory=dict)


def spread(losses: Floats, tokens: Counts, confidence: float) -> Spread:
    """Split the variance of a paired difference into seeds, test rows and both (a two-way layout
    with random effects; Searle, Casella and McCulloch 1992, chapter 4), pooled over all pairs.

    One arm alone tells twice its own variance: as if nothing were gained by pairing.

    Args:
        losses: summed losses by arm, seed and test row; 2 or more seeds and rows.
        tokens: tokens of each test row.
        confidence: of the upper bound of the seeds' part (chi-square, one side).
    """
    num_arms, num_seeds, num_items = losses.shape
    pairing = max(1, num_arms - 1)
    means = losses.sum(axis=2) / tokens.sum()
    # How much each row moves the loss per token: the ratio of sums, made linear.
    rows = (losses - means[:, :, None] * tokens) / tokens.mean()
    if num_arms > 1:
        means, rows = means - means.mean(axis=0), rows - rows.mean(axis=0)
    by_seed = means - means.mean(axis=1, keepdims=True)
    by_row = rows.mean(axis=1)
    rest = rows - by_row[:, None]
    freedom = pairing * (num_seeds - 1)
    # The pairs' mean of the variances of differences is twice the variance around the arms' mean.
    both = 2 * float((rest**2).sum()) / (freedom * (num_items - 1))
    seeds = 2 * float((by_seed**2).sum()) / freedom
    items = 2 * float((by_row**2).sum()) / (pairing * (num_items - 1))
    highest = seeds * freedom / float(special.chdtri(freedom, confidence))
    return Spread(
        seed=max(0.0, seeds - both / num_items),
        seed_high=max(0.0, highest - both / num_items),
        item=max(0.0, items - both / num_seeds),
        both=both,
        freedom=freedom,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A grid that is to be: what the interval of one of its margins will be made of."""

    seeds: float
    """Variance of the mean over its seeds."""
    rows: float
    """Variance of the mean over its test rows."""
    half: float
    """How far the interval reaches to each side."""

    @classmethod
    def of(
        cls,
        seed_variance: float,
        known: Spread,
        arms: int,
        seeds: int,
        rows: int,
        confidence: float,
    ) -> "Plan":
        """Of a spread, and the numbers of arms, seeds and test rows."""
        by_seed, by_row = (seed_variance + known.both / rows) / seeds, known.item / rows
        # Of two arms alike: what own_variances leaves to each, and Welch's sum of two.
        freedom = 2 * ((PRIOR if arms > 2 else 0) + (seeds - 1) * (1 - 1 / max(2, arms)))
        t, z = quantile(freedom, confidence), quantile(max(1, rows - 1), confidence)
        return cls(seeds=by_seed, rows=by_row, half=math.sqrt(t**2 * by_seed + z**2 * by_row))

    @property
    def deviation(self) -> float:
        """Of a margin's estimate."""
        return math.sqrt(self.seeds + self.rows)

    def least_effect(self) -> float:
        """The margin, in nats per token, whose interval lies above zero in 80% of grids."""
        return self.half + NormalDist().inv_cdf(POWER) * self.deviation

    def share_of_winners(self, arms: int, effect: float) -> float | None:
        """How often an arm that is better than all others by the effect surely beats each of them,
        its own noise being in every comparison; None where nothing varies."""
        deviation = self.deviation / math.sqrt(2)
        if not deviation:
            return None
        own = np.linspace(-6, 6, 1201)
        weights = np.exp(-(own**2) / 2)
        beaten = special.ndtr((effect - self.half) / deviation + own) ** max(1, arms - 1)
        return float((weights * beaten).sum() / weights.sum())


def _effect(known: Spread, arms: int, seeds: int, rows: int, confidence: float) -> Effect:
    """The least effect at the measured spread, and at the seeds' highest one."""
    if seeds < 2:
        why = "one seed knows nothing of how seeds differ"
        reasons = {"effect": why, "effect_high": why, "headline": why}
        return Effect(effect=None, effect_high=None, headline=None, reasons=reasons)
    measured, highest = (
        Plan.of(variance, known, arms, seeds, rows, confidence)
        for variance in (known.seed, known.seed_high)
    )
    effect = measured.least_effect()
    headline = measured.share_of_winners(arms, effect)
    return Effect(
        effect=effect,
        effect_high=highest.least_effect(),
        headline=headline,
        reasons={} if headline is not None else {"headline": "nothing varied in the pilot"},
    )


def least_effect(found: Estimates, arms: Sequence[int]) -> float | None:
    """The difference of two of some arms that such a grid would see in 80% of cases, at the
    estimates' confidence; None with one seed.

    Args:
        found: of a metric.
        arms: their places in it.
    """
    influence, means = found.influence[list(arms)], found.means[list(arms)]
    number, seeds, rows = influence.shape
    if seeds < 2:
        return None
    # A row's part of a mean, in place of a sum over a sum of its own.
    known = spread(influence + means[:, :, None], np.ones(rows, np.int64), found.confidence)
    return Plan.of(known.seed, known, number, seeds, rows, found.confidence).least_effect()


def _pilot(arms: Sequence[Arm]) -> tuple[list[Arm], list[int]]:
    """The arms with two or more finished seeds, and the seeds that all of them have."""
    several = [arm for arm in arms if len(arm.runs) > 1]
    shared = [run.seed for run in several[0].runs] if several else []
    for arm in several:
        shared = [seed for seed in shared if seed in {run.seed for run in arm.runs}]
    return several, shared


def to_pay(arms: Mapping[str, Arm], names: Sequence[str], seeds: Sequence[int]) -> Payment:
    """The trainings of one model that are still to be paid for, and the hours that they will take.

    A seed takes what the finished ones of its arm did, on average; of an arm without any, what
    those of all arms did, and is counted as guessed.
    """
    times = {
        name: [float(run.train.train_time) for run in arms[name].runs] if name in arms else []
        for name in names
    }
    left = {name: len(seeds) - len(finished) for name, finished in times.items()}
    trainings = sum(left.values())
    anywhere = [time for finished in times.values() for time in finished]
    if not anywhere:
        why = "no seed of this model and budget is finished"
        reasons = {"guessed": why, "hours": why}
        return Payment(trainings=trainings, guessed=None, hours=None, reasons=reasons)
    seconds = {name: np.mean(finished or anywhere) for name, finished in times.items()}
    return Payment(
        trainings=trainings,
        guessed=sum(left[name] for name, finished in times.items() if not finished),
        hours=float(sum(left[name] * seconds[name] for name in names)) / 3600,
    )


def _model(
    names: Sequence[str],
    arms: Mapping[str, Arm],
    seeds: Sequence[int],
    tokens: Counts,
    confidence: float,
) -> Foresight:
    """What the arms of one model could see."""
    payment = to_pay(arms, names, seeds)
    several, shared = _pilot([arms[name] for name in names if name in arms])
    if len(shared) < 2 or len(tokens) < 2:
        why = "no two finished seeds that its arms share: train two seeds of two of its arms"
        if len(tokens) < 2:
            why = "one test row knows nothing of how rows differ"
        reasons = dict.fromkeys(("pilot", "planned", "grid"), why)
        return Foresight(pilot=None, planned=None, grid=None, to_pay=payment, reasons=reasons)
    losses = np.stack([[run.losses for run in arm.runs if run.seed in shared] for arm in several])
    variances = spread(losses, tokens, confidence)

    def effects(num_seeds: int, num_items: int) -> Effect:
        return _effect(variances, len(names), num_seeds, num_items, confidence)

    planned = effects(len(seeds), len(tokens))
    return Foresight(
        pilot=Pilot(
            experiments=[arm.name for arm in several],
            seeds=len(shared),
            rows=len(tokens),
            paired=len(several) > 1,
            deviation_of_seeds=math.sqrt(variances.seed),
            deviation_of_seeds_high=math.sqrt(variances.seed_high),
            deviation_of_rows=math.sqrt(variances.item),
            freedom=variances.freedom,
        ),
        planned=Planned(seeds=len(seeds), rows=len(tokens), **asdict(planned)),
        grid={
            str(num_seeds): {
                str(times * len(tokens)): effects(num_seeds, times * len(tokens)) for times in ROWS
            }
            for num_seeds in SEEDS
        },
        to_pay=payment,
    )


def power(
    arms: Sequence[Arm],
    grid: Mapping[str, str],
    seeds: Sequence[int],
    tokens: Counts,
    confidence: float,
) -> dict[str, Foresight]:
    """Per model with its budget: the pilot, the least effect of the grid, and what it will cost.

    Args:
        arms: those that have results, each with its finished seeds.
        grid: every planned experiment, with its model and budget.
        seeds: the planned ones.
        tokens: of the test rows that the pilot was judged on, and the grid will be.
        confidence: of the intervals, and of the upper bound of the seeds' variance.
    """
    by_name = {arm.name: arm for arm in arms}
    models = dict.fromkeys(grid.values())
    return {
        model: _model(
            [name for name, own in grid.items() if own == model], by_name, seeds, tokens, confidence
        )
        for model in models
    }


@functools.lru_cache(1)
def foresights(study: Study, settings: AnalyzeConfig) -> dict[str, Foresight]:
    """Of the grid that was run."""
    grid = {arm.name: arm.model_name for arm in study.arms}
    return power(study.arms, grid, study.seeds, study.tokens, settings.confidence)


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every model."""
    return Answer(values=foresights(study, settings))


def _table(pilot: Pilot, foresight: Foresight, confidence: float) -> list[str]:
    """A pilot and its table as lines of text."""
    assert foresight.grid is not None and foresight.planned is not None
    how = "paired" if pilot.paired else "one experiment, taken twice: more than pairs will vary"
    lines = [
        f"  pilot: {numbers.plural(len(pilot.experiments), 'experiment')} of "
        f"{numbers.plural(pilot.seeds, 'seed')} on {numbers.plural(pilot.rows, 'test row')} "
        f"({how})",
        f"  between seeds a difference of two arms varies by {pilot.deviation_of_seeds:.4f}, at "
        f"most {pilot.deviation_of_seeds_high:.4f} ({confidence:.0%} sure)",
        f"  least margin seen in {POWER:.0%} of grids, nats per token (with the seeds' highest "
        "spread)",
    ]
    header, *_ = foresight.grid.values()
    lines.append(
        "  seeds" + "".join(f"{numbers.count(int(rows)) + ' rows':>22}" for rows in header)
    )
    for seeds, cells in foresight.grid.items():
        shown = "".join(f"{c.effect:>12.4f} ({c.effect_high:.4f})" for c in cells.values())
        lines.append(f"  {seeds:>5}{shown}")
    planned = foresight.planned
    if planned.effect is None:
        return [*lines, f"  this grid: not defined, {planned.reasons['effect']}"]
    said = f"  this grid, {numbers.plural(planned.seeds, 'seed')}: {planned.effect:.4f} "
    said += f"({planned.effect_high:.4f})"
    if planned.headline is not None:
        said += f"; an arm that is so much better than all others is kept in {planned.headline:.0%}"
    return [*lines, said]


def described(by_model: Mapping[str, Foresight], confidence: float) -> str:
    """What `power` tells, for a terminal."""
    lines = []
    for model, foresight in by_model.items():
        lines.append(f"{model}:")
        if foresight.pilot is None:
            lines.append(f"  least margin: not defined, {foresight.reasons['pilot']}")
        else:
            lines += _table(foresight.pilot, foresight, confidence)
        payment = foresight.to_pay
        left = f"  still to be paid: {numbers.plural(payment.trainings, 'training')}"
        if payment.hours is None:
            lines.append(f"{left}, hours unknown: {payment.reasons['hours']}")
        else:
            guess = f" ({payment.guessed} of arms not yet tried: as the others took)"
            time = numbers.duration(3600 * payment.hours)
            lines.append(f"{left}, about {time}" + (guess if payment.guessed else ""))
    return "\n".join(lines)
