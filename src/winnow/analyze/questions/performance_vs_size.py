"""What does every arm reach with its rows? Perplexity against rows, and two documented ratios."""

import math

from winnow.analyze.cost import training_seconds
from winnow.analyze.intervals import Estimates
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.study import Study, estimates


def performance_vs_size(study: Study, losses: Estimates) -> dict[str, dict[str, object]]:
    """By experiment; `performance_per_sample` and `training_efficiency` (seconds of training a row)
    are the documented ratios."""
    performances: dict[str, dict[str, object]] = {}
    for arm in study.arms:
        perplexity = losses.value(arm.name).map(math.exp)
        performances[arm.name] = {
            "size": arm.num_rows,
            "num_tokens": arm.num_tokens,
            "perplexity": perplexity.value,
            "perplexity_interval": perplexity,
            "performance_per_sample": 1 / (perplexity.value * arm.num_rows),
            "training_efficiency": training_seconds(arm, study) / arm.num_rows,
        }
    return performances


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every arm."""
    return Answer(values=performance_vs_size(study, estimates(study, settings)))
