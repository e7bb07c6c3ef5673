"""Recommendations: what the figures ask the reader to do, a sentence each."""

from winnow.analyze import words
from winnow.analyze.answer import ENOUGH_SEEDS, Verdict
from winnow.analyze.confounds import flips
from winnow.analyze.documented import Json, levels
from winnow.analyze.power import POWER
from winnow.analyze.results import Arm, Study


def _threshold_advice(prefix: str, arms: tuple[Arm, ...], rule: Json, careful: Json) -> list[str]:
    """What the documented rule says, and whether its interval-aware twin agrees."""
    if rule["threshold"] is None:
        return [f"{prefix}the documented threshold rule does not apply: "
                f"{rule['reasons']['threshold']}."]  # fmt: skip
    found = levels(arms)
    meaning = {
        "ultra_high": "a perplexity at least 10% below that of the next tier",
        "high": "10% less perplexity than with more rows, while filtering harder brings no 10%",
        "medium": "no harder filter brings 10% less perplexity",
    }[rule["threshold"]]
    arm = found[rule["threshold"].removesuffix("_high")]
    sentences = [
        f"{prefix}the documented 10% rule picks {rule['threshold']}, {words.rows(arm)}: {meaning}."
    ]
    if careful["threshold"] is None:
        sentences.append(f"{prefix}with intervals that rule is undecided: "
                         f"{careful['reasons']['threshold']}.")  # fmt: skip
    elif careful["threshold"] != rule["threshold"]:
        sentences.append(f"{prefix}with intervals that rule picks {careful['threshold']}.")
    return sentences


def _score_advice(prefix: str, verdict: Verdict) -> list[str]:
    if verdict.best is None:
        return []
    if verdict.best.share >= 1:
        return [] if verdict.tied else [f"{prefix}spare the scoring: all rows are kept."]
    if verdict.score_helped is None:
        return [f"{prefix}run the length-matched control of {verdict.best.tier_name} before "
                "trusting the score."]  # fmt: skip
    if verdict.score_helped:
        return [f"{prefix}keep the score: it beats a random draw of as many rows."]
    return [f"{prefix}spare the scoring, unless a larger run shows that it beats a random draw."]


def _tie_advice(prefix: str, verdict: Verdict, seconds: Json) -> list[str]:
    if verdict.kind != "too close" or verdict.best is None:
        return []
    group = sorted((verdict.best, *verdict.tied), key=lambda arm: seconds[arm.name]["train_time"])
    time = words.duration(seconds[group[0].name]["train_time"])
    return [
        f"{prefix}of the tiers that are too close to call, {group[0].tier_name} trains fastest "
        f"({time}); more seeds or test rows would narrow the interval."
    ]


def recommendations(study: Study, verdicts: dict[str, Verdict], figures: Json) -> list[str]:
    """All recommendations, model by model; one about seeds where there are too few."""
    sentences = [f"do not act on what depends on the regime: {flip}."
                 for flip in flips(figures["confounds"])]  # fmt: skip
    models = study.models()
    for name, arms in models.items():
        prefix = f"{name}: " if len(models) > 1 else ""
        verdict = verdicts[name]
        rule, careful = (figures[k][name] for k in
                         ("quality_threshold", "quality_threshold_interval"))  # fmt: skip
        sentences += _tie_advice(prefix, verdict, figures["efficiency_metrics"])
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
