"""What do more rows bring, by the rule that chose them, and what is a row worth in rows of another?

The laws are those of laws.py, within a model and its budget.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from winnow.analyze.intervals import Estimates, Floats, Interval
from winnow.analyze.laws import LAW, Curve, curves, drawn, fit, kind, predicted
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.report import numbers, scaling_figures
from winnow.analyze.study import Arm, Study, estimates

REACH = 10.0
"""Nothing is said of sizes this many times beyond the ones that were run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """L(D) = (D_c / D)^alpha of one rule."""

    sizes: Mapping[str, int]
    """Tokens of one epoch, by tier."""
    alpha: Interval | None
    critical_tokens: float | None
    """D_c."""
    residual: float | None
    """How far the law misses what was measured: root mean square, nats per token."""
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """How many rows of another rule one row of a tier is worth."""

    value: float | None
    low: float | None
    high: float | None
    extrapolated: bool | None
    """Whether it lies outside of the sizes that were run."""
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """Of one model and budget."""

    laws: Mapping[str, Law]
    """By rule."""
    exchange: Mapping[str, Mapping[str, Exchange]]
    """By top tier and other rule."""


def law(curve: Curve, losses: Estimates) -> Law:
    """alpha with its interval, D_c, and how far the law misses what was measured."""
    sizes = {arm.tier_name: arm.num_tokens for arm in curve.arms}
    if len(curve.arms) < LAW:
        number = numbers.plural(len(curve.arms), "size")
        why = f"{number} of {kind(curve.name)}; {LAW} make a law"
        reasons = dict.fromkeys(("alpha", "critical_tokens", "residual"), why)
        return Law(sizes=sizes, alpha=None, critical_tokens=None, residual=None, reasons=reasons)
    alpha, level = fit(curve.tokens, curve.losses)
    missed = predicted(curve, curve.tokens)[:, 0] - curve.losses[:, 0]
    critical, reasons = None, {}
    if alpha[0] <= 0:
        reasons["critical_tokens"] = "the loss does not fall with more tokens"
    else:
        exponent = np.log(curve.tokens).mean() + level[0] / alpha[0]
        if exponent > np.log(np.finfo(np.float64).max):
            reasons["critical_tokens"] = "beyond any number that is held"
        else:
            critical = float(np.exp(exponent))
    return Law(
        sizes=sizes,
        alpha=losses.interval(float(alpha[0]), alpha[1:]),
        critical_tokens=critical,
        residual=float(np.sqrt((missed**2).mean())),
        reasons=reasons,
    )


def reached(curve: Curve, targets: Floats) -> Floats:
    """The rows at which a curve comes to each target loss, a target for each column.

    Between two sizes the logarithms of rows and loss are joined by a straight line. Beyond the
    last or the first one the law's alpha leads on from there, where there are sizes enough for it.
    NaN where the loss does not fall from every size to the next, or nothing leads on.
    """
    x, y, goal = np.log(curve.rows), np.log(curve.losses), np.log(targets)
    found = np.full(len(goal), np.nan)
    if len(x) < 2:
        return found
    for j in range(len(x) - 1):
        inside = (y[j + 1] <= goal) & (goal <= y[j])
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (y[j] - goal) / (y[j] - y[j + 1])
        found = np.where(inside, x[j] + share * (x[j + 1] - x[j]), found)
    falls = (np.diff(y, axis=0) < 0).all(axis=0)
    if len(x) >= LAW:
        alpha = np.where(falls, fit(curve.rows, curve.losses)[0], np.nan)
        found = np.where(goal > y[0], x[0] - (goal - y[0]) / alpha, found)
        found = np.where(goal < y[-1], x[-1] + (y[-1] - goal) / alpha, found)
    with np.errstate(over="ignore"):
        return np.where(falls, np.exp(found), np.nan)


def _why(curve: Curve, rows: float) -> str:
    """Why a curve has no answer; empty where it has."""
    if len(curve.arms) < 2:
        return f"one size of {kind(curve.name)} was run; two make a curve"
    if not (np.diff(curve.losses[:, 0]) < 0).all():
        return f"the loss of {kind(curve.name)} does not fall with every size"
    if np.isnan(rows):
        return f"outside the sizes of {kind(curve.name)} that were run, and two make no law"
    if not curve.rows[0] / REACH <= rows <= curve.rows[-1] * REACH:
        return f"more than {REACH:g} times beyond the sizes of {kind(curve.name)} that were run"
    return ""


