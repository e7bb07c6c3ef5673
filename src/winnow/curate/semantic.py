"""Rows that say the same, by SemDeDup (Abbas et al. 2023, arXiv 2303.09540).

Vectors of rows are put into buckets by k-means, and within a bucket a row goes if its cosine with
one that stays is high enough. Two things differ from the paper. Of similar rows the longest
response stays, as everywhere here, not the one that is farthest from its bucket's centre. And a row
goes only for one that stays: there it also goes for one that went itself, so that a chain of small
steps could leave nothing near it.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core.progress import progress
from winnow.core.texts import CHUNK_ROWS
from winnow.curate import draws
from winnow.curate.duplicates import precedence
from winnow.curate.embeddings import Vectors, by_model, by_words
from winnow.curate.kernels import settle
from winnow.curate.numbers import Semantic, Topics
from winnow.curate.verdict import NONE, Positions, Verdict, step

BUCKET_ROWS, SAMPLE = 5000, 512
"""Rows a bucket where its number is not given, and rows a bucket that k-means is fitted on."""
BLOCK, WIDE = 512, 8192
"""Rows that are compared at once, and rows with which: 16 MB of cosines, however large a bucket."""
ROUNDING = 1e-6
"""By which the cosine of equal vectors may fall short of 1."""


def _one_core() -> Any:
    """While it is open one thread makes a product of matrices: several sum in another order."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)  # of the libraries that are loaded by now


class Buckets(NamedTuple):
    """Rows put beside those that are like them; all arrays are in an order of contents, so neither
    the table's order nor the number of cores decides."""

    order: NDArray[np.int64]
    """Places among the rows."""
    vectors: Vectors
    labels: NDArray[np.int64]
    """The bucket of each."""


def buckets(table: pa.Table, rows: Positions, number: int, numbers: Semantic | Topics) -> Buckets:
    """Put rows into buckets of like ones, by k-means on a sample of their vectors.

    Args:
        table: has ids, texts and hashes.
        rows: their positions, one at least.
        number: of buckets, at most that of the rows.
        numbers: the model whose vectors are taken, else those of words, and the seed.

    Raises:
        Refusal: the model cannot be had.
    """
    order = precedence(table, rows)
    if numbers.model:
        vectors = by_model(table, rows[order], numbers.model, numbers.revision)
    else:
        vectors = by_words(table, rows, order)
    drawn = draws.sample(table, rows, SAMPLE * number, numbers.seed)
    places = np.argsort(order)[np.searchsorted(rows, drawn)]
    return Buckets(order, vectors, _label(vectors, places, number, numbers.seed))


def _label(vectors: Vectors, sample: NDArray[np.int64], buckets: int, seed: int) -> Any:
    """The bucket of every row, by k-means on a sample."""
    from sklearn.cluster import KMeans

    with _one_core():
        fitted = KMeans(buckets, n_init=1, max_iter=20, random_state=seed).fit(vectors[sample])
    centres = fitted.cluster_centers_
    halves = (centres * centres).sum(axis=1) / 2

    def nearest(start: int) -> NDArray[np.int64]:
        cosines = vectors[start : start + CHUNK_ROWS] @ centres.T
        found: NDArray[np.int64] = (cosines - halves).argmax(axis=1)
        return found

    with _one_core(), ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate([*pool.map(nearest, range(0, len(vectors), CHUNK_ROWS))])


def most_similar(vectors: Vectors, threshold: float) -> NDArray[np.int64]:
    """For every row the most similar earlier one that stays; -1 for one that stays itself.

    Args:
        vectors: a row each, of length 1, in the order in which they stay; they are overwritten.
        threshold: the least cosine by which a row goes.
    """
    stays = np.empty(len(vectors), np.int64)
    found, count = np.full(len(vectors), -1), 0
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].copy()
        best, nearest = np.full(len(block), -2, np.float32), np.full(len(block), -1)
        for first in range(0, count, WIDE):
            cosines = block @ vectors[first : min(first + WIDE, count)].T
            top = cosines.argmax(axis=1)
            value = cosines[np.arange(len(block)), top]
            better = value > best
            best[better], nearest[better] = value[better], stays[first + top[better]]
        settle(block @ block.T, start, threshold, best, nearest)
        kept = np.flatnonzero(best < threshold)
        found[start : start + len(block)] = np.where(best < threshold, -1, nearest)
        # Those that stay move to the front, over rows that have been compared.
        vectors[count : count + len(kept)] = block[kept]
        stays[count : count + len(kept)] = start + kept
        count += len(kept)
    return found


def _compare(vectors: Vectors, labels: Any, threshold: float) -> NDArray[np.int64]:
    """`most_similar` of every bucket, as places among all rows."""
    order = np.argsort(labels, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    found = np.full(len(vectors), -1)

    def compare(rows: NDArray[np.int64]) -> int:
        near = most_similar(vectors[rows], threshold - ROUNDING)
        found[rows[near >= 0]] = rows[near[near >= 0]]
        return len(rows)

    with (
        _one_core(),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress(None, "semantic duplicates", "rows", len(vectors)) as bar,
    ):
        for done in pool.map(compare, members):
            bar.update(done)
    return found


@step
def semantic(table: pa.Table, rows: Positions, numbers: Semantic) -> Verdict:
    """Drop rows whose vectors have a cosine of at least `threshold` with that of one that stays.

    Duplicates are looked for inside of buckets only. No two rows that stay in one bucket are
    similar, so clusters keep their names.

    Args:
        table: has ids, texts and hashes.
        rows: the positions of those that are left.
        numbers: see `Semantic`.

    Raises:
        Refusal: the model cannot be had.
    """
    if not len(rows):
        return NONE
    number = min(numbers.buckets or -(-len(rows) // BUCKET_ROWS), len(rows))
    order, vectors, labels = buckets(table, rows, number, numbers)
    near = _compare(vectors, labels, numbers.threshold)
    gone = np.flatnonzero(near >= 0)
    gone = gone[np.argsort(order[gone])]
    reason = "near in meaning" if numbers.model else "near in words, by TF-IDF"
    because = table["id"].take(rows[order[near[gone]]]).combine_chunks()
    return Verdict(rows[order[gone]], [reason] * len(gone), because)
