"""How often one model's answers are preferred to another's, from verdicts that are there already.

A preference is the share of one verdict that goes to the model: 1 where its answer is better, 0
where the baseline's is, 0.5 for a tie, or a judge's probability. A pair is judged in both orders,
and its preference is the mean of the two.

The length-controlled rate (Dubois et al. 2024, arXiv 2404.04475) is that of a logistic regression
of the preference on a constant, on tanh of the difference in length over its standard deviation
and, where the instructions' difficulties are known, on these; it is read off at equal lengths.
What the published program adds is left out: its table of difficulties, and its rows of a baseline
that games the length, which pull the length's coefficient towards theirs. Here a weak normal
prior on the coefficients, not on the constant, keeps a fit finite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from winnow.analyze.intervals import Estimates, Interval

Floats = NDArray[np.float64]
RIDGE = 0.1
"""The inverse variance of the prior on each coefficient but the constant. At 1 the prior moves the
rate of 120 planted pairs by 2.8 points, at 0.1 by 0.2."""


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """What a judge said of pairs, each shown in both orders; NaN where nothing could be read."""

    shown_first: Floats
    """By pair: the preference for the model, its answer shown first."""
    shown_second: Floats
    """The same, its answer shown second."""

    @property
    def is_whole(self) -> NDArray[np.bool_]:
        """By pair: whether both orders have a verdict."""
        return np.asarray(np.isfinite(self.shown_first + self.shown_second))

    @property
    def preferences(self) -> Floats:
        """By pair: the mean of both orders; NaN where one of them has no verdict."""
        return np.asarray((self.shown_first + self.shown_second) / 2)

    def first_share(self) -> float | None:
        """How much of the verdicts goes to the answer shown first: 0.5 of a judge without a bias,
        whatever the answers are; None without a whole pair."""
        whole = self.is_whole
        if not whole.any():
            return None
        return float(np.mean((self.shown_first + 1 - self.shown_second)[whole]) / 2)

    def consistency(self) -> float | None:
        """The share of pairs in which both orders have the same verdict."""
        whole = self.is_whole
        if not whole.any():
            return None
        return float(np.mean(np.isclose(self.shown_first[whole], self.shown_second[whole])))


def win_rate(preferences: Floats) -> float:
    """The share of pairs in which the model is preferred; a tie counts half.

    Args:
        preferences: by pair, in [0, 1].
    """
    return float(preferences.mean())


def agreement(preferences: Floats, checked: Floats) -> tuple[float | None, int]:
    """How often a judge sides with a program, a judge's tie counting half.

    Args:
        preferences: by pair, of the judge.
        checked: by pair, of the program; NaN where it knows nothing.

    Returns:
        The share of the pairs that the program decides, None without any; and their number.
    """
    decided = np.isfinite(checked) & (checked != 0.5)
    if not decided.any():
        return None, 0
    judge, program = np.sign(preferences[decided] - 0.5), np.sign(checked[decided] - 0.5)
    return float(np.mean((1 + judge * program) / 2)), int(decided.sum())


@dataclass(frozen=True, slots=True, eq=False)
class LengthControlled:
    """A win rate at equal lengths."""

    value: float
    coefficients: tuple[float, ...]
    """Of the constant, of the length and, where it is known, of the difficulty; in logits."""
    pseudo_values: Floats
    """By pair: their mean is the value, and they vary as an estimate of it does."""


def length_controlled(
    preferences: Floats, differences: Floats, difficulties: Floats | None = None
) -> LengthControlled | None:
    """The win rate that is expected if both answers of each pair were of one length.

    Args:
        preferences: by pair, in [0, 1].
        differences: by pair: the length of the model's answer less that of the baseline's.
        difficulties: by pair, of the instruction, about 0; None leaves them out.

    Returns:
        None where it is not defined: fewer than three pairs, or all preferences 0 or all 1.
    """
    if len(preferences) < 3 or not 0 < preferences.mean() < 1:
        return None
    spread = differences.std(ddof=1)
    lengths = np.tanh(differences / spread) if spread > 0 else np.zeros(len(preferences))
    others = () if difficulties is None else (difficulties,)
    features = np.column_stack([np.ones(len(preferences)), lengths, *others])
    weights, information = _fit(features, preferences)
    equal = features.copy()
    equal[:, 1] = 0
    chances = special.expit(equal @ weights)
    slope = (chances * (1 - chances)) @ equal / len(equal)
    residuals = preferences - special.expit(features @ weights)
    moved = (features * residuals[:, None]) @ np.linalg.solve(information, slope) * len(equal)
    return LengthControlled(
        value=float(chances.mean()),
        coefficients=tuple(float(weight) for weight in weights),
        pseudo_values=chances + moved - moved.mean(),
    )


def _fit(features: Floats, preferences: Floats) -> tuple[Floats, Floats]:
    """The weights of a logistic regression, and the information (negative Hessian) at them.

    Args:
        features: by pair and feature, the first of them the constant.
        preferences: by pair.
    """
    prior = RIDGE * (np.arange(features.shape[1]) > 0)

    def loss(weights: Floats) -> tuple[float, Floats]:
        logits = features @ weights
        nats = np.logaddexp(0, logits).sum() - preferences @ logits
        gradient = (special.expit(logits) - preferences) @ features + prior * weights
        return float(nats + prior @ weights**2 / 2), np.asarray(gradient)

    def information(weights: Floats) -> Floats:
        chances = special.expit(features @ weights)
        return np.asarray((features.T * (chances * (1 - chances))) @ features + np.diag(prior))

    found = optimize.minimize(
        loss,
        np.zeros(features.shape[1]),
        jac=True,
        hess=information,
        method="trust-exact",
        options={"gtol": 1e-9 * len(features)},
    )
    return np.asarray(found.x), information(found.x)


def interval(values: Sequence[Floats], confidence: float, groups: Mapping[str, str]) -> Interval:
    """The interval of a share over prompts, and over training seeds where there are several.

    Args:
        values: by seed and prompt, of the same prompts in each: preferences or pseudo-values.
        confidence: of the interval.
        groups: the name of the one arm, and its group.

    Returns:
        The mean between its ends, which lie in [0, 1].
    """
    numerators = np.stack(values)[None]
    found = Estimates.of(
        groups,
        numerators,
        np.ones(numerators.shape[2]),
        resamples=1,
        confidence=confidence,
        seed=0,
        lower_is_better=False,
        unit="share of prompts",
    )
    one = found.contrast(dict.fromkeys(groups, 1.0))
    return Interval(one.value, max(0.0, one.low), min(1.0, one.high))