def exchange(arm: Arm, curve: Curve, losses: Estimates) -> Exchange:
    """How many rows of the curve's rule one row of the arm is worth: those with which the curve
    comes to the arm's loss, over the arm's own.

    A replicate without an answer counts for both ends of the interval, which are null where more
    of them than the interval leaves out have none.
    """
    rows = reached(curve, drawn(arm, losses))
    why = _why(curve, rows[0])
    if why:
        reasons = dict.fromkeys(("value", "low", "high", "extrapolated"), why)
        return Exchange(value=None, low=None, high=None, extrapolated=None, reasons=reasons)
    tail = (1 - losses.confidence) / 2
    last = len(rows) - 2
    first, end = curve.rows[[0, -1]]
    ends = {
        "low": np.sort(np.nan_to_num(rows[1:], nan=0.0))[int(tail * last)],
        "high": np.sort(np.where(np.isnan(rows), np.inf, rows)[1:])[math.ceil((1 - tail) * last)],
    }
    within = {key: first / REACH <= size <= end * REACH for key, size in ends.items()}
    low, high = (float(ends[key] / arm.num_rows) if within[key] else None for key in ends)
    why = f"too many replicates have no answer within {REACH:g} times the sizes that were run"
    return Exchange(
        value=float(rows[0] / arm.num_rows),
        low=low,
        high=high,
        extrapolated=not all(first <= size <= end for size in (rows[0], *ends.values())),
        reasons={key: why for key in ends if not within[key]},
    )


def scaling(study: Study, losses: Estimates) -> dict[str, Scaling]:
    """Per model and budget: the law of each rule, and what a row of each top tier is worth in rows
    of every other rule."""
    by_model = {}
    for name, arms in study.models().items():
        by_rule = curves(arms, losses)
        others = [curve for curve in by_rule.values() if curve.rule != "top"]
        by_model[name] = Scaling(
            laws={rule: law(curve, losses) for rule, curve in by_rule.items()},
            exchange={
                arm.tier_name: {curve.name: exchange(arm, curve, losses) for curve in others}
                for arm in arms
                if arm.is_top and others
            },
        )
    return by_model


def _law_title(by_model: Mapping[str, Scaling]) -> str:
    laws = next(iter(by_model.values())).laws
    alphas = {rule: law.alpha for rule, law in laws.items() if law.alpha and law.critical_tokens}
    if not alphas:
        return (
            f"No law of loss against tokens: it takes {LAW} sizes of a rule, and a loss that falls"
        )
    parts = [f"{numbers.decimal(-alpha.value)} for {kind(name)}" for name, alpha in alphas.items()]
    return f"Loss goes as tokens to the power of {numbers.listed(parts)}"


def rates(by_model: Mapping[str, Scaling]) -> list[scaling_figures.Rate]:
    """Every exchange rate that is defined."""
    several = len(by_model) > 1
    return [
        scaling_figures.Rate(
            rule=name.partition(", ")[0],
            label=f"{tier}, in {kind(name)}" + (f"  [{model}]" if several else ""),
            value=rate.value,
            low=rate.low,
            high=rate.high,
            extrapolated=bool(rate.extrapolated),
        )
        for model, part in by_model.items()
        for tier, by_rule in part.exchange.items()
        for name, rate in by_rule.items()
        if rate.value is not None
    ]


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every model, with the curves and the rates as figures."""
    losses = estimates(study, settings)
    by_model = scaling(study, losses)
    title = _law_title(by_model)
    drawn_rates = rates(by_model)
    figures = [scaling_figures.loss_against_tokens(study, losses, title)]
    if drawn_rates:
        figures.append(scaling_figures.exchange_rates(drawn_rates, losses.confidence))
    return Answer(
        values=by_model,
        sentence=f"{title}.",
        figures=tuple(figure for figure in figures if figure is not None),
    )
