"""Recommendations: what the figures ask the reader to do, a sentence each."""

from winnow.analyze import words
from winnow.analyze.answer import ENOUGH_SEEDS, Verdict
from winnow.analyze.confounds import flips
from winnow.analyze.cost import total_seconds
from winnow.analyze.documented import Json
from winnow.analyze.power import POWER
from winnow.analyze.results import Arm, Study


def _threshold_advice(prefix: str, arms: tuple[Arm, ...], rule: Json, careful: Json) -> list[str]:
    """What the documented rule says, and whether its interval-aware twin agrees."""
    if rule["threshold"] is None:
        return [
            f"{prefix}the documented threshold rule does not apply: {rule['reasons']['threshold']}."
        ]
    meaning = {
        "ultra_high": "a perplexity at least 10% below that of the next tier",
        "high": "10% less perplexity than with more rows, while filtering harder brings no 10%",
        "medium": "no harder filter brings 10% less perplexity",
    }[rule["threshold"]]
    (arm,) = (arm for arm in arms if arm.name == rule["experiment"])
    sentences = [
        f"{prefix}the documented 10% rule picks {rule['threshold']}, {words.rows(arm)}: {meaning}."
    ]
    if careful["threshold"] is None:
        sentences.append(
            f"{prefix}with intervals that rule is undecided: {careful['reasons']['threshold']}."
        )
    elif careful["threshold"] != rule["threshold"]:
        sentences.append(f"{prefix}with intervals that rule picks {careful['threshold']}.")
    return sentences


def _score_advice(prefix: str, verdict: Verdict) -> list[str]:
    if verdict.is_score_refuted:
        return [f"{prefix}spare the scoring: random rows do better."]
    if verdict.best.is_unfiltered and not verdict.tied:
        return [f"{prefix}spare the scoring: all rows are kept."]
    if verdict.control is None and verdict.best.is_top:
        return [
            f"{prefix}run the length-matched control of {verdict.best.tier_name} before "
            "trusting the score."
        ]
    if verdict.score_helped and verdict.best.is_top:
        return [f"{prefix}keep the score: it beats a random draw of as many rows."]
    return [f"{prefix}spare the scoring, unless a larger run shows that it beats a random draw."]


def _tie_advice(prefix: str, verdict: Verdict, study: Study) -> list[str]:
    """The cheapest of the arms that are too close to call, by work and not by the clock."""
    if verdict.kind != "too close":
        return []
    costs = {arm: total_seconds(arm, study) for arm in (verdict.best, *verdict.tied)}
    known = {arm: seconds for arm, seconds in costs.items() if seconds is not None}
    if not known:
        return []
    cheapest = min(known, key=lambda arm: (known[arm], arm.num_rows, arm.name))
    scoring = " and the scoring" if cheapest.tier.is_scored else ""
    return [
        f"{prefix}of the arms that are too close to call, {cheapest.tier_name} costs least "
        f"({words.short(cheapest.train('flops'))} FLOPs{scoring}); more seeds or test rows would "
        "narrow the interval."
    ]


def recommendations(study: Study, verdicts: dict[str, Verdict], figures: Json) -> list[str]:
    """All recommendations, model by model; one about seeds where there are too few."""
    sentences = [
        f"do not act on what depends on the regime: {flip}." for flip in flips(figures["confounds"])
    ]
    models = study.models()
    for name, arms in models.items():
        prefix = f"{name}: " if len(models) > 1 else ""
        verdict = verdicts[name]
        rule, careful = (
            figures[k][name] for k in ("quality_threshold", "quality_threshold_interval")
        )
        sentences += _tie_advice(prefix, verdict, study)
        sentences += _score_advice(prefix, verdict)
        sentences += _threshold_advice(prefix, arms, rule, careful)
        planned = figures["power"][name]["planned"]
        if planned and planned["effect"] is not None:
            sentences.append(
                f"{prefix}read a margin below about {words.decimal(planned['effect'])} nats per "
                f"token as unseen rather than absent: this run had less than {POWER:.0%} chance "
                "to see it."
            )
    if len(study.seeds) < ENOUGH_SEEDS:
        sentences.append(f"run at least {ENOUGH_SEEDS} seeds before acting on this.")
    return [sentence[0].upper() + sentence[1:] for sentence in sentences]
