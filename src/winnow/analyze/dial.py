"""The budget dial: for a model and so many hours of its device, the share of the pool to keep.

A tier costs its training and, where it was cut by score, the scoring. Between two trainings of one
tier its loss is taken as a straight line over the logarithm of that cost, in every replicate of the
bootstrap; outside of what was measured nothing is said.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from winnow.analyze import words
from winnow.analyze.answer import Verdict, judge, matched_control
from winnow.analyze.bootstrap import Bootstrap
from winnow.analyze.documented import scoring_seconds, with_reasons
from winnow.analyze.results import Arm, Study

SLACK = 1.25
"""A tier still speaks for a budget that is this much below its cheapest training or above its
dearest: measured times vary, and tiers of equal budgets do not cost the same to the second."""
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dial:
    """What is known for one model and one budget."""

    model: str
    seconds: float
    kind: Literal["keep", "too close", "refused"]
    sentence: str
    verdict: Verdict | None
    """None where it is refused."""
    between: tuple[float | None, float | None]
    """The best share lies between these. Kept: the nearest harder and milder filters that were
    measured and are surely worse; None where none was. Too close: the ends of those that tie."""

    def to_json(self) -> Json:
        """The answer as it is written."""
        known = {"verdict": self.kind, "sentence": self.sentence, "model": self.model,
                 "hours": self.seconds / 3600}  # fmt: skip
        if self.verdict is None:
            return known
        found = self.verdict.to_json()
        keys = ("best", "num_rows", "share", "tied", "margins", "control", "score_helped",
                "score_sentence")  # fmt: skip
        low, high = self.between
        found = {key: found[key] for key in keys} | {"share_from": low, "share_to": high}
        why = {
            "share_from": "no harder filter was measured",
            "share_to": "no milder filter was measured",
            "control": "no random control was trained for that long",
            "score_helped": "no random control of this size was trained for that long",
        }
        return with_reasons(known | found, {key: why[key] for key in why if found[key] is None})


def cost(arm: Arm, study: Study) -> float | None:
    """Seconds of training, the mean over seeds, and of scoring; None where that left no figure."""
    scoring = scoring_seconds(arm, study)
    return None if scoring is None else arm.train("train_time") + scoring


def _at(
    tier: Sequence[tuple[float, Arm]], seconds: float, losses: Bootstrap
) -> tuple[Arm, float, np.ndarray] | None:
    """The nearest training of a tier, its loss at a cost and that loss's replicates."""
    costs = [known for known, _ in tier]
    if not costs[0] / SLACK <= seconds <= costs[-1] * SLACK:
        return None
    logs = np.log(costs)
    place = float(np.interp(math.log(seconds), logs, np.arange(len(logs))))
    low = min(int(place), max(0, len(tier) - 2))
    high, part = min(low + 1, len(tier) - 1), place - low
    one, two = (losses.index[tier[at][1].name] for at in (low, high))
    value, replicates = (
        (1 - part) * known[one] + part * known[two] for known in (losses.losses, losses.replicates)
    )
    return tier[low if part < 0.5 else high][1], float(value), np.asarray(replicates)


def _tiers(study: Study, model: str) -> dict[str, list[tuple[float, Arm]]]:
    """Every tier's trainings by cost, the cheapest first."""
    found: dict[str, list[tuple[float, Arm]]] = {}
    for arm in study.arms:
        seconds = cost(arm, study)
        if arm.model == model and seconds is not None:
            found.setdefault(arm.tier_name, []).append((seconds, arm))
    return {name: sorted(tier, key=lambda item: item[0]) for name, tier in found.items()}


def _between(verdict: Verdict, arms: Sequence[Arm]) -> tuple[float | None, float | None]:
    assert verdict.best is not None
    if verdict.tied:
        shares = [arm.share for arm in (verdict.best, *verdict.tied)]
        return min(shares), max(shares)
    shares = [arm.share for arm in arms if arm.rule == "top"]
    harder = [share for share in shares if share < verdict.best.share]
    milder = [share for share in shares if share > verdict.best.share]
    all_rows = 1.0 if verdict.best.share >= 1 else None
    return max(harder, default=None), min(milder, default=all_rows)


