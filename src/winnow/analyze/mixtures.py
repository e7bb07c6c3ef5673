"""How the loss on each source's rows follows from the shares of a mixture, and which is the best.

RegMix (Liu et al. 2024, arXiv 2407.01492) fits a regression to many small models, each trained on
another mixture; Olmix (Chen et al. 2026, arXiv 2602.12237) finds a log-linear one as good as any:
L(p) = c + exp(t . p), for each source's loss L. For a given c this is a straight line in log(L - c)
without intercept, as shares add up to 1; c is searched on a grid. A sum of such losses is convex in
p, so the least one under caps is found from any start.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from winnow.analyze.intervals import Floats, Interval, quantile

FLOORS = np.linspace(0.0, 0.98, 50)
"""What is tried for c, as parts of the lowest loss."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Of every source's loss."""

    floors: Floats
    """(targets,): c, in nats per token."""
    slopes: Floats
    """(targets, sources): t."""

    def losses(self, shares: Floats) -> Floats:
        """The predicted losses of mixtures.

        Args:
            shares: (mixtures, sources).

        Returns:
            (mixtures, targets), in nats per token.
        """
        return np.asarray(self.floors + np.exp(shares @ self.slopes.T), dtype=np.float64)

    def mean(self, shares: Floats) -> Floats:
        """The mean over targets, each weighing the same: (mixtures,)."""
        return np.asarray(self.losses(shares).mean(axis=1), dtype=np.float64)


def fit(shares: Floats, losses: Floats) -> Fit:
    """Fit every target's loss by itself, the c of the least squared error in nats.

    Args:
        shares: (mixtures, sources); each row adds up to 1.
        losses: (mixtures, targets), in nats per token.
    """
    floors, slopes = [], []
    for target in losses.T:
        tried = []
        for floor in FLOORS * target.min():
            slope = np.linalg.lstsq(shares, np.log(target - floor), rcond=None)[0]
            tried.append((((floor + np.exp(shares @ slope) - target) ** 2).sum(), floor, slope))
        _, floor, slope = min(tried, key=lambda one: float(one[0]))
        floors.append(floor)
        slopes.append(slope)
    return Fit(np.array(floors), np.array(slopes))


def left_out(shares: Floats, losses: Floats) -> Floats:
    """The mean loss of every mixture as the others predict it: (mixtures,)."""
    places = range(len(shares))
    return np.array(
        [
            fit(np.delete(shares, at, axis=0), np.delete(losses, at, axis=0)).mean(
                shares[at : at + 1]
            )[0]
            for at in places
        ]
    )


def limits(number: float, rows: Floats, lengths: Floats, repeat: float) -> Floats:
    """Linear limits on shares of tokens, such that no source gives its rows too often.

    A tier of n rows with the shares p takes n (p_s / l_s) / sum_j (p_j / l_j) rows of source s, l
    being the mean tokens of a row. That this is at most `repeat` times its rows is linear in p.

    Args:
        number: rows of the tier.
        rows: (sources,), that there are.
        lengths: (sources,), tokens of a row.
        repeat: times that a row may be taken.

    Returns:
        (sources, sources): shares are allowed where its product with them is 0 or more.
    """
    return np.asarray(
        np.outer(repeat * rows, 1 / lengths) - number * np.diag(1 / lengths), dtype=np.float64
    )


def taken(shares: Floats, number: float, rows: Floats, lengths: Floats) -> Floats:
    """How often a mixture takes each source's rows, on average; see `limits`."""
    by_row = shares / lengths
    return np.asarray(number * by_row / by_row.sum() / rows, dtype=np.float64)


def best(predicted: Callable[[Floats], Floats], allowed: Floats, tried: Floats) -> Floats:
    """The shares of the least predicted loss, each between the least and the most that was tried:
    beyond them a fit to few mixtures says anything.

    Args:
        predicted: of mixtures, (mixtures, sources) -> (mixtures,); convex.
        allowed: see `limits`.
        tried: mixtures that are allowed, (mixtures, sources).
    """
    lowest, highest = tried.min(axis=0), tried.max(axis=0)
    scaled = allowed / abs(allowed).max()
    found = optimize.minimize(
        lambda p: float(predicted(p[None])[0]),
        tried.mean(axis=0),
        method="SLSQP",
        bounds=list(zip(lowest, highest, strict=True)),
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "ineq", "fun": lambda p: scaled @ p},
        ],
        options={"maxiter": 500, "ftol": 1e-10},
    )
    shares = np.clip(found.x, lowest, highest)
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def whole(shares: Floats, parts: int = 1000) -> Floats:
    """Shares in whole thousandths that add up to 1: what a parameter file says."""
    exact = shares * parts
    counts = np.floor(exact)
    for place in np.argsort(counts - exact, kind="stable")[: parts - int(counts.sum())]:
        counts[place] += 1
    return np.asarray(counts / parts, dtype=np.float64)


def rank_correlation(a: Floats, b: Floats, confidence: float) -> Interval | None:
    """Spearman's, with Fisher's interval as Fieller, Hartley and Pearson (1957) correct it; None of
    fewer than five pairs, or where one side never varies."""
    if len(a) < 5 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    value = float(stats.spearmanr(a, b).statistic)
    wide = quantile(np.inf, confidence) * np.sqrt(1.06 / (len(a) - 3))
    middle = np.arctanh(np.clip(value, -0.9999, 0.9999))
    return Interval(value, float(np.tanh(middle - wide)), float(np.tanh(middle + wide)))
