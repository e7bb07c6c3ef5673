"""How loss falls with more rows, by the rule that chose them.

Where data is what lacks, loss follows L(D) = (D_c / D)^alpha (Kaplan et al. 2020, arXiv 2001.08361,
equation 1.2). Here D are the tokens of one epoch, and the law is a straight line in logarithms,
fitted by least squares to every bootstrap replicate, within a model and its budget.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from winnow.analyze.intervals import Estimates, Floats
from winnow.analyze.study import Arm
from winnow.core import rules

LAW = 3
"""Sizes that make a law."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The arms of one rule, a size each, from the smallest."""

    rule: str
    arms: tuple[Arm, ...]
    losses: Floats
    """Losses per token by arm; the first column as measured, the others the replicates."""
    name: str = ""
    """The rule, and the score where several choose."""

    @property
    def tokens(self) -> Floats:
        """Of one epoch, by arm."""
        return np.array([arm.num_tokens for arm in self.arms], dtype=np.float64)

    @property
    def rows(self) -> Floats:
        """By arm."""
        return np.array([arm.num_rows for arm in self.arms], dtype=np.float64)


def kind(name: str) -> str:
    """What a sentence calls the rows of a curve, by its name."""
    rule, _, by = name.partition(", ")
    return f"{rules.find(rule).adjective} rows" + (f" by {by}" if by else "")


def drawn(arm: Arm, losses: Estimates) -> Floats:
    """An arm's loss as measured, and its replicates."""
    i = losses.index[arm.name]
    return np.concatenate([losses.values[i : i + 1], losses.replicates[i]])


def curves(arms: Sequence[Arm], losses: Estimates) -> dict[str, Curve]:
    """The curves of a model's arms by rule and score; of several arms of one size, the first.
    Replicas stand for tiers of different rules, and follow no law of their own."""
    by_tier = {arm.tier_name: arm for arm in arms}
    found = {}
    for rule in sorted({arm.rule for arm in arms if not arm.is_replica}, key=rules.order):
        own = [arm for arm in arms if arm.rule == rule]
        for by in dict.fromkeys(_score(arm, by_tier) for arm in own):
            sizes = {arm.num_rows: arm for arm in reversed(own) if _score(arm, by_tier) == by}
            ordered = tuple(sizes[size] for size in sorted(sizes))
            name = f"{rule}, {by}" if by else rule
            rows = np.stack([drawn(arm, losses) for arm in ordered])
            found[name] = Curve(rule, ordered, rows, name)
    return found


def _score(arm: Arm, by_tier: Mapping[str, Arm]) -> str | None:
    """The score that chose an arm's rows, or those that they are matched to; None for the
    documented one and for rows that none chose."""
    chosen = by_tier.get(arm.of, arm) if arm.of else arm
    return chosen.tier.by


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
