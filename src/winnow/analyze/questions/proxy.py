"""Can a small model stand in for a large one? How it ranks the user's own tiers, and for how much.

Every smaller model is held against the largest one of its regime (the same budget, or the recipes)
on the tiers that both were trained on: over pairs of tiers, and by Kendall's tau-b (Kendall 1945).
A replica was trained on parts of the tiers (the rule `part`), and is held against the regime whose
repetition of rows is nearest to its own where none has its budget.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from winnow.analyze.intervals import Estimates, Floats, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.questions.confounds import EPOCHS, REGIMES, unit
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Study, estimates

OTHER_REPETITION = 1.5
"""Times as many epochs, or as few, at which a proxy is warned of."""
OTHER_WEIGHTS = 2.0
"""Times as many weights for a row, or as few, at which a proxy is warned of."""
REPLICA = " (replica)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """A figure of a smaller model beside the larger one's, at the tier where they differ most."""

    tier: str
    smaller: float
    larger: float

    @property
    def ratio(self) -> float:
        """How many times one of them is the other: 1 or more."""
        return max(self.smaller, self.larger) / min(self.smaller, self.larger)


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
    epochs: Beside | None
    """How often each goes through the rows."""
    weights_per_row: Beside | None
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


def _epochs(arm: Arm) -> float:
    return arm.mean(lambda run: run.train.num_epochs)


def _beside(ours: Sequence[Arm], theirs: Sequence[Arm], figure: Callable[[Arm], float]) -> Beside:
    """A figure of two models, whose arms are in one order, where it differs most."""
    pairs = [
        Beside(tier=large.stands_for, smaller=figure(small), larger=figure(large))
        for small, large in zip(ours, theirs, strict=True)
    ]
    return max(pairs, key=lambda pair: pair.ratio)


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
        tiers=[arm.stands_for for arm in theirs],
        pairs=len(same),
        pairs_agreed=cautious(same.mean(axis=0), 0.0, losses),
        sure_pairs=sum(sure),
        sure_pairs_agreed=sure_agreed,
        tau=tau,
        share_of_compute=flops(ours) / flops(theirs),
        epochs=_beside(ours, theirs, _epochs),
        weights_per_row=_beside(ours, theirs, lambda arm: arm.num_parameters / arm.num_rows),
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
        text += f"; {large} surely decides none of them."
    else:
        text += (
            f"; of the {numbers.plural(number, 'pair')} that {large} surely decides, "
            f"{round(sure.value * number)} ({numbers.percent(sure.low)} to "
            f"{numbers.percent(sure.high)})."
        )
    return text + _likeness(small, meter)


def _likeness(small: str, meter: Meter) -> str:
    """Whether the smaller model can fail as the larger one does, by memorising rows."""
    large, epochs, weights = meter.larger, meter.epochs, meter.weights_per_row
    assert epochs and weights
    text = (
        f" {small} goes {epochs.smaller:.3g} times through the rows of {epochs.tier}, {large} "
        f"{epochs.larger:.3g} times"
    )
    if epochs.ratio > OTHER_REPETITION:
        text += ", so one of them may suffer from repeated rows where the other does not"
    if weights.ratio > OTHER_WEIGHTS:
        text += (
            f"; it has {weights.smaller:.3g} weights for a row of {weights.tier}, {large} "
            f"{weights.larger:.3g}, so they memorise rows unlike each other"
        )
    return f"{text}."


def _meter(ours: tuple[Arm, ...], theirs: tuple[Arm, ...], losses: Estimates) -> Meter:
    """One smaller model beside the largest of its regime."""
    by_tier = {arm.stands_for: arm for arm in reversed(ours)}
    large = [arm for arm in theirs if arm.tier_name in by_tier]
    if len(large) < 2:
        why = f"the two models share {numbers.plural(len(large), 'tier')}; a rank takes two"
        keys = ["pairs_agreed", "sure_pairs_agreed", "tau", "share_of_compute"]
        keys += ["epochs", "weights_per_row"]
        meter = Meter(
            larger=theirs[0].model,
            tiers=[arm.tier_name for arm in large],
            pairs_agreed=None,
            sure_pairs_agreed=None,
            tau=None,
            share_of_compute=None,
            epochs=None,
            weights_per_row=None,
            reasons=dict.fromkeys(keys, why),
        )
    else:
        meter = _ranked([by_tier[arm.tier_name] for arm in large], large, losses)
    regime = REGIMES[unit(ours[0].budget)]
    return replace(meter, sentence=_sentence(_name(ours), regime, meter))


def _name(arms: Sequence[Arm]) -> str:
    return arms[0].model + (REPLICA if arms[0].is_replica else "")


def _original(replicas: Sequence[Arm], groups: Sequence[tuple[Arm, ...]]) -> tuple[Arm, ...]:
    """Of the groups of whole tiers the one to hold replicas against: one that shares two tiers
    rather than not, of the same budget, of the largest model, of the nearest repetition."""
    by_tier = {arm.stands_for: arm for arm in replicas}

    def unlikeness(group: Sequence[Arm]) -> tuple[bool, bool, float, float]:
        shared = [arm for arm in group if arm.tier_name in by_tier]
        ours = [by_tier[arm.tier_name] for arm in shared]
        repetition = _beside(ours, shared, _epochs).ratio if shared else math.inf
        is_other = group[0].budget != replicas[0].budget
        return len(shared) < 2, is_other, -group[0].num_parameters, repetition

    return min(groups, key=unlikeness)


def proxy_trust(study: Study, losses: Estimates) -> dict[str, dict[str, Meter]]:
    """Per regime and smaller model: agreement with the largest one, or why there is none.

    Returns:
        Regime (`epochs`, or a budget) -> smaller model -> meter; empty where every regime was run
        with one model.
    """
    meters: dict[str, dict[str, Meter]] = {}
    largest: dict[str | None, tuple[Arm, ...]] = {}
    groups, replicas = [], []
    for arms in study.models().values():
        whole = tuple(arm for arm in arms if not arm.is_replica)
        parts = tuple(arm for arm in arms if arm.is_replica)
        groups += [whole] if whole else []
        replicas += [parts] if parts else []
    held = [(arms, largest.setdefault(arms[0].budget, arms)) for arms in groups]
    held += [(arms, _original(arms, groups)) for arms in replicas if groups]
    for ours, theirs in held:
        if ours is not theirs:
            regime = meters.setdefault(ours[0].budget or EPOCHS, {})
            regime[_name(ours)] = _meter(ours, theirs, losses)
    return meters


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every regime and smaller model."""
    meters = proxy_trust(study, estimates(study, settings))
    sentences = " ".join(meter.sentence for part in meters.values() for meter in part.values())
    return Answer(values=meters, sentence=sentences)
