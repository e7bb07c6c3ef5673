"""Does ultra reach 80% of medium's performance, as the documented hypothesis has it?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from winnow.analyze.intervals import Bootstrap, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.questions.quality_threshold import levels, missing
from winnow.analyze.study import Arm, Study, bootstrap

SUFFICIENT = 0.8
"""The documented hypothesis: ultra reaches this share of medium's performance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hypothesis:
    """Whether it holds."""

    sufficient: float
    ratio: Interval | None
    verdict: Literal["holds", "fails"] | None
    arms: tuple[str, ...] = ()
    """Of ultra and of medium."""
    baseline_loss: float | None = None
    """Nats per token of the unigram model that performance is measured from."""
    reasons: Mapping[str, str] = field(default_factory=dict)


def hypothesis(arms: Sequence[Arm], losses: Bootstrap) -> Hypothesis:
    """Compare the two levels.

    Performance is how far an arm's test loss lies below that of a unigram model of the training
    text, on the shared test rows. One unigram model judges both: that of medium's text.
    """
    by_level = levels(arms)
    why = missing(by_level, ("ultra", "medium"))
    if why:
        reasons = {"ratio": why, "verdict": why}
        return Hypothesis(sufficient=SUFFICIENT, ratio=None, verdict=None, reasons=reasons)
    ultra, medium = by_level["ultra"], by_level["medium"]
    baseline = medium.mean(lambda run: run.metrics.baseline_loss)
    ratio = losses.improvement_ratio(ultra.name, medium.name, baseline)
    verdict: Literal["holds", "fails"] | None = None
    reasons = {}
    if ratio is None:
        why = f"{medium.name} is not surely better than the unigram model: no performance to share"
        reasons = {"ratio": why, "verdict": why}
    elif ratio.low < SUFFICIENT <= ratio.high:
        reasons = {"verdict": f"the interval straddles {SUFFICIENT}"}
    else:
        verdict = "holds" if ratio.low >= SUFFICIENT else "fails"
    return Hypothesis(
        sufficient=SUFFICIENT,
        ratio=ratio,
        verdict=verdict,
        arms=(ultra.name, medium.name),
        baseline_loss=baseline,
        reasons=reasons,
    )


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every model."""
    losses = bootstrap(study, settings)
    models = study.models().items()
    return Answer(values={name: hypothesis(arms, losses) for name, arms in models})
