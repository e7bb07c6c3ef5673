"""The budget dial: for a model and so many hours of its device, the share of the pool to keep.

A tier costs its training and, where the score chose its rows, the scoring: work at one measured
speed (cost.py), so the clock of a busy machine moves no answer. Between two trainings of one tier
its metric is taken as a straight line over the logarithm of that cost: a weighted sum of two arms,
whose interval is known; outside of what was measured nothing is said. A tier whose dearest training
costs less than the budget stands with that one: whoever has the budget can stop there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np

from winnow.analyze.cost import device, speed, total_seconds
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.questions.answer import Verdict, judge
from winnow.analyze.report import numbers
from winnow.analyze.report.values import with_reasons
from winnow.analyze.study import Arm, Study, estimates

SLACK = 1.25
"""A tier still speaks for a budget that is this much below its cheapest training or above its
dearest: tiers of equal budgets do not cost the same to the second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dial:
    """What is known for one model and one budget."""

    model: str
    seconds: float
    device: str | None
    """Whose seconds they are; None where the model was not trained."""
    flops: float | None
    """The work that they stand for, at the measured speed."""
    kind: Literal["keep", "too close", "refused"]
    sentence: str
    verdict: Verdict | None
    """None where it is refused."""
    between: tuple[float | None, float | None]
    """The best share lies between these. Surely best: the nearest harder and milder filters that
    were measured and are worse; None where none was. Else the ends of those that tie."""

    def values(self) -> dict[str, object]:
        """The answer as it is written."""
        asked = {
            "verdict": self.kind,
            "sentence": self.sentence,
            "model": self.model,
            "hours": self.seconds / 3600,
            "flops": self.flops,
            "device": self.device,
        }
        if self.verdict is None:
            why = {key: "it was not trained" for key in ("flops", "device") if asked[key] is None}
            return with_reasons(asked, why)
        verdict = self.verdict.values()
        keys = (
            "best",
            "kept",
            "is_sure",
            "num_rows",
            "share",
            "tied",
            "margins",
            "control",
            "score_helped",
            "score_refuted",
            "has_all_rows",
            "score_sentence",
        )
        low, high = self.between
        answer = {key: verdict[key] for key in keys} | {"share_from": low, "share_to": high}
        why = {
            "share_from": "no harder filter was measured",
            "share_to": "no milder filter was measured",
            "control": "no random control was trained for that long",
            "score_helped": "no random control of this size was trained for that long",
        }
        missing = {key: why[key] for key in why if answer[key] is None}
        return with_reasons(asked | answer, missing)


def _at(tier: Sequence[tuple[float, Arm]], seconds: float) -> tuple[Arm, dict[str, float]] | None:
    """The nearest training of a tier, and the weights of the two that lie around a cost."""
    costs = [known for known, _ in tier]
    if seconds < costs[0] / SLACK:
        return None
    place = float(np.interp(math.log(seconds), np.log(costs), np.arange(len(costs))))
    low = min(int(place), max(0, len(tier) - 2))
    high, part = min(low + 1, len(tier) - 1), place - low
    one, two = tier[low][1], tier[high][1]
    weights = {one.name: 1.0} if one is two else {one.name: 1 - part, two.name: part}
    return (one if part < 0.5 else two), weights


def _tiers(study: Study, model: str) -> dict[str, list[tuple[float, Arm]]]:
    """Every tier's trainings by cost, the cheapest first."""
    found: dict[str, list[tuple[float, Arm]]] = {}
    for arm in study.arms:
        seconds = total_seconds(arm, study)
        if arm.model == model and seconds is not None:
            found.setdefault(arm.tier_name, []).append((seconds, arm))
    return {name: sorted(tier, key=lambda item: item[0]) for name, tier in found.items()}


def _between(verdict: Verdict, arms: Sequence[Arm]) -> tuple[float | None, float | None]:
    kept = verdict.kept
    if kept is None or not verdict.is_sure:
        shares = [arm.share for arm in (verdict.best, *verdict.tied)]
        return min(shares), max(shares)
    shares = [arm.share for arm in arms]
    harder = [share for share in shares if share < kept.share]
    milder = [share for share in shares if share > kept.share]
    all_rows = 1.0 if kept.is_unfiltered else None
    return max(harder, default=None), min(milder, default=all_rows)


