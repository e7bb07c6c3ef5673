"""Can a small model stand in for a large one? How it ranks the user's own tiers, and for how much.

Every smaller model is held against the largest one of its regime (the same budget, or the recipes)
on the tiers that both were trained on: over pairs of tiers, and by Kendall's tau-b (Kendall 1945).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from winnow.analyze.intervals import Estimates, Floats, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.questions.confounds import EPOCHS, REGIMES, unit
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Study, estimates


@dataclass(frozen=True, kw_only=True, slots=True)
class Meter:
    """How a smaller model ranks the tiers that it shares with a larger one."""

    larger: str
    tiers: Sequence[str]
    sentence: str = ""
    """What the reader may conclude."""
    pairs: int | None = None
    """Pairs of tiers, where there are any."""
    pairs_agreed: Interval | None
    """The share of pairs that both rank alike."""
    sure_pairs: int | None = None
    """Pairs whose difference the larger model tells from zero."""
    sure_pairs_agreed: Interval | None
    tau: Interval | None
    share_of_compute: float | None
    reasons: Mapping[str, str] = field(default_factory=dict)


def signs(losses: Floats) -> Floats:
    """Which of every two tiers is better: 1, -1, or 0 for equal; a row a pair, columns as given."""
    pairs = combinations(range(len(losses)), 2)
    return np.array([np.sign(losses[b] - losses[a]) for a, b in pairs])


def tau_b(ours: Floats, theirs: Floats) -> Floats:
    """Kendall's tau-b of each column of signs; NaN where one side ties everything."""
    scale = np.sqrt((ours != 0).sum(axis=0) * (theirs != 0).sum(axis=0))
    with np.errstate(invalid="ignore"):
        return np.asarray((ours * theirs).sum(axis=0) / scale, dtype=np.float64)


def cautious(drawn: Floats, lowest: float, losses: Estimates) -> Interval:
    """A statistic of ranks, the first of `drawn`, with an interval from its replicates.

    Noise can only spoil a perfect ranking, and replicates are noisier than the measurement: their
    quantiles alone lie too low. So the interval reaches as far up as it does down, and down as up.
    """
    plain = losses.interval(float(drawn[0]), drawn[1:])
    low, high = 2 * plain.value - plain.high, 2 * plain.value - plain.low
    return Interval(plain.value, max(lowest, min(plain.low, low)), min(1.0, max(plain.high, high)))


def _drawn(arms: Sequence[Arm], losses: Estimates) -> Floats:
    """Losses as measured, then the replicates; a row an arm."""
    places = [losses.index[arm.name] for arm in arms]
    return np.concatenate([losses.values[places, None], losses.replicates[places]], axis=1)


def flops(arms: Sequence[Arm]) -> float:
    """Of all the trainings of these arms."""
    return sum(float(run.train.flops) for arm in arms for run in arm.runs)


def _ranked(ours: Sequence[Arm], theirs: Sequence[Arm], losses: Estimates) -> Meter:
    """How one model ranks tiers beside another, both in one order."""
    small, large = (signs(_drawn(arms, losses)) for arms in (ours, theirs))
    sure = [not losses.margin(a.name, b.name).holds_zero for a, b in combinations(theirs, 2)]
    same = (small == large).astype(np.float64)
    reasons, sure_agreed, tau = {}, None, None
    if any(sure):
        sure_agreed = cautious(same[sure].mean(axis=0), 0.0, losses)
    else:
        reasons["sure_pairs_agreed"] = f"{theirs[0].model} surely decides no pair"
    taus = tau_b(small, large)
    if np.isnan(taus).any():
        reasons["tau"] = "one of the two ties all tiers"
    else:
        tau = cautious(taus, -1.0, losses)
    return Meter(
        larger=theirs[0].model,
        tiers=[arm.tier_name for arm in theirs],
        pairs=len(same),
        pairs_agreed=cautious(same.mean(axis=0), 0.0, losses),
        sure_pairs=sum(sure),
        sure_pairs_agreed=sure_agreed,
        tau=tau,
        share_of_compute=flops(ours) / flops(theirs),
        reasons=reasons,
    )


def _sentence(small: str, regime: str, meter: Meter) -> str:
    """What the reader may conclude."""
    large, pairs = meter.larger, meter.pairs
    if meter.pairs_agreed is None or pairs is None or meter.share_of_compute is None:
        return f"{small} cannot be held against {large} ({regime}): {meter.reasons['tau']}."
    agreed = round(meter.pairs_agreed.value * pairs)
    text = f"{small} ranks {agreed} of {numbers.plural(pairs, 'pair')} of tiers as {large} "
    text += f"does ({regime}), for {numbers.percent(meter.share_of_compute)} of its compute"
    sure, number = meter.sure_pairs_agreed, meter.sure_pairs or 0
    if sure is None:
        return f"{text}; {large} surely decides none of them."
    return (
        f"{text}; of the {numbers.plural(number, 'pair')} that {large} surely decides, "
        f"{round(sure.value * number)} ({numbers.percent(sure.low)} to "
        f"{numbers.percent(sure.high)})."
    )


def _meter(ours: tuple[Arm, ...], theirs: tuple[Arm, ...], losses: Estimates) -> Meter:
    """One smaller model beside the largest of its regime."""
    by_tier = {arm.tier_name: arm for arm in reversed(ours)}
    large = [arm for arm in theirs if arm.tier_name in by_tier]
    if len(large) < 2:
        why = f"the two models share {numbers.plural(len(large), 'tier')}; a rank takes two"
        keys = ("pairs_agreed", "sure_pairs_agreed", "tau", "share_of_compute")
        meter = Meter(
            larger=theirs[0].model,
            tiers=[arm.tier_name for arm in large],
            pairs_agreed=None,
            sure_pairs_agreed=None,
            tau=None,
            share_of_compute=None,
            reasons=dict.fromkeys(keys, why),
        )
    else:
        meter = _ranked([by_tier[arm.tier_name] for arm in large], large, losses)
    regime = REGIMES[unit(ours[0].budget)]
    return replace(meter, sentence=_sentence(ours[0].model, regime, meter))


def proxy_trust(study: Study, losses: Estimates) -> dict[str, dict[str, Meter]]:
    """Per regime and smaller model: agreement with the largest one, or why there is none.

    Returns:
        Regime (`epochs`, or a budget) -> smaller model -> meter; empty where every regime was run
        with one model.
    """
    meters: dict[str, dict[str, Meter]] = {}
    largest: dict[str | None, tuple[Arm, ...]] = {}
    for arms in study.models().values():
        budget = arms[0].budget
        theirs = largest.setdefault(budget, arms)
        if theirs is not arms:
            meters.setdefault(budget or EPOCHS, {})[arms[0].model] = _meter(arms, theirs, losses)
    return meters


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every regime and smaller model."""
    meters = proxy_trust(study, estimates(study, settings))
    sentences = " ".join(meter.sentence for part in meters.values() for meter in part.values())
    return Answer(values=meters, sentence=sentences)
