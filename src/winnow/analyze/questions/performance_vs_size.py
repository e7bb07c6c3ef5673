"""What does every arm reach with its rows? Perplexity against rows, and two documented ratios."""

import math
from dataclasses import dataclass

from winnow.analyze.cost import training_seconds
from winnow.analyze.intervals import Bootstrap, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.study import Study, bootstrap


@dataclass(frozen=True, kw_only=True, slots=True)
class Performance:
    """One arm's."""

    size: int
    """Rows."""
    num_tokens: int
    """Of one epoch."""
    perplexity: float
    perplexity_interval: Interval
    performance_per_sample: float
    """As documented: one over perplexity times rows."""
    training_efficiency: float
    """As documented: seconds of training a row."""


def performance_vs_size(study: Study, losses: Bootstrap) -> dict[str, Performance]:
    """By experiment."""
    performances = {}
    for arm in study.arms:
        perplexity = losses.value(arm.name).map(math.exp)
        performances[arm.name] = Performance(
            size=arm.num_rows,
            num_tokens=arm.num_tokens,
            perplexity=perplexity.value,
            perplexity_interval=perplexity,
            performance_per_sample=1 / (perplexity.value * arm.num_rows),
            training_efficiency=training_seconds(arm, study) / arm.num_rows,
        )
    return performances


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every arm."""
    return Answer(values=performance_vs_size(study, bootstrap(study, settings)))
