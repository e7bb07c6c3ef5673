"""Which score is worth its cost? Every declared one on trial, under equal conditions.

A score's worth is its margin over random rows of the same lengths at a share of the pool, not over
nothing: what is left is neither the number of rows nor their length. Beside it stand what scoring
cost, what the score follows (length, the other scores), and whether models did learn more from the
tiers that it rates higher.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.analyze.controls import Control
from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.questions.answer import verdicts
from winnow.analyze.ranks import Floats, rank_correlation
from winnow.analyze.report import numbers
from winnow.analyze.report.values import with_reasons
from winnow.analyze.study import Arm, Study, estimates, read_draw, read_pool
from winnow.core.experiments import score_column

SAME = "one of the two is the same in all rows"
ARMS = 3
"""Arms of a model that make a rank correlation with what was learned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Worth:
    """What a score brought in one tier."""

    model: str
    """With the budget."""
    tier: str
    share: float
    """Of the pool."""
    margin: Interval
    """Over as many random rows: how much better the tier is."""
    confidence: float
    control: str
    """matched, or same size where no control of the same lengths was run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One score."""

    worth: Sequence[Worth]
    """By model and tier that was cut by it and has a control."""
    helped: int
    """Tiers that surely beat their control."""
    hurt: int
    """Tiers that their control surely beats."""
    seconds: float | None
    """Of scoring the rows that were kept."""
    flops: float | None
    rank_correlation_with_length: float | None
    """Spearman's, over the pool; length is in tokens. Of all that follows, higher is better."""
    rank_correlation_with: Mapping[str, object]
    """The other scores."""
    rank_correlation_with_learning: Mapping[str, object]
    """By model: over its arms, the mean score of an arm's rows with what the arm reached."""
    reasons: Mapping[str, str] = field(default_factory=dict)


def _columns(study: Study, pool: pa.Table) -> dict[str, Floats]:
    """Every score of every row of the pool, the better the higher; NaN where a row has none."""
    columns = {}
    for name, said in study.scorers.items():
        values = pool[score_column(name)].to_numpy(zero_copy_only=False).astype(np.float64)
        columns[name] = -values if said["best"] == "lowest" else values
    return columns


def _correlation(a: Floats, b: Floats) -> float | None:
    known = ~(np.isnan(a) | np.isnan(b))
    return rank_correlation(a[known], b[known]) if known.sum() > 1 else None


