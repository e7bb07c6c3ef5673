"""What do the figures ask the reader to do? A sentence each."""

from collections.abc import Sequence

from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.questions.answer import Verdict, verdicts
from winnow.analyze.questions.confounds import flips, grids
from winnow.analyze.questions.headline import ENOUGH_SEEDS
from winnow.analyze.questions.power import POWER, Planned, foresights
from winnow.analyze.questions.quality_threshold import Threshold, quality_threshold
from winnow.analyze.questions.quality_threshold_interval import quality_threshold_interval
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Study, estimates


def _threshold_advice(
    prefix: str, arms: Sequence[Arm], rule: Threshold, careful: Threshold
) -> list[str]:
    """What the documented rule says, and whether its interval-aware twin agrees."""
    if rule.threshold is None:
        return [
            f"{prefix}the documented threshold rule does not apply: {rule.reasons['threshold']}."
        ]
    meaning = {
        "ultra_high": "a perplexity at least 10% below that of the next tier",
        "high": "10% less perplexity than with more rows, while filtering harder brings no 10%",
        "medium": "no harder filter brings 10% less perplexity",
    }[rule.threshold]
    (arm,) = (arm for arm in arms if arm.name == rule.experiment)
    sentences = [
        f"{prefix}the documented 10% rule picks {rule.threshold}, {numbers.rows(arm)}: {meaning}."
    ]
    if careful.threshold is None:
        sentences.append(
            f"{prefix}with intervals that rule is undecided: {careful.reasons['threshold']}."
        )
    elif careful.threshold != rule.threshold:
        sentences.append(f"{prefix}with intervals that rule picks {careful.threshold}.")
    return sentences


def _score_advice(prefix: str, verdict: Verdict) -> list[str]:
    if verdict.is_score_refuted:
        return [f"{prefix}do not pay for scoring: random rows do better."]
    shown = verdict.kept or verdict.best
    if verdict.kept and verdict.kept.is_unfiltered:
        return [f"{prefix}do not pay for scoring: all rows are kept."]
    if verdict.control is None and shown.is_top:
        return [
            f"{prefix}run the length-matched control of {shown.tier_name} before "
            "trusting the score."
        ]
    if verdict.score_helped and shown.is_top:
        return [f"{prefix}keep the score: it beats a random draw of as many rows."]
    return [f"{prefix}do not pay for scoring, unless a larger run shows that it beats chance."]


def _tie_advice(prefix: str, verdict: Verdict) -> list[str]:
    if verdict.kind != "too close":
        return []
    return [f"{prefix}more seeds or test rows would narrow what may be given away."]


def _power_advice(prefix: str, planned: Planned | None) -> list[str]:
    if planned is None or planned.effect is None:
        return []
    return [
        f"{prefix}read a margin below about {numbers.decimal(planned.effect)} nats per "
        f"token as unseen rather than absent: this run had less than {POWER:.0%} chance "
        "to see it."
    ]


def recommendations(study: Study, settings: AnalyzeConfig) -> list[str]:
    """All recommendations, model by model; one about seeds where there are too few."""
    losses, judged = estimates(study, settings), verdicts(study, settings)
    powers = foresights(study, settings)
    turned = flips(grids(study, settings))
    sentences = [f"do not act on what depends on the regime: {flip}." for flip in turned]
    models = study.models()
    for name, arms in models.items():
        prefix = f"{name}: " if len(models) > 1 else ""
        rule, careful = quality_threshold(arms, losses), quality_threshold_interval(arms, losses)
        sentences += _tie_advice(prefix, judged[name])
        sentences += _score_advice(prefix, judged[name])
        sentences += _threshold_advice(prefix, arms, rule, careful)
        sentences += _power_advice(prefix, powers[name].planned)
    if len(study.seeds) < ENOUGH_SEEDS:
        sentences.append(f"run at least {ENOUGH_SEEDS} seeds before acting on this.")
    return [sentence[0].upper() + sentence[1:] for sentence in sentences]


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer from what the other questions found."""
    sentences = recommendations(study, settings)
    return Answer(values=sentences, sentence=" ".join(sentences))