def _said(verdict: Verdict, between: tuple[float | None, float | None], prefix: str) -> str:
    sentence = verdict.sentence[0].lower() + verdict.sentence[1:]
    if verdict.kept and verdict.is_sure:
        harder, milder = (share and f"{numbers.percent(share)} is worse" for share in between)
        ends = [harder or "no harder filter was measured"]
        if not verdict.kept.is_unfiltered:
            ends.append(milder or "no milder one was measured")
        sentence = f"{sentence.removesuffix('.')}; {numbers.listed(ends)}."
    return f"{prefix}{sentence} {verdict.score_sentence}".strip()


def _of_equal_cost(verdict: Verdict, measured: set[str], control_seconds: str) -> Verdict:
    """The verdict; where the tier beats a control that was trained for less, nothing is said of
    the score."""
    control = verdict.control
    if control is None or control.wins or control.arm.name in measured:
        return verdict
    sentence = f"{control.arm.tier_name} was trained for no more than {control_seconds}, so nothing"
    sentence += " is known about the score."
    return replace(verdict, control=None, score_sentences=(sentence,))


def dial(study: Study, settings: AnalyzeConfig, model: str, seconds: float) -> Dial:
    """Answer for one model and budget.

    Args:
        study: what was trained and judged.
        settings: the metric, the margin and the intervals.
        model: the bare name, such as 1M.
        seconds: of the device, for scoring and one training.
    """
    prefix = f"With {numbers.duration(seconds)} for a {model} model: "
    tiers = _tiers(study, model)
    at = {name: found for name, tier in tiers.items() if (found := _at(tier, seconds))}
    measured = {name for name in at if seconds <= tiers[name][-1][0] * SLACK}
    answer = Dial(
        model=model,
        seconds=seconds,
        device=device(study, model) if tiers else None,
        flops=seconds * speed(study, model) if tiers else None,
        kind="refused",
        sentence=prefix + _refusal(study, model, tiers),
        verdict=None,
        between=(None, None),
    )
    if len({at[name][0].num_rows for name in measured}) < 2:
        return answer
    arms = tuple(arm for arm, _ in at.values())
    losses = estimates(study, settings, settings.metric)
    there = losses.combined({arm.name: weights for arm, weights in at.values()})
    cost = partial(total_seconds, study=study)
    verdict = judge(model, arms, there, margin=settings.margin, cost=cost)
    if verdict.control:
        dearest = numbers.duration(tiers[verdict.control.arm.tier_name][-1][0])
        verdict = _of_equal_cost(verdict, {at[name][0].name for name in measured}, dearest)
    between = _between(verdict, arms)
    return replace(
        answer,
        kind="keep" if verdict.kept else "too close",
        sentence=_said(verdict, between, prefix),
        verdict=verdict,
        between=between,
    )


def _refusal(study: Study, model: str, tiers: dict[str, list[tuple[float, Arm]]]) -> str:
    """What was measured instead."""
    known = sorted({arm.model for arm in study.arms})
    if model not in known:
        return f"no answer, as it was not trained; {numbers.listed(known)} were."
    ends = {name: [numbers.duration(tier[at][0]) for at in (0, -1)] for name, tier in tiers.items()}
    ranges = [
        f"{name} for {low}" if low == high else f"{name} from {low} to {high}"
        for name, (low, high) in ends.items()
    ]
    measured = numbers.listed(ranges) or "nothing, as scoring left no measured cost"
    return f"no answer, as two tiers must have been trained that long; measured: {measured}."


def dials(study: Study, settings: AnalyzeConfig) -> list[Dial]:
    """Answers for every model, the largest first, at the costs of its trainings."""
    answers = []
    for model in dict.fromkeys(arms[0].model for arms in study.models().values()):
        tiers = _tiers(study, model).values()
        costs = sorted({cost for tier in tiers for cost, _ in tier})
        # Costs nearer to each other than the slack are one budget, the dearest of them.
        for seconds, following in pairwise([*costs, math.inf]):
            if following > seconds * SLACK:
                answers.append(dial(study, settings, model, seconds))
    return answers


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer at the costs that were run."""
    answers = dials(study, settings)
    sentences = " ".join(answer.sentence for answer in answers)
    return Answer(values=[answer.values() for answer in answers], sentence=sentences)
