"""How many different texts more draws will bring, by how often the texts so far came.

Notation: n draws gave S different texts, f_k of which came k times; m more draws are made, t = m/n.
Each estimator takes draws for independent and returns the expected number of new texts among the m;
what the shards of a generation have of their own is for the interval, see forecast.py.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

FLAT = 1e-5
"""A discount of Pitman and Yor below which its limit at 0 is taken: there differences of lgamma
have lost their digits."""
DIGITS = 1e7
"""Up to which theta / d differences of lgamma keep eight of them."""


@dataclass(frozen=True, slots=True)
class Frequencies:
    """How many texts came how often."""

    times: NDArray[np.int64]
    """The k that occur, ascending, from 1."""
    texts: NDArray[np.int64]
    """f_k of each."""

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> "Frequencies":
        """From how often each text came; zeros are texts that did not."""
        times, texts = np.unique(counts[counts > 0], return_counts=True)
        return cls(times.astype(np.int64), texts.astype(np.int64))

    @property
    def draws(self) -> int:
        """n."""
        return int(self.times @ self.texts)

    @property
    def unique(self) -> int:
        """S."""
        return int(self.texts.sum())

    def __getitem__(self, times: int) -> int:
        """f_k."""
        return int(self.texts[self.times == times].sum())


def unseen(frequencies: Frequencies) -> float:
    """The least number of texts that have not come yet: Chao1 (Chao 1984; without f_2 the form of
    Chao 2005, which corrects its bias)."""
    n, once, twice = frequencies.draws, frequencies[1], frequencies[2]
    if n == 0:
        return 0.0
    pairs = once**2 / (2 * twice) if twice else once * (once - 1) / 2
    return (n - 1) / n * pairs


def inext(frequencies: Frequencies, more: int) -> float:
    """The extrapolation of iNEXT: f_0 (1 - (1 - f_1 / (n f_0 + f_1))^m), f_0 by Chao1 (Colwell et
    al. 2012, eq. 9; Chao et al. 2014). It ends at a lower bound of what there is."""
    once, missing = frequencies[1], unseen(frequencies)
    if missing == 0:
        return 0.0
    chance = once / (frequencies.draws * missing + once)
    return -missing * math.expm1(more * math.log1p(-chance)) if chance < 1 else missing


def furthest(draws: int) -> int:
    """The most draws that can be foretold: t = log n, beyond which no estimator is consistent for
    all distributions (Orlitsky, Suresh and Wu 2016, theorem 2)."""
    return math.floor(draws * math.log(draws)) if draws > 1 else 0


def _weights(frequencies: Frequencies, more: int) -> NDArray[np.float64]:
    """What each f_k counts for in Good and Toulmin's series; 0 where the smoothing ends it."""
    n, times = frequencies.draws, frequencies.times
    t, signs = more / n, np.where(times % 2 == 1, 1.0, -1.0)
    if t <= 1:
        return np.asarray(signs * t**times, np.float64)
    size = max(1, math.ceil(math.log(n * t**2 / (t - 1), 3) / 2))
    few = np.minimum(times, size)
    left = np.where(times > size, 0.0, special.bdtrc(few - 1, size, 2 / (2 + t)))  # P(L >= i)
    return np.asarray(signs * t**few * left, np.float64)


def good_toulmin(frequencies: Frequencies, more: int) -> float:
    """Good and Toulmin's series, -sum (-t)^i f_i, smoothed beyond t = 1: its term i is weighted by
    P(L >= i) for L of Bin(k, 2 / (2 + t)), k = log_3(n t^2 / (t - 1)) / 2 rounded up (Orlitsky,
    Suresh and Wu 2016, PNAS 113, table 1). Between 0 and m, and beyond t = 1 at least what the
    plain series says there, as more draws lose no text.

    The base belongs to the chance: with 3 the two bounds, n (3 t / (t + 2))^(2 k) for the variance
    and n^2 (t / (t + 2))^(2 k) for the squared bias, are of one size. The base 2 that is often seen
    belongs to Efron and Thisted's chance of 1 / (1 + t).
    """
    n = frequencies.draws
    if n == 0:
        return 0.0
    least = good_toulmin(frequencies, n) if more > n else 0.0
    return float(np.clip(_weights(frequencies, more) @ frequencies.texts, least, more))


