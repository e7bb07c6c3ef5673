"""Clusters of rows whose texts share most of their shingles, without comparing all pairs.

A row is the set of the word n-grams, the shingles, of its instruction, its input and its response.
MinHash and banding (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, ch. 3)
name the pairs that may be similar, each is verified on the sets themselves, and clusters are the
connected components of the verified pairs.

Two rows are similar if their sets are, by the Jaccard similarity, and if no part is less than half
as similar as is asked of the whole: a long text that many rows share makes them no duplicates.
"""

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core import engine
from winnow.core.kernels import njit
from winnow.core.progress import progress
from winnow.core.utf8 import code_point, seek
from winnow.core.words import ALONE, SPACE, WORD, classes
from winnow.curate.texts import ONE, Texts, each
from winnow.curate.texts import PARTS as NAMES

PARTS = len(NAMES)

PIVOTS = 256
"""In a bucket of more texts than these, all are compared with the first ones by hash alone: the
work grows linearly however many texts share a template, and no order of rows decides."""

LETTERS = np.random.default_rng(0).integers(0, 2**64, 256, np.uint64)
"""A random number for every byte, of which the hashes of words are made."""

FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Of the polynomials by which sequences are hashed."""


@njit(cache=True, nogil=True)
def mix(value):
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit depends on every bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, nogil=True)
def _spell(data, at, end, word):
    """The hash of a word that goes on with some bytes: a cyclic polynomial (Cohen 1997)."""
    while at < end:
        word = (word << np.uint64(9) | word >> np.uint64(55)) ^ LETTERS[data[at]]
        at += ONE
    return word


@njit(cache=True, nogil=True)
def shingle(data, start, end, kinds, ngram, out):
    """Write the shingles of one text to `out`, and return how many.

    Words are those of `words.cut`, hashed by cyclic polynomials (Cohen 1997, Recursive hashing
    functions for n-grams); a text of fewer words than `ngram` is one shingle.
    """
    at, end = np.uint64(start), np.uint64(end)
    word, length, inside = np.uint64(0), np.uint64(0), np.uint64(0)
    while at < end:
        char = data[at]
        if char < 0x80:
            # Without branches: where words end cannot be predicted.
            between = np.uint64((char == 32) | (char == 31))
            out[length] = word
            length += between & inside
            word = (word << np.uint64(9) | word >> np.uint64(55)) ^ LETTERS[char]
            word &= between - ONE  # nothing of it, or all
            inside = ONE - between
            at += ONE
            continue
        code, size = code_point(data, at)
        stop = at + np.uint64(size)
        if kinds[code] & ALONE:
            out[length] = word
            length += inside
            stop = seek(data, stop, end, kinds, SPACE | WORD)
            out[length] = _spell(data, at, stop, np.uint64(0))
            length += ONE
            word, inside = np.uint64(0), np.uint64(0)
        else:
            word, inside = _spell(data, at, stop, word), ONE
        at = stop
    out[length] = word
    count = np.int64(length + inside)
    num_shingles, size = max(1, count - ngram + 1), min(ngram, count)
    for index in range(num_shingles):
        value = np.uint64(0)
        for k in range(size):
            value = value * FACTOR + out[index + k]
        out[index] = mix(value)
    return num_shingles


@njit(cache=True, nogil=True)
def capacity(starts, ends):
    """Room for the words of any of these texts, and for one that is written ahead."""
    return np.append(ends - starts, 0).max() // 2 + 2


@njit(cache=True, nogil=True)
def _shingle_parts(data, start, end, kinds, ngram, out, counts):
    """Write the shingles of a row, part by part, to `out`, and how many each part has to `counts`.

    The parts of a text stand between the bytes 31; one without words has no shingle.
    """
    total = part = 0
    for at in range(start, end + 1):
        if at == end or data[at] == 31:
            counts[part] = 0
            if at > start:
                own = out[total:]
                counts[part] = shingle(data, start, at, kinds, ngram, own)
                own[: counts[part]] ^= LETTERS[part]  # a shingle of another part is another one
            total, part, start = total + counts[part], part + 1, at + 1
    return total


@njit(cache=True, nogil=True)
def _lower(signature, shingles, factors):
    """Take the least hashes of some shingles into a signature."""
    # Two at once, as the signature is then read and written half as often.
    for index in range(0, len(shingles), 2):
        a = np.uint32(shingles[index])
        b = np.uint32(shingles[min(index + 1, len(shingles) - 1)])
        for k in range(len(factors)):
            least = min(np.uint32(factors[k] * a), np.uint32(factors[k] * b))
            signature[k] = min(signature[k], least)


@njit(cache=True, nogil=True)
def _bands(data, starts, ends, kinds, ngram, factors, bands, own):
    """The bands of every row's MinHash signature, each hashed, and the number of its shingles.

    Of the hashes in a band, `own` are of each part alone, and the others of the whole row.
    """
    width = len(factors) // bands - own * PARTS
    whole, of_part = bands * width, bands * own
    found = np.empty((len(starts), bands), np.uint64)
    counts = np.empty(len(starts), np.int64)
    shingles = np.empty(capacity(starts, ends), np.uint64)
    sizes = np.empty(PARTS, np.int64)
    signature = np.empty(len(factors), np.uint32)
    for row in range(len(starts)):
        counts[row] = _shingle_parts(data, starts[row], ends[row], kinds, ngram, shingles, sizes)
        signature[:] = np.uint32(0xFFFFFFFF)
        at = 0
        for part in range(PARTS):
            some, first = shingles[at : at + sizes[part]], whole + part * of_part
            _lower(signature[:whole], some, factors[:whole])
            _lower(signature[first : first + of_part], some, factors[first : first + of_part])
            at += sizes[part]
        for band in range(bands):
            value = np.uint64(0)
            for k in range(band * width, band * width + width):
                value = value * FACTOR + np.uint64(signature[k])
            for k in range(whole + band, len(factors), bands):
                value = value * FACTOR + np.uint64(signature[k])
            found[row, band] = mix(value)
    return found, counts


@njit(cache=True, nogil=True)
def _sort(values, places, out):
    """Sort hashes into `out`: as they are uniform, each is put near its place, then moved.

    `places` has room for one more number than there are values.
    """
    size = np.uint64(len(values))
    places[: len(values) + 1] = 0
    for value in values:
        places[((value >> np.uint64(32)) * size >> np.uint64(32)) + np.uint64(1)] += 1
    for index in range(1, len(values)):
        places[index] += places[index - 1]
    for value in values:
        bucket = (value >> np.uint64(32)) * size >> np.uint64(32)
        out[places[bucket]] = value
        places[bucket] += 1
    for index in range(1, len(values)):
        value, at = out[index], index
        while at > 0 and out[at - 1] > value:
            out[at] = out[at - 1]
            at -= 1
        out[at] = value


@njit(cache=True, nogil=True)
def _sets(data, starts, ends, kinds, ngram):
    """The sorted different shingles of every part of every row, and each part's number of them."""
    room = capacity(starts, ends)
    shingles, ordered = np.empty((2, room), np.uint64)
    places = np.empty(room + 1, np.int64)
    found = np.empty((ends - starts).sum() // 2 + 2 * len(starts), np.uint64)
    counts = np.empty((len(starts), PARTS), np.int64)
    at = 0
    for row in range(len(starts)):
        sizes, read = counts[row], 0
        _shingle_parts(data, starts[row], ends[row], kinds, ngram, shingles, sizes)
        for part in range(PARTS):
            count, first = sizes[part], at
            _sort(shingles[read : read + count], places, ordered)
            for index in range(count):
                if index == 0 or ordered[index] != ordered[index - 1]:
                    found[at] = ordered[index]
                    at += 1
            read, sizes[part] = read + count, at - first
    return found[:at].copy(), counts


@njit(cache=True, nogil=True)
def _shared(one, two, threshold):
    """How much two sorted sets share; less where their Jaccard similarity is below `threshold`."""
    total = len(one) + len(two)
    # shared / (total - shared) >= t needs shared >= t * total / (1 + t); 1 for the rounding.
    needed = threshold * total / (1 + threshold) - 1
    shared = i = j = 0
    while i < len(one) and j < len(two) and shared + min(len(one) - i, len(two) - j) >= needed:
        shared += one[i] == two[j]
        i, j = i + (one[i] <= two[j]), j + (two[j] <= one[i])
    return shared


@njit(cache=True, nogil=True)
def _similar(shingles, one, two, sizes, others, threshold):
    """Whether two rows, whose sets start at `one` and `two`, are similar: see the module's head."""
    shared = total = 0
    for part in range(PARTS):
        left, right = shingles[one : one + sizes[part]], shingles[two : two + others[part]]
        both, size = _shared(left, right, threshold / 2), len(left) + len(right)
        if both < threshold / 2 * (size - both):
            return False
        shared, total = shared + both, total + size
        one, two = one + sizes[part], two + others[part]
    return shared >= threshold * (total - shared)


@njit(cache=True, nogil=True)
def _root(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def _join(members, bounds, shingles, starts, sizes, threshold, parent):
    """Join the similar texts of every bucket, members[bounds[k]:bounds[k + 1]], in `parent`."""
    for k in range(len(bounds) - 1):
        bucket = members[bounds[k] : bounds[k + 1]]
        for first in range(min(len(bucket), PIVOTS)):
            one, whole = bucket[first], True
            for two in bucket[first + 1 :]:
                a, b = _root(parent, one), _root(parent, two)
                if a == b:
                    continue
                if _similar(shingles, starts[one], starts[two], sizes[one], sizes[two], threshold):
                    parent[max(a, b)] = min(a, b)
                else:
                    whole = False
            if whole:
                break


@njit(cache=True, nogil=True)
def _unite(parent, ones, others):
    for k in range(len(ones)):
        a, b = _root(parent, ones[k]), _root(parent, others[k])
        parent[max(a, b)] = min(a, b)


def _buckets(band: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices that share a value with another, value by value, and where each value starts."""
    order = np.argsort(band, kind="stable")
    values = band[order]
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    sizes = np.diff(np.append(starts, len(band)))
    return order[np.repeat(sizes > 1, sizes)], np.cumsum(np.append(0, sizes[sizes > 1]))


def _sharing(bands: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The texts that share a band with another, and a few that do not: a sieve before the sort."""
    bits = np.uint64(64 - len(bands).bit_length() - 4)
    shares = np.zeros(len(bands), bool)
    for band in bands.T:
        values = np.sort(band)
        twice = np.zeros(1 << (64 - int(bits)), bool)
        twice[values[1:][values[1:] == values[:-1]] >> bits] = True
        shares |= twice[band >> bits]
    return np.flatnonzero(shares)


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
    found: tuple[Any, Any] = _bands(*texts, classes(), **numbers)
    return found


def _make_sets(texts: Texts, ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    found: tuple[Any, Any] = _sets(*texts, classes(), ngram)
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
    _join(*_buckets(band), shingles, starts, sizes, threshold, parent)
    later = np.flatnonzero(parent != before)
    return later, parent[later]


def clusters(
    table: pa.Table,
    positions: NDArray[np.int64],
    *,
    threshold: float,
    permutations: int,
    ngram: int,
) -> NDArray[np.int64]:
    """Find which of the rows at `positions` belong together.

    Args:
        table: has the columns instruction, input and response.
        positions: of rows with different texts, in the order of their content hashes.
        threshold: of the Jaccard similarity, in (0, 1].
        permutations: length of a MinHash signature.
        ngram: words a shingle.

    Returns:
        For every position the index of the first one in its cluster: its own where it is alone.
    """
    num_bands, width = shape(threshold, permutations)
    # Shingles are well mixed already: to multiply by an odd number modulo 2**32 permutes them.
    factors = np.random.default_rng(1).integers(0, 2**32, num_bands * width, np.uint32) | 1
    # Else the rows of one long context would all be compared with each other.
    own = int(width > 2 * PARTS)
    hash_bands = partial(_hash_bands, ngram=ngram, factors=factors, bands=num_bands, own=own)
    # What comes in the order of the table is put in the order of hashes.
    order = np.argsort(positions)
    bands = np.empty((len(positions), num_bands), np.uint64)
    sizes, at = np.empty(len(positions), np.int64), 0
    for found, counts in each(table, positions[order], hash_bands, "near duplicates"):
        places, at = order[at : at + len(counts)], at + len(counts)
        bands[places], sizes[places] = found, counts

    chosen = _sharing(bands)
    bands, order = bands[chosen], np.argsort(positions[chosen])
    shingles, at, end = np.empty(sizes[chosen].sum(), np.uint64), 0, 0
    sizes = np.empty((len(chosen), PARTS), np.int64)
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
        _unite(parent, *pairs)
    while (parent != parent[parent]).any():
        parent = parent[parent]
    first = np.arange(len(positions))
    first[chosen] = chosen[parent]
    return first
