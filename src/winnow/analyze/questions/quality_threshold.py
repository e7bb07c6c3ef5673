"""From which level on does filtering pay, by the documented rule?

The rule does not know variance: quality_threshold_interval.py asks the same of intervals.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.report import numbers
from winnow.analyze.study import LEVELS, Arm, Study, estimates

BETTER = 0.9
"""The documented rule: a level pays when its perplexity is below 0.9 of the next level's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """The level that is picked."""

    threshold: str | None
    """Its documented name."""
    experiment: str | None = None
    perplexity_ratios: Mapping[str, Interval] = field(default_factory=dict)
    """Of each level over the next, where intervals are asked."""
    reasons: Mapping[str, str] = field(default_factory=dict)


def levels(arms: Sequence[Arm]) -> dict[str, Arm]:
    """The arms of the documented levels; of several of one level, the largest."""
    by_size = sorted(arms, key=lambda arm: arm.num_rows)
    return {arm.level: arm for arm in by_size if arm.rule == "top" and arm.level in LEVELS}


def missing(by_level: Mapping[str, Arm], needed: Sequence[str]) -> str:
    """Which of the needed levels was not run; empty where all were."""
    absent = [f"{word}_*" for word in needed if word not in by_level]
    return f"no {numbers.listed(absent, 'or')} tier of top rows was run" if absent else ""


def quality_threshold(arms: Sequence[Arm], losses: Estimates) -> Threshold:
    """The first level with 10% less perplexity than the next one."""
    by_level = levels(arms)
    why = missing(by_level, tuple(LEVELS))
    if why:
        return Threshold(threshold=None, reasons={"threshold": why})
    ultra, high, medium = (math.exp(losses.value(by_level[w].name).value) for w in LEVELS)
    word = "ultra" if ultra < BETTER * high else "high" if high < BETTER * medium else "medium"
    return Threshold(threshold=LEVELS[word], experiment=by_level[word].name)


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every model."""
    losses = estimates(study, settings)
    models = study.models().items()
    return Answer(values={name: quality_threshold(arms, losses) for name, arms in models})