def good_toulmin_deviation(frequencies: Frequencies, more: int) -> float:
    """By how much independent draws make `good_toulmin` err: the root of sum h_i^2 f_i, h_i the
    weight of f_i (Efron and Thisted 1976, eq. 2.11), with the scatter of what is to come."""
    spread = _weights(frequencies, more) ** 2 @ frequencies.texts
    return math.sqrt(spread + good_toulmin(frequencies, more))


@dataclass(frozen=True, slots=True)
class PitmanYor:
    """A process of Pitman and Yor (1997): the next draw is a new text with chance
    (theta + d S) / (theta + n)."""

    discount: float
    """d in [0, 1): the tail of texts falls off as a power 1/d; at 0 it is Ewens' process."""
    strength: float
    """theta > -d."""


def _log_product(theta: float, d: float, unique: int) -> float:
    """The logarithm of prod_{0<i<S} (theta + i d)."""
    # Where d is next to nothing, a difference of two huge logarithms has no digits left.
    if d * DIGITS < theta or d < FLAT:
        return float(np.log(theta + d * np.arange(1, unique)).sum())
    low = theta / d + 1
    rising = special.gammaln(low + unique - 1) - special.gammaln(low)
    return float((unique - 1) * math.log(d) + rising)


def log_likelihood(frequencies: Frequencies, process: PitmanYor) -> float:
    """The logarithm of the chance of this partition of the draws (Pitman 1995, exchangeable
    partition probability function): prod_{i<S} (theta + i d) / (theta + 1)_(n-1) times
    prod_j (1 - d)_(n_j - 1)."""
    d, theta = process.discount, process.strength
    n, unique = frequencies.draws, frequencies.unique
    found = _log_product(theta, d, unique)
    found -= special.gammaln(theta + n) - special.gammaln(theta + 1)
    own = special.gammaln(frequencies.times - d) - special.gammaln(1 - d)
    return float(found + frequencies.texts @ own)


def fit_pitman_yor(frequencies: Frequencies) -> PitmanYor:
    """The process of the largest likelihood, for draws of which some repeat and some do not.

    Both numbers are looked for on scales without ends, logit(d) and log(theta + d).
    """

    def process(at: NDArray[np.float64]) -> PitmanYor:
        d = float(special.expit(at[0]))
        return PitmanYor(d, math.exp(at[1]) - d)

    def loss(at: NDArray[np.float64]) -> float:
        return -log_likelihood(frequencies, process(at)) / frequencies.draws

    ends = [(-12.0, 12.0), (-12.0, math.log(100.0 * frequencies.draws))]
    starts = [(0.0, math.log(max(2.0, frequencies.unique / 10))), (-6.0, 2.0)]
    options = {"xatol": 1e-4, "fatol": 1e-10, "maxiter": 500}
    found: list[Any] = [
        optimize.minimize(loss, start, method="Nelder-Mead", bounds=ends, options=options)
        for start in starts
    ]
    return process(min(found, key=lambda one: one.fun).x)


def new_of(process: PitmanYor, frequencies: Frequencies, more: int) -> float:
    """The expected number of new texts under a process: (S + theta / d) ((theta + n + d)_m /
    (theta + n)_m - 1) (Favaro, Lijoi, Mena and Pruenster 2009, eq. 6), and its limit at d = 0."""
    d, theta = process.discount, process.strength
    n = theta + frequencies.draws
    if d < FLAT:
        return float(theta * (special.digamma(n + more) - special.digamma(n)))
    grown = special.gammaln(n + d + more) - special.gammaln(n + more)
    grown -= special.gammaln(n + d) - special.gammaln(n)
    return float((frequencies.unique + theta / d) * math.expm1(grown))


def pitman_yor(frequencies: Frequencies, more: int) -> float:
    """`new_of` the process of the largest likelihood; all draws are new where none has repeated,
    none where there is but one text."""
    if frequencies.unique == frequencies.draws:
        return float(more)
    if frequencies.unique == 1:
        return 0.0
    return min(float(more), new_of(fit_pitman_yor(frequencies), frequencies, more))


ESTIMATORS: Mapping[str, Callable[[Frequencies, int], float]] = {
    "smoothed Good-Toulmin": good_toulmin,
    "iNEXT": inext,
    "Pitman-Yor": pitman_yor,
}
"""By name: the expected number of new texts among so many more draws."""