def _mean(values: Floats | list[float]) -> float:
    """Of those that are known; NaN where none is."""
    known = np.asarray(values)[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _learning(
    values: Floats,
    rows: Mapping[str, Sequence[NDArray[np.int64]]],
    arms: Sequence[Arm],
    losses: Estimates,
) -> float | None:
    """Over arms: the mean score of their rows with their metric, the better the higher."""
    if len(arms) < ARMS:
        return None
    means = [_mean([_mean(values[draw]) for draw in rows[arm.name]]) for arm in arms]
    return _correlation(np.array(means), -np.array([losses.order(arm.name) for arm in arms]))


def _worth(model: str, control: Control) -> Worth:
    return Worth(
        model=model,
        tier=control.tier.tier_name,
        share=control.tier.share,
        margin=control.margin,
        confidence=control.confidence,
        control=control.kind,
    )


def _explained(values: Mapping[str, float | None], why: str) -> dict[str, object]:
    return with_reasons(values, {key: why for key in values if values[key] is None})


def _reasons(trial: Trial) -> dict[str, str]:
    """Why what is missing of a trial is."""
    missing = {
        "worth": None if trial.worth else "no tier by it was run beside random rows",
        "seconds": "its cost was not measured" if trial.seconds is None else None,
        "flops": "no model's work was counted" if trial.flops is None else None,
        "rank_correlation_with_length": SAME
        if trial.rank_correlation_with_length is None
        else None,
    }
    return {key: why for key, why in missing.items() if why}


def trials(study: Study, settings: AnalyzeConfig) -> dict[str, Trial]:
    """Every score by its column, those that helped in most tiers first."""
    losses, judged = estimates(study, settings, settings.metric), verdicts(study, settings)
    pool = read_pool()
    columns, lengths = _columns(study, pool), pool["num_tokens"].to_numpy().astype(np.float64)
    rows = {arm.name: [read_draw(draw) for draw in arm.draws] for arm in study.arms}
    found = {}
    for name, values in columns.items():
        told = [
            (model, control)
            for model, verdict in judged.items()
            for tier, control in verdict.tested.items()
            if tier.tier.scorer == name and control and control.kind != "other size"
        ]
        cost: Mapping[str, Any] = study.scoring["scorers"].get(name, study.scoring)
        found[name] = Trial(
            worth=[_worth(model, control) for model, control in told],
            helped=sum(control.loses for _, control in told),
            hurt=sum(control.wins for _, control in told),
            seconds=cost["seconds"],
            flops=cost.get("flops"),
            rank_correlation_with_length=_correlation(values, lengths),
            rank_correlation_with=_explained(
                {
                    other: _correlation(values, theirs)
                    for other, theirs in columns.items()
                    if other != name
                },
                SAME,
            ),
            rank_correlation_with_learning=_explained(
                {
                    model: _learning(values, rows, arms, losses)
                    for model, arms in study.models().items()
                },
                f"fewer than {ARMS} arms, or all alike",
            ),
        )
        found[name] = replace(found[name], reasons=_reasons(found[name]))
    ordered = sorted(found, key=lambda name: (found[name].hurt - found[name].helped, name))
    return {name: found[name] for name in ordered}


def sentence(by_score: Mapping[str, Trial], unit: str) -> str:
    """Which scores helped, which hurt, and which did neither for sure."""
    told = {name: trial for name, trial in by_score.items() if trial.worth}
    if not told:
        return "No score was held against random rows."
    parts, unsure = [], []
    for name, trial in told.items():
        if not trial.helped and not trial.hurt:
            unsure.append(name)
            continue
        best = max(trial.worth, key=lambda worth: worth.margin.value)
        parts.append(
            f"{name} {'helps' if trial.helped else 'hurts'}: surely better than random rows in "
            f"{trial.helped} of {numbers.plural(len(trial.worth), 'tier')} and worse in "
            f"{trial.hurt}, at best {numbers.signed(best.margin.value)} {unit} "
            f"({numbers.span(best.margin)}) with {numbers.percent(best.share)} of the rows"
        )
    if unsure:
        makes = "makes" if len(unsure) == 1 else "make"
        parts.append(f"{numbers.listed(unsure)} {makes} no sure difference")
    return "; ".join(parts) + "."


def described(by_score: Mapping[str, Trial], unit: str) -> str:
    """The table for a terminal, a line a score and tier."""

    def number(value: object) -> str:
        return numbers.signed(value, 2) if isinstance(value, float) else "–"

    lines = [
        f"{'score':16}{'model':24}{'tier':20}{'share':>8}{'over random':>13}  interval",
    ]
    for name, trial in by_score.items():
        for worth in trial.worth:
            lines.append(
                f"{name:16}{worth.model:24}{worth.tier:20}{numbers.percent(worth.share):>8}"
                f"{numbers.signed(worth.margin.value):>13}  {numbers.span(worth.margin)} "
                f"({100 * worth.confidence:.3g}%)"
            )
        if not trial.worth:
            lines.append(f"{name:16}{trial.reasons['worth']}")
    lines.append(f"\n{'score':16}{'cost':>10}{'with length':>13}  with what models learned")
    for name, trial in by_score.items():
        cost = "–" if trial.seconds is None else numbers.duration(trial.seconds)
        learned = ", ".join(
            f"{model} {number(value)}"
            for model, value in trial.rank_correlation_with_learning.items()
            if model != "reasons"
        )
        length = number(trial.rank_correlation_with_length)
        lines.append(f"{name:16}{cost:>10}{length:>13}  {learned}")
    return "\n".join([*lines, "", sentence(by_score, unit)])


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every declared score."""
    by_score = trials(study, settings)
    unit = estimates(study, settings, settings.metric).unit
    return Answer(values=by_score, sentence=sentence(by_score, unit))
