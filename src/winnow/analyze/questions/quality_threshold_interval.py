"""From which level on does filtering surely pay? The documented rule, asked of intervals."""

import math
from collections.abc import Sequence
from itertools import pairwise

from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.questions.quality_threshold import BETTER, Threshold, levels, missing
from winnow.analyze.study import LEVELS, Arm, Study, estimates


def quality_threshold_interval(arms: Sequence[Arm], losses: Estimates) -> Threshold:
    """The rule where each step holds, or fails, over the whole interval; else undecided."""
    by_level = levels(arms)
    why = missing(by_level, tuple(LEVELS))
    if why:
        return Threshold(threshold=None, reasons={"threshold": why})
    ratios: dict[str, Interval] = {}
    picked = "medium"
    for word, following in pairwise(LEVELS):
        margin = losses.margin(by_level[word].name, by_level[following].name)
        ratio = margin.map(lambda value: math.exp(-value))
        ratios[f"{word}/{following}"] = ratio
        if ratio.low < BETTER <= ratio.high:
            ends = f"{ratio.low:.3f} to {ratio.high:.3f}"
            why = f"the perplexity of {word} over that of {following}, {ends}, straddles {BETTER}"
            return Threshold(threshold=None, perplexity_ratios=ratios, reasons={"threshold": why})
        if ratio.high < BETTER:
            picked = word
            break
    return Threshold(
        threshold=LEVELS[picked], experiment=by_level[picked].name, perplexity_ratios=ratios
    )


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every model."""
    losses = estimates(study, settings)
    models = study.models().items()
    return Answer(values={name: quality_threshold_interval(arms, losses) for name, arms in models})
