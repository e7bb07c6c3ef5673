"""What a grid could see, said before it is paid for.    winnow analyze --power

A pilot of two or more seeds tells how much a paired difference of two arms varies between seeds and
between test rows. From that, grids of any number of seeds and test rows are simulated and judged by
the same interval as real ones: the least effect is the margin that excludes zero in 80 of 100.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from winnow.analyze import words
from winnow.analyze.bootstrap import Floats, seed_draws, widening
from winnow.analyze.documented import with_reasons
from winnow.analyze.results import Arm

POWER = 0.8
"""The share of grids that see the least effect."""
SEEDS, ROWS = (2, 3, 5, 10), (1, 4)
"""Also told: for these seeds, and these multiples of the test rows."""
GRIDS, RESAMPLES = 2000, 400
"""Simulated grids, and replicates of each: the least effect is known to about 2%."""
Json = dict[str, Any]


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


def spread(losses: Floats, tokens: NDArray[np.int64], confidence: float) -> Spread:
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


def least_effect(
    seed_variance: float, found: Spread, num_seeds: int, num_items: int, confidence: float
) -> float:
    """The margin, in nats per token, whose interval lies above zero in 80% of grids.

    Grids without an effect are simulated with normal seeds and rows, and each gets the interval
    that `bootstrap.replicate` would give it; a margin is seen where it exceeds the distance of the
    lower end below zero.
    """
    dice = np.random.default_rng([num_seeds, num_items])
    drift = seed_draws(num_seeds, RESAMPLES, 0) / num_seeds - 1 / num_seeds
    weights = 1 / num_seeds + widening(num_seeds, confidence) * drift
    places = (np.arange(RESAMPLES) + 0.5) / RESAMPLES
    normal = dice.permutation([NormalDist().inv_cdf(place) for place in places])
    redrawn = normal * np.sqrt((found.item + found.both * (weights**2).sum(axis=1)) / num_items)
    by_seed = dice.normal(size=(GRIDS, num_seeds)) * math.sqrt(
        seed_variance + found.both / num_items
    )
    by_seed += dice.normal(size=(GRIDS, 1)) * math.sqrt(found.item / num_items)
    low = np.quantile(by_seed @ weights.T + redrawn, (1 - confidence) / 2, axis=1)
    return float(np.quantile(-low, POWER))


def _cell(found: Spread, num_seeds: int, num_items: int, confidence: float) -> Json:
    """The least effect at the spread that was found, and at the seeds' highest one."""
    if num_seeds < 2:
        why = "one seed knows nothing of how seeds differ"
        return with_reasons(
            {"effect": None, "effect_high": None}, {"effect": why, "effect_high": why}
        )
    effects = (
        least_effect(variance, found, num_seeds, num_items, confidence)
        for variance in (found.seed, found.seed_high)
    )
    return dict(zip(("effect", "effect_high"), effects, strict=True))


def _pilot(arms: Sequence[Arm]) -> tuple[list[Arm], list[int]]:
    """The arms with two or more finished seeds, and the seeds that all of them have."""
    several = [arm for arm in arms if len(arm.runs) > 1]
    shared = [run.seed for run in several[0].runs] if several else []
    for arm in several:
        shared = [seed for seed in shared if seed in {run.seed for run in arm.runs}]
    return several, shared


def to_pay(arms: Mapping[str, Arm], names: Sequence[str], seeds: Sequence[int]) -> Json:
    """The trainings of one model that are still to be paid for, and the hours that they will take.

    A seed takes what the finished ones of its arm did, on average; of an arm without any, what
    those of all arms did, and is counted as guessed.
    """
    times = {
        name: [float(run.train["train_time"]) for run in arms[name].runs] if name in arms else []
        for name in names
    }
    left = {name: len(seeds) - len(found) for name, found in times.items()}
    total = {"trainings": sum(left.values())}
    anywhere = [time for found in times.values() for time in found]
    if not anywhere:
        why = "no seed of this model and budget is finished"
        unknown = dict.fromkeys(("guessed", "hours"))
        return total | with_reasons(unknown, dict.fromkeys(unknown, why))
    seconds = {name: np.mean(found or anywhere) for name, found in times.items()}
    return total | {
        "guessed": sum(left[name] for name, found in times.items() if not found),
        "hours": float(sum(left[name] * seconds[name] for name in names)) / 3600,
    }