def _said(verdict: Verdict, between: tuple[float | None, float | None], prefix: str) -> str:
    assert verdict.best is not None
    low, high = between
    if verdict.tied:
        sentence = verdict.sentence[0].lower() + verdict.sentence[1:]
        return f"{prefix}{sentence} {verdict.score_sentence}".strip()
    harder = "no harder filter was measured" if low is None else f"{words.percent(low)} is worse"
    milder = "no milder one was measured" if high is None else (
        "" if verdict.best.share >= 1 else f"{words.percent(high)} is worse")  # fmt: skip
    ends = " and ".join(filter(None, (harder, milder)))
    return f"{prefix}keep {words.rows(verdict.best)}: {ends}. {verdict.score_sentence}".strip()


def _with_absent(verdict: Verdict, tiers: dict[str, list[tuple[float, Arm]]]) -> Verdict:
    """The verdict; where its matched control was run, but for another time, it says so."""
    assert verdict.best is not None
    control = matched_control(verdict.best, tuple(tier[0][1] for tier in tiers.values()))
    if verdict.control is not None or control is None or verdict.best.share >= 1:
        return verdict
    low, high = (words.duration(tiers[control.tier_name][at][0]) for at in (0, -1))
    measured = low if low == high else f"{low} to {high}"
    said = f"{control.tier_name} was trained for {measured}, so nothing is known about the score."
    return replace(verdict, score_sentence=said)


def dial(study: Study, losses: Bootstrap, model: str, seconds: float) -> Dial:
    """Answer for one model and budget.

    Args:
        study: what was trained and judged.
        losses: of its arms.
        model: the bare name, such as 1M.
        seconds: of the device, for scoring and one training.
    """
    prefix = f"With {words.duration(seconds)} for a {model} model: "
    tiers = _tiers(study, model)
    tops = {name: tier for name, tier in tiers.items() if tier[0][1].rule == "top"}
    at = {name: found for name, tier in tiers.items() if (found := _at(tier, seconds, losses))}
    if len(at.keys() & tops.keys()) < 2:
        return Dial(model=model, seconds=seconds, kind="refused", verdict=None,
                    between=(None, None), sentence=prefix + _refusal(study, model, tops)
                    )  # fmt: skip
    arms = tuple(arm for arm, _, _ in at.values())
    there = Bootstrap(
        {arm.name: i for i, arm in enumerate(arms)},
        np.array([value for _, value, _ in at.values()]),
        np.stack([replicates for _, _, replicates in at.values()]),
        losses.confidence,
    )
    verdict = _with_absent(judge(model, arms, there), tiers)
    between = _between(verdict, arms)
    return Dial(
        model=model,
        seconds=seconds,
        kind="too close" if verdict.tied else "keep",
        sentence=_said(verdict, between, prefix),
        verdict=verdict,
        between=between,
    )


def _refusal(study: Study, model: str, tops: dict[str, list[tuple[float, Arm]]]) -> str:
    """What was measured instead."""
    known = sorted({arm.model for arm in study.arms})
    if model not in known:
        return f"no answer, as it was not trained; {words.listed(known)} were."
    ends = {name: [words.duration(tier[at][0]) for at in (0, -1)] for name, tier in tops.items()}
    ranges = [
        f"{name} for {low}" if low == high else f"{name} from {low} to {high}"
        for name, (low, high) in ends.items()
    ]
    measured = words.listed(ranges) or "no tier of top rows"
    return f"no answer, as two tiers must have been trained that long; measured: {measured}."


def dials(study: Study, losses: Bootstrap) -> list[Json]:
    """Answers for every model, the largest first, at the costs of its tiers of top rows."""
    found = []
    for model in dict.fromkeys(arms[0].model for arms in study.models().values()):
        tiers = _tiers(study, model).values()
        costs = sorted({known for tier in tiers for known, arm in tier if arm.rule == "top"})
        # Costs nearer to each other than the slack are one budget, the dearest of them.
        for seconds, following in pairwise([*costs, math.inf]):
            if following > seconds * SLACK:
                found.append(dial(study, losses, model, seconds).to_json())
    return found
