"""What does a threshold of perplexity cost each arm, as documented and as measured?

The documented formulas are kept as they are, weak points included: time to a threshold is scaled
from the end of training, samples per point count from a perplexity of 100. Beside them stand
figures that are read off what was logged. Times are work at one measured speed (cost.py), and
`wall_clock` is by the clock.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from winnow.analyze.cost import scoring_seconds, total_seconds, training_seconds
from winnow.analyze.intervals import Estimates
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.report import figures, numbers
from winnow.analyze.study import Arm, Study, estimates

WORST = 100.0
"""Samples per point are counted from this perplexity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Efficiency:
    """One arm's; times are in seconds."""

    flops: float
    tokens_seen: float
    train_time: float
    wall_clock: float
    scoring_time: float | None
    total_time: float | None
    time_to_threshold: float
    """As documented: scaled from the end of training."""
    measured_time_to_threshold: float | None
    tokens_to_threshold: float | None
    samples_per_point_perplexity: float | None
    reasons: Mapping[str, str] = field(default_factory=dict)


def tokens_to_threshold(arm: Arm, threshold: float) -> tuple[float | None, str]:
    """Tokens to the first logged validation perplexity at or below the threshold, seeds' mean.

    None, with the reason, where a seed never got there.
    """
    tokens, lowest = [], math.inf
    for run in arm.runs:
        points = run.validation_losses
        lowest = min([lowest, *(loss for _, loss in points)])
        reached = [seen for seen, loss in points if loss <= math.log(threshold)]
        tokens += reached[:1]
    if len(tokens) == len(arm.runs):
        return sum(tokens) / len(tokens), ""
    if math.isinf(lowest):
        return None, "no validation loss was logged"
    missed = f"not reached by {len(arm.runs) - len(tokens)} of "
    missed += numbers.plural(len(arm.runs), "seed")
    return None, f"{missed}; lowest validation perplexity {numbers.significant(math.exp(lowest))}"


def _efficiency(arm: Arm, study: Study, perplexity: float, threshold: float) -> Efficiency:
    reasons = {}
    train_time = training_seconds(arm, study)
    tokens_seen = arm.mean(lambda run: run.train.tokens_seen)
    tokens, why = tokens_to_threshold(arm, threshold)
    if tokens is None:
        reasons["measured_time_to_threshold"] = reasons["tokens_to_threshold"] = why
    points = WORST - perplexity
    if points <= 0:
        reasons["samples_per_point_perplexity"] = (
            f"perplexity {numbers.significant(perplexity)} is not below {WORST:g}"
        )
    scoring = scoring_seconds(arm, study)
    if scoring is None:
        reasons["scoring_time"] = reasons["total_time"] = "scoring left no measured cost"
    return Efficiency(
        flops=arm.mean(lambda run: run.train.flops),
        tokens_seen=tokens_seen,
        train_time=train_time,
        wall_clock=arm.mean(lambda run: run.train.train_time),
        scoring_time=scoring,
        total_time=total_seconds(arm, study),
        time_to_threshold=train_time * (threshold / perplexity),
        measured_time_to_threshold=tokens and train_time * tokens / tokens_seen,
        tokens_to_threshold=tokens,
        samples_per_point_perplexity=arm.num_rows / points if points > 0 else None,
        reasons=reasons,
    )


def efficiency_metrics(study: Study, losses: Estimates, threshold: float) -> dict[str, Efficiency]:
    """Time to the threshold, samples per point and total cost of every experiment."""
    return {
        arm.name: _efficiency(arm, study, math.exp(losses.value(arm.name).value), threshold)
        for arm in study.arms
    }


def _title(study: Study, rows: Mapping[str, Efficiency], threshold: float) -> str:
    """Who got to the threshold first; of several models, the largest."""
    arms = next(iter(study.models().values()))
    tokens = {arm.name: rows[arm.name].tokens_to_threshold for arm in arms}
    measured = {name: number for name, number in tokens.items() if number is not None}
    if not measured:
        return f"No arm was measured at perplexity {threshold:g}: the documented times are scaled"
    first = min(measured, key=lambda name: measured[name])
    return (
        f"{first} came to perplexity {threshold:g} with the least work, after "
        f"{numbers.short(measured[first])} tokens; {len(measured)} of {len(arms)} arms got there"
    )


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every arm, with the learning curves and the documented figure."""
    threshold = settings.perplexity_threshold
    rows = efficiency_metrics(study, estimates(study, settings), threshold)
    times = {
        name: (row.time_to_threshold, row.measured_time_to_threshold) for name, row in rows.items()
    }
    title = _title(study, rows, threshold)
    drawn = (
        figures.learning_curves(study),
        figures.training_efficiency(study, times, threshold, title),
    )
    return Answer(
        values=rows,
        sentence=f"{title}.",
        figures=tuple(drawing for drawing in drawn if drawing is not None),
    )
