"""Can a small model stand in for a large one? How it ranks the user's own tiers, and for how much.

Every smaller model is held against the largest one of its regime (the same budget, or the recipes)
on the tiers that both were trained on: over pairs of tiers, and by Kendall's tau-b (Kendall 1945).
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from winnow.analyze import words
from winnow.analyze.bootstrap import Bootstrap, Floats, Interval
from winnow.analyze.confounds import EPOCHS, REGIMES, unit
from winnow.analyze.documented import as_json, with_reasons
from winnow.analyze.results import Arm, Study

RANKED = ("pairs_agreed", "sure_pairs_agreed", "tau")
Json = dict[str, Any]


def signs(losses: Floats) -> Floats:
    """Which of every two tiers is better: 1, -1, or 0 for equal; a row a pair, columns as given."""
    pairs = combinations(range(len(losses)), 2)
    return np.array([np.sign(losses[b] - losses[a]) for a, b in pairs])


def tau_b(ours: Floats, theirs: Floats) -> Floats:
    """Kendall's tau-b of each column of signs; NaN where one side ties everything."""
    scale = np.sqrt((ours != 0).sum(axis=0) * (theirs != 0).sum(axis=0))
    with np.errstate(invalid="ignore"):
        return np.asarray((ours * theirs).sum(axis=0) / scale, dtype=np.float64)


def cautious(drawn: Floats, lowest: float, losses: Bootstrap) -> Interval:
    """A statistic of ranks, the first of `drawn`, with an interval from its replicates.

    Noise can only spoil a perfect ranking, and replicates are noisier than the measurement: their
    quantiles alone lie too low. So the interval reaches as far up as it does down, and down as up.
    """
    plain = losses.interval(float(drawn[0]), drawn[1:])
    low, high = 2 * plain.value - plain.high, 2 * plain.value - plain.low
    return Interval(plain.value, max(lowest, min(plain.low, low)), min(1.0, max(plain.high, high)))


def _drawn(arms: Sequence[Arm], losses: Bootstrap) -> Floats:
    """Losses as measured, then the replicates; a row an arm."""
    places = [losses.index[arm.name] for arm in arms]
    return np.concatenate([losses.losses[places, None], losses.replicates[places]], axis=1)


def flops(arms: Sequence[Arm]) -> float:
    """Of all the trainings of these arms."""
    return sum(float(run.train["flops"]) for arm in arms for run in arm.runs)


def _ranked(ours: Sequence[Arm], theirs: Sequence[Arm], losses: Bootstrap) -> Json:
    """How one model ranks tiers beside another, both in one order."""
    small, large = (signs(_drawn(arms, losses)) for arms in (ours, theirs))
    sure = [not losses.margin(a.name, b.name).holds_zero for a, b in combinations(theirs, 2)]
    same = (small == large).astype(np.float64)
    values: Json = {
        "pairs": len(same),
        "pairs_agreed": as_json(cautious(same.mean(axis=0), 0.0, losses)),
        "sure_pairs": sum(sure),
        "sure_pairs_agreed": None,
        "tau": None,
    }
    reasons = {}
    if any(sure):
        values["sure_pairs_agreed"] = as_json(cautious(same[sure].mean(axis=0), 0.0, losses))
    else:
        reasons["sure_pairs_agreed"] = f"{theirs[0].model} surely decides no pair"
    tau = tau_b(small, large)
    if np.isnan(tau).any():
        reasons["tau"] = "one of the two ties all tiers"
    else:
        values["tau"] = as_json(cautious(tau, -1.0, losses))
    return with_reasons(values, reasons)


def _sentence(small: str, large: str, regime: str, found: Json) -> str:
    """What the reader may conclude."""
    if found["pairs_agreed"] is None:
        return f"{small} cannot be held against {large} ({regime}): {found['reasons']['tau']}."
    sure = found["sure_pairs_agreed"]
    agreed = round(found["pairs_agreed"]["value"] * found["pairs"])
    text = f"{small} ranks {agreed} of {words.plural(found['pairs'], 'pair')} of tiers as {large} "
    text += f"does ({regime}), for {words.percent(found['share_of_compute'])} of its compute"
    if sure is None:
        return f"{text}; {large} surely decides none of them."
    held = round(sure["value"] * found["sure_pairs"])
    return (
        f"{text}; of the {words.plural(found['sure_pairs'], 'pair')} that {large} surely decides, "
        f"{held} ({words.percent(sure['low'])} to {words.percent(sure['high'])})."
    )


def _meter(ours: tuple[Arm, ...], theirs: tuple[Arm, ...], losses: Bootstrap) -> Json:
    """One smaller model beside the largest of its regime."""
    shared = [
        tier
        for tier in (arm.tier_name for arm in theirs)
        if tier in {arm.tier_name for arm in ours}
    ]
    small, large = (
        [next(arm for arm in arms if arm.tier_name == tier) for tier in shared]
        for arms in (ours, theirs)
    )
    values: Json = {"larger": theirs[0].model, "tiers": shared}
    if len(shared) < 2:
        why = f"the two models share {words.plural(len(shared), 'tier')}; a rank takes two"
        unknown = dict.fromkeys((*RANKED, "share_of_compute"))
        values |= with_reasons(unknown, dict.fromkeys(unknown, why))
    else:
        values |= _ranked(small, large, losses)
        values["share_of_compute"] = flops(small) / flops(large)
    regime = REGIMES[unit(ours[0].budget)]
    return values | {"sentence": _sentence(ours[0].model, theirs[0].model, regime, values)}


def proxy_trust(study: Study, losses: Bootstrap) -> Json:
    """Per regime and smaller model: agreement with the largest one, or why there is none.

    Returns:
        Regime (`epochs`, or a budget) -> smaller model -> meter; empty where every regime was run
        with one model.
    """
    found: Json = {}
    largest: dict[str | None, tuple[Arm, ...]] = {}
    for arms in study.models().values():
        budget = arms[0].budget
        theirs = largest.setdefault(budget, arms)
        if theirs is not arms:
            found.setdefault(budget or EPOCHS, {})[arms[0].model] = _meter(arms, theirs, losses)
    return found