def _model(
    names: Sequence[str],
    arms: Mapping[str, Arm],
    seeds: Sequence[int],
    tokens: NDArray[np.int64],
    confidence: float,
) -> Json:
    """What the arms of one model could see."""
    payment = to_pay(arms, names, seeds)
    several, shared = _pilot([arms[name] for name in names if name in arms])
    if len(shared) < 2 or len(tokens) < 2:
        why = "no two finished seeds that its arms share: train two seeds of two of its arms"
        if len(tokens) < 2:
            why = "one test row knows nothing of how rows differ"
        keys = ("pilot", "planned", "grid")
        unknown = with_reasons(dict.fromkeys(keys), dict.fromkeys(keys, why))
        return unknown | {"to_pay": payment}
    losses = np.stack([[run.losses for run in arm.runs if run.seed in shared] for arm in several])
    found = spread(losses, tokens, confidence)
    return {
        "pilot": {
            "experiments": [arm.name for arm in several],
            "seeds": len(shared),
            "rows": len(tokens),
            "paired": len(several) > 1,
            "deviation_of_seeds": math.sqrt(found.seed),
            "deviation_of_seeds_high": math.sqrt(found.seed_high),
            "deviation_of_rows": math.sqrt(found.item),
            "freedom": found.freedom,
        },
        "planned": {"seeds": len(seeds), "rows": len(tokens)}
        | _cell(found, len(seeds), len(tokens), confidence),
        "grid": {
            str(num_seeds): {
                str(rows * len(tokens)): _cell(found, num_seeds, rows * len(tokens), confidence)
                for rows in ROWS
            }
            for num_seeds in SEEDS
        },
        "to_pay": payment,
    }


def power(
    arms: Sequence[Arm],
    grid: Mapping[str, str],
    seeds: Sequence[int],
    tokens: NDArray[np.int64],
    confidence: float,
) -> Json:
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


def _rows_of(found: Json, confidence: float) -> list[str]:
    """A pilot and its table as lines of text."""
    pilot, planned = found["pilot"], found["planned"]
    how = "paired" if pilot["paired"] else "one experiment, taken twice: more than pairs will vary"
    number = words.plural(len(pilot["experiments"]), "experiment")
    lines = [
        f"  pilot: {number} of {words.plural(pilot['seeds'], 'seed')} on "
        f"{words.plural(pilot['rows'], 'test row')} ({how})",
        f"  between seeds a difference of two arms varies by {pilot['deviation_of_seeds']:.4f}, at "
        f"most {pilot['deviation_of_seeds_high']:.4f} ({confidence:.0%} sure)",
        f"  least margin seen in {POWER:.0%} of grids, nats per token (with the seeds' highest "
        "spread)",
    ]
    header, *_ = found["grid"].values()
    lines.append("  seeds" + "".join(f"{words.count(int(rows)) + ' rows':>22}" for rows in header))
    for seeds, cells in found["grid"].items():
        shown = "".join(f"{c['effect']:>12.4f} ({c['effect_high']:.4f})" for c in cells.values())
        lines.append(f"  {seeds:>5}{shown}")
    if planned["effect"] is None:
        return [*lines, f"  this grid: not defined, {planned['reasons']['effect']}"]
    return [
        *lines,
        f"  this grid, {words.plural(planned['seeds'], 'seed')}: {planned['effect']:.4f} "
        f"({planned['effect_high']:.4f})",
    ]


def described(found: Json, confidence: float) -> str:
    """What `power` found, for a terminal."""
    lines = []
    for model, part in found.items():
        lines.append(f"{model}:")
        if part["pilot"] is None:
            lines.append(f"  least margin: not defined, {part['reasons']['pilot']}")
        else:
            lines += _rows_of(part, confidence)
        payment = part["to_pay"]
        left = f"  still to be paid: {words.plural(payment['trainings'], 'training')}"
        if payment["hours"] is None:
            lines.append(f"{left}, hours unknown: {payment['reasons']['hours']}")
        else:
            guess = f" ({payment['guessed']} of arms not yet tried: as the others took)"
            time = words.duration(3600 * payment["hours"])
            lines.append(f"{left}, about {time}" + (guess if payment["guessed"] else ""))
    return "\n".join(lines)
