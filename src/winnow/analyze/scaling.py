"""What more rows bring, by the rule that chose them; and what a row is worth in rows of another.

Where data is what lacks, loss follows L(D) = (D_c / D)^alpha (Kaplan et al. 2020, arXiv 2001.08361,
equation 1.2). Here D are the tokens of one epoch, and the law is a straight line in logarithms,
fitted by least squares to every bootstrap replicate, within a model and its budget.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.analyze import words
from winnow.analyze.bootstrap import Bootstrap, Floats
from winnow.analyze.documented import as_json, with_reasons
from winnow.analyze.results import Arm, Study
from winnow.core import rules

LAW = 3
"""Sizes that make a law."""
REACH = 10.0
"""Nothing is said of sizes this many times beyond the ones that were run."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The arms of one rule, a size each, from the smallest."""

    rule: str
    arms: tuple[Arm, ...]
    losses: Floats
    """Losses per token by arm; the first column as measured, the others the replicates."""

    @property
    def tokens(self) -> Floats:
        """Of one epoch, by arm."""
        return np.array([arm.num_tokens for arm in self.arms], dtype=np.float64)

    @property
    def rows(self) -> Floats:
        """By arm."""
        return np.array([arm.num_rows for arm in self.arms], dtype=np.float64)


def drawn(arm: Arm, losses: Bootstrap) -> Floats:
    """An arm's loss as measured, and its replicates."""
    i = losses.index[arm.name]
    return np.concatenate([losses.losses[i : i + 1], losses.replicates[i]])


def curves(arms: Sequence[Arm], losses: Bootstrap) -> dict[str, Curve]:
    """The curves of a model's arms by rule; of several arms of one size, the first."""
    found = {}
    for rule in sorted({arm.rule for arm in arms}, key=rules.order):
        sizes = {arm.num_rows: arm for arm in reversed(arms) if arm.rule == rule}
        own = tuple(sizes[size] for size in sorted(sizes))
        found[rule] = Curve(rule, own, np.stack([drawn(arm, losses) for arm in own]))
    return found


def fit(sizes: Floats, losses: Floats) -> tuple[Floats, Floats]:
    """Least squares of log L = level - alpha * (log D - mean log D), a column of losses each.

    Returns:
        alpha and level, by column.
    """
    x, y = np.log(sizes), np.log(losses)
    x = x - x.mean()
    return -(x @ y) / (x @ x), y.mean(axis=0)


def predicted(curve: Curve, tokens: Floats) -> Floats:
    """The law's losses at these tokens, a row each; a column for the fit and each replicate."""
    alpha, level = fit(curve.tokens, curve.losses)
    far = np.log(tokens) - np.log(curve.tokens).mean()
    return np.asarray(np.exp(level - far[:, None] * alpha), dtype=np.float64)


def law(curve: Curve, losses: Bootstrap) -> Json:
    """alpha with its interval, D_c, and how far the law misses what was measured."""
    values: Json = {
        "sizes": {arm.tier_name: arm.num_tokens for arm in curve.arms},
        "alpha": None,
        "critical_tokens": None,
        "residual": None,
    }
    if len(curve.arms) < LAW:
        sizes = words.plural(len(curve.arms), "size")
        why = f"{sizes} of {rules.find(curve.rule).adjective} rows; {LAW} make a law"
        return with_reasons(values, dict.fromkeys(("alpha", "critical_tokens", "residual"), why))
    alpha, level = fit(curve.tokens, curve.losses)
    missed = predicted(curve, curve.tokens)[:, 0] - curve.losses[:, 0]
    values["alpha"] = as_json(losses.interval(float(alpha[0]), alpha[1:]))
    values["residual"] = float(np.sqrt((missed**2).mean()))
    if alpha[0] <= 0:
        return with_reasons(values, {"critical_tokens": "the loss does not fall with more tokens"})
    exponent = np.log(curve.tokens).mean() + level[0] / alpha[0]
    if exponent > np.log(np.finfo(np.float64).max):
        return with_reasons(values, {"critical_tokens": "beyond any number that is held"})
    return values | {"critical_tokens": float(np.exp(exponent))}


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
    kind = f"{rules.find(curve.rule).adjective} rows"
    if len(curve.arms) < 2:
        return f"one size of {kind} was run; two make a curve"
    if not (np.diff(curve.losses[:, 0]) < 0).all():
        return f"the loss of {kind} does not fall with every size"
    if np.isnan(rows):
        return f"outside the sizes of {kind} that were run, and two make no law"
    if not curve.rows[0] / REACH <= rows <= curve.rows[-1] * REACH:
        return f"more than {REACH:g} times beyond the sizes of {kind} that were run"
    return ""


def exchange(arm: Arm, curve: Curve, losses: Bootstrap) -> Json:
    """How many rows of the curve's rule one row of the arm is worth: those with which the curve
    comes to the arm's loss, over the arm's own.

    A replicate without an answer counts for both ends of the interval, which are null where more
    of them than the interval leaves out have none.
    """
    rows = reached(curve, drawn(arm, losses))
    keys = ("value", "low", "high", "extrapolated")
    why = _why(curve, rows[0])
    if why:
        return with_reasons(dict.fromkeys(keys), dict.fromkeys(keys, why))
    tail = (1 - losses.confidence) / 2
    last = len(rows) - 2
    first, end = curve.rows[[0, -1]]
    ends = {
        "low": np.sort(np.nan_to_num(rows[1:], nan=0.0))[int(tail * last)],
        "high": np.sort(np.where(np.isnan(rows), np.inf, rows)[1:])[math.ceil((1 - tail) * last)],
    }
    known = {key: first / REACH <= size <= end * REACH for key, size in ends.items()}
    value = {
        "value": float(rows[0] / arm.num_rows),
        **{key: float(ends[key] / arm.num_rows) if known[key] else None for key in ends},
        "extrapolated": not all(first <= size <= end for size in (rows[0], *ends.values())),
    }
    why = f"too many replicates have no answer within {REACH:g} times the sizes that were run"
    return with_reasons(value, {key: why for key in ends if not known[key]})


def scaling(study: Study, losses: Bootstrap) -> Json:
    """Per model and budget: the law of each rule, and what a row of each top tier is worth in rows
    of every other rule."""
    found: Json = {}
    for name, arms in study.models().items():
        by_rule = curves(arms, losses)
        others = [curve for rule, curve in by_rule.items() if rule != "top"]
        found[name] = {
            "laws": {rule: law(curve, losses) for rule, curve in by_rule.items()},
            "exchange": {
                arm.tier_name: {curve.rule: exchange(arm, curve, losses) for curve in others}
                for arm in arms
                if arm.is_top and others
            },
        }
    return found
