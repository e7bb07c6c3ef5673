"""Texts that are like an earlier one, by the cosine of TF-IDF vectors of hashed words and pairs.

All pairs above the threshold are found, and no others are compared: with features in one order,
rarest first, two vectors of length 1 whose cosine is at least c must share a feature of the first
one's prefix, behind which less than c of its length is left (Bayardo, Ma and Srikant 2007, Scaling
up all pairs similarity search). A text joins the most similar earlier one that joined none itself,
so no chain of small steps makes one text of two that differ, and what a later row says changes no
earlier one's leader.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from winnow.core.ngrams import unit_vectors

THRESHOLD = 0.85
"""The least cosine of texts that are like each other."""
BLOCK = 1024
"""Texts that are compared with all others at once: a matter of memory, not of results."""
ROUNDING = 1e-9
"""By which the cosine of equal vectors may fall short of 1."""


def vectors(texts: Sequence[str]) -> Any:
    """Rows of length 1 with features by their rarity, rarest first: counts of `core.ngrams` times
    1 + log(n / texts that have the feature). A text without
    words is all zero, like nothing else."""
    counted = sparse.csr_array(unit_vectors(texts))
    holders = np.bincount(counted.indices, minlength=counted.shape[1])
    used = np.flatnonzero(holders)
    order = used[np.argsort(holders[used], kind="stable")]
    weighted = counted[:, order] * (1 + np.log(len(texts) / holders[order]))
    weighted = sparse.csr_array(weighted)
    lengths = np.sqrt(weighted.multiply(weighted).sum(axis=1))
    found = sparse.csr_array(weighted.multiply(1 / np.maximum(lengths, 1e-300)[:, None]))
    found.sort_indices()
    return found


def _prefixes(rows: Any, threshold: float) -> Any:
    """The rows cut behind the first features without which less than the threshold is left."""
    squares = np.append(0.0, np.cumsum(rows.data**2))
    ends = squares[rows.indptr[1:]]
    left = np.repeat(ends, np.diff(rows.indptr)) - squares[:-1]  # with the feature itself
    kept = rows.copy()
    kept.data[left < (threshold - ROUNDING) ** 2] = 0.0
    kept.eliminate_zeros()
    return kept


def leaders(texts: Sequence[str], threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """By text the place of its leader: its own, or that of the most similar earlier leader of a
    cosine of at least `threshold`, of equally similar ones the first."""
    found = np.arange(len(texts))
    if not len(texts):
        return found
    rows = vectors(texts)
    columns = sparse.csc_array(rows.T)
    for start in range(0, len(texts), BLOCK):
        end = min(start + BLOCK, len(texts))
        block = rows[start:end]
        candidates = sparse.coo_array(_prefixes(block, threshold) @ columns[:, :end])
        one, two = candidates.coords
        earlier = two < one + start
        one, two = one[earlier], two[earlier]
        cosines = np.asarray(block[one].multiply(rows[two]).sum(axis=1)).ravel()
        near = cosines >= threshold - ROUNDING
        _join(found, one[near] + start, two[near], cosines[near])
    return found


def _join(
    found: NDArray[np.int64], ones: NDArray[np.int64], others: NDArray[np.int64], cosines: Any
) -> None:
    """Give later texts their leaders, in the order of texts: earlier ones are settled."""
    for place in np.lexsort((others, -np.round(cosines, 9), ones)):
        one, two = ones[place], others[place]
        if found[one] == one and found[two] == two:
            found[one] = two
