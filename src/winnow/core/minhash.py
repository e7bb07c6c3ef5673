"""Clusters of rows whose texts share most of their shingles, without comparing all pairs.

A row is the set of the word n-grams, the shingles, of its instruction, its input and its response.
MinHash and banding (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, ch. 3)
name the pairs that may be similar, each is verified on the sets themselves, and clusters are the
connected components of the verified pairs.

Two rows are similar if their sets are, by the Jaccard similarity, and if no part is less than half
as similar as is asked of the whole: a long text that many rows share makes them no duplicates.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core import engine
from winnow.core.mapped import empty, unnamed
from winnow.core.progress import progress
from winnow.core.shingles import NUM_PARTS, bands_of, join, may_share, sets_of, unite
from winnow.core.texts import Texts, each
from winnow.core.words import classes


def buckets(band: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices that share a value with another, value by value, and where each value starts."""
    band = np.ascontiguousarray(band)  # one type, so one compiled kernel
    some = np.flatnonzero(may_share(band, len(band).bit_length() + 4))
    order = some[np.argsort(band[some], kind="stable")]
    values = band[order]
    starts = np.flatnonzero(values != np.append(~values[:1], values[:-1]))
    sizes = np.diff(np.append(starts, len(order)))
    return order[np.repeat(sizes > 1, sizes)], np.cumsum(np.append(0, sizes[sizes > 1]))


def shape(threshold: float, permutations: int) -> tuple[int, int]:
    """How many bands of how many rows a signature is cut into.

    A pair of Jaccard similarity s shares a band with probability 1 - (1 - s**rows)**bands. Every
    candidate is verified, so a false one costs time alone: the widest bands are taken that still
    find nine of ten pairs exactly at the threshold.
    """
    for rows in range(permutations, 1, -1):
        bands = permutations // rows
        if 1 - (1 - threshold**rows) ** bands >= 0.9:
            return bands, rows
    return permutations, 1


def _hash_bands(texts: Texts, **numbers: Any) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    found: tuple[Any, Any] = bands_of(*texts, classes(), **numbers)
    return found


def _make_sets(texts: Texts, ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    found: tuple[Any, Any] = sets_of(*texts, classes(), ngram)
    return found


def _joined(
    shingles: NDArray[np.uint64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    threshold: float,
    part: tuple[NDArray[np.uint64], NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Texts that join an earlier one by what a band shows, and that earlier one.

    The forest that comes with the band only saves work: a text of a tree is compared no more.
    """
    band, before = part
    parent = before.copy()
    join(*buckets(band), shingles, starts, sizes, threshold, parent)
    later = np.flatnonzero(parent != before)
    return later, parent[later]


def _signing(threshold: float, permutations: int, ngram: int) -> tuple[partial[Any], int]:
    """The work that hashes the bands of texts, and how many there are."""
    num_bands, width = shape(threshold, permutations)
    # Shingles are well mixed already: to multiply by an odd number modulo 2**32 permutes them.
    factors = np.random.default_rng(1).integers(0, 2**32, num_bands * width, np.uint32) | 1
    # Else the rows of one long context would all be compared with each other.
    own = int(width > 2 * NUM_PARTS)
    return partial(_hash_bands, ngram=ngram, factors=factors, bands=num_bands, own=own), num_bands


@dataclass(frozen=True, slots=True)
class Bands:
    """The bands of some rows' signatures, in a file: of each part of the rows, band by band."""

    file: IO[bytes]
    number: int
    """Of the bands."""
    counts: list[int]
    """The rows of every part."""
    sizes: NDArray[np.int64]
    """The shingles of every row."""

    def __iter__(self) -> Iterator[NDArray[np.uint64]]:
        """Every band, a number a row."""
        for band in range(self.number):
            values, at = np.empty(len(self.sizes), np.uint64), 0
            for count in self.counts:
                self.file.seek(8 * (at * self.number + band * count))
                self.file.readinto(values[at : at + count])  # type: ignore[attr-defined]
                at += count
            yield values


def sign(
    table: pa.Table,
    positions: NDArray[np.int64],
    *,
    threshold: float,
    permutations: int,
    ngram: int,
) -> Bands:
    """Hash the bands of the rows at ascending positions: rows that are alike share one of them.

    On the disk are 8 bytes a row and band, in memory 8 a row. The other numbers are those of
    `clusters`.

    Raises:
        OSError: the disk is full.
    """
    hash_bands, number = _signing(threshold, permutations, ngram)
    bands = Bands(unnamed(), number, [], np.empty(len(positions), np.int64))
    at = 0
    for found, sizes in each(table, positions, hash_bands, "near duplicates"):
        bands.file.write(found.T.tobytes())
        bands.sizes[at : at + len(sizes)], at = sizes, at + len(sizes)
        bands.counts.append(len(sizes))
    bands.file.flush()
    return bands


def clusters(
    table: pa.Table,
    positions: NDArray[np.int64],
    *,
    threshold: float,
    permutations: int,
    ngram: int,
    budget: int | None = None,
) -> NDArray[np.int64]:
    """Find which of the rows at `positions` belong together.

    Args:
        table: has the columns instruction, input and response.
        positions: of rows with different texts, in the order of their content hashes.
        threshold: of the Jaccard similarity, in (0, 1].
        permutations: length of a MinHash signature.
        ngram: words a shingle.
        budget: bytes above which the sets are in a file instead of memory.

    Returns:
        For every position the index of the first one in its cluster: its own where it is alone.
    """
    hash_bands, num_bands = _signing(threshold, permutations, ngram)
    # What comes in the order of the table is put in the order of hashes.
    order = np.argsort(positions)
    bands = np.empty((len(positions), num_bands), np.uint64)
    sizes, at = np.empty(len(positions), np.int64), 0
    for found, counts in each(table, positions[order], hash_bands, "near duplicates"):
        places, at = order[at : at + len(counts)], at + len(counts)
        bands[places], sizes[places] = found, counts

    shares = np.zeros(len(positions), bool)
    for band in bands.T:
        shares[buckets(band)[0]] = True
    chosen = np.flatnonzero(shares)
    bands, order = bands[chosen], np.argsort(positions[chosen])
    shingles, at, end = empty(int(sizes[chosen].sum()), np.uint64, budget), 0, 0
    sizes = np.empty((len(chosen), NUM_PARTS), np.int64)
    make_sets = partial(_make_sets, ngram=ngram)
    for found, counts in each(table, positions[chosen][order], make_sets, "verify"):
        places, at = order[at : at + len(counts)], at + len(counts)
        shingles[end : end + len(found)], end = found, end + len(found)
        sizes[places] = counts
    totals = sizes.sum(axis=1)[order]
    starts = np.empty(len(chosen), np.int64)
    starts[order] = np.cumsum(totals) - totals
    parent = np.arange(len(chosen))
    join = partial(_joined, shingles, starts, sizes, threshold)
    parts = ((band, parent.copy()) for band in progress(list(bands.T), "compare", "bands"))
    for pairs in engine.each(join, parts):
        unite(parent, *pairs)
    while (parent != parent[parent]).any():
        parent = parent[parent]
    first = np.arange(len(positions))
    first[chosen] = chosen[parent]
    return first
