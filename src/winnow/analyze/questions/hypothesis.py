"""Does ultra reach 80% of medium's performance, as the documented hypothesis has it?"""

from collections.abc import Sequence

from winnow.analyze.intervals import Estimates
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.questions.quality_threshold import levels, missing
from winnow.analyze.report.values import with_reasons
from winnow.analyze.study import Arm, Study, estimates

SUFFICIENT = 0.8
"""The documented hypothesis: ultra reaches this share of medium's performance."""


def hypothesis(arms: Sequence[Arm], losses: Estimates) -> dict[str, object]:
    """Compare the two levels: the ratio of their performances, whether it holds or fails, and the
    gap of their losses in nats per token, which needs no baseline.

    Performance is how far an arm's test loss lies below that of a unigram model of the training
    text, on the shared test rows. One unigram model judges both: that of medium's text.
    """
    by_level = levels(arms)
    values: dict[str, object] = {"sufficient": SUFFICIENT, "ratio": None, "verdict": None}
    why = missing(by_level, ("ultra", "medium"))
    if why:
        return with_reasons(values, {"ratio": why, "verdict": why})
    ultra, medium = by_level["ultra"], by_level["medium"]
    baseline = medium.mean(lambda run: run.metrics.baseline_loss)
    ratio = losses.improvement_ratio(ultra.name, medium.name, baseline)
    values |= {
        "arms": [ultra.name, medium.name],
        "baseline_loss": baseline,
        "ratio": ratio,
        "gap": losses.margin(medium.name, ultra.name),
    }
    if ratio is None:
        why = f"{medium.name} is not surely better than the unigram model: no performance to share"
        return with_reasons(values, {"ratio": why, "verdict": why})
    if ratio.low < SUFFICIENT <= ratio.high:
        return with_reasons(values, {"verdict": f"the interval straddles {SUFFICIENT}"})
    return values | {"verdict": "holds" if ratio.low >= SUFFICIENT else "fails"}


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every model."""
    losses = estimates(study, settings)
    models = study.models().items()
    return Answer(values={name: hypothesis(arms, losses) for name, arms in models})
