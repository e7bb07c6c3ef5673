"""The compiled half of nucleus sampling on a CPU: no sort of the whole vocabulary."""

from typing import Any

import numpy as np

from winnow.core.kernels import njit

FINE = 46
"""Bits of a double below those that say its bin: a power of two is 64 bins."""


@njit(cache=True, nogil=True)
def draw(chances: Any, draws: Any, top_p: float) -> Any:
    """A token from the nucleus of each row, as `sampling.nucleus` says; -1 for a row of no numbers.

    Tokens go into bins by the leading bits of their chance, which rank as the chances do, and only
    the bin in which the mass outside of the nucleus ends is sorted. Three passes through a row.

    Args:
        chances: (rows, vocabulary), doubles whose rows add up to 1.
        draws: (rows,), uniform in [0, 1).
        top_p: in (0, 1].
    """
    rows, words = chances.shape
    outside = 1 - top_p
    # What has so little is outside even if all tokens have: one bin will do.
    bins = np.array([max(outside / words, 2.0**-1022), 1.0]).view(np.int64) >> FINE
    first, last = bins[0], bins[1]
    bits = chances.view(np.int64)
    masses, held = np.empty(last - first + 1), np.empty(words)
    chosen = np.full(rows, -1)
    for row in range(rows):
        masses[:] = 0
        for word in range(words):
            masses[min(max(bits[row, word] >> FINE, first), last) - first] += chances[row, word]
        mass, place = 0.0, 0
        while place < len(masses) - 1 and mass + masses[place] <= outside:
            mass += masses[place]
            place += 1
        number = 0
        for word in range(words):
            if min(max(bits[row, word] >> FINE, first), last) - first == place:
                held[number] = chances[row, word]
                number += 1
        least = 0.0
        for chance in np.sort(held[:number]):
            mass += chance
            least = chance
            if mass > outside:
                break
        total = 0.0
        for word in range(words):
            if chances[row, word] >= least:
                total += chances[row, word]
        reached = 0.0
        for word in range(words):
            if chances[row, word] >= least:
                reached += chances[row, word]
                chosen[row] = word
                if reached > draws[row] * total:
                    break
    return chosen
