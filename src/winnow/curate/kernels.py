"""The kernels of curation alone, compiled by numba, which checks their types.

Of texts: n-grams that are searched, words that are counted and projected; of rows: clusters that
are held out, rows that stay.
"""

import numpy as np

from winnow.core.kernels import njit
from winnow.core.shingles import FACTOR, ONE, capacity, mix, shingle

SIZE = 256
"""Numbers in a vector of words. At a cosine of c the projection errs by (1 - c * c) / 16."""

SHIFT = np.uint64(44)


@njit(cache=True, nogil=True)
def grams_of(data, starts, ends, kinds, ngram):
    """The n-grams of all texts, hashed, or a shorter text whole, and how many each has."""
    own = np.empty(capacity(starts, ends), np.uint64)
    found = np.empty((ends - starts).sum() // 2 + 2 * len(starts), np.uint64)
    counts, at = np.empty(len(starts), np.int64), 0
    for row in range(len(starts)):
        words = shingle(data, starts[row], ends[row], kinds, 1, own)
        counts[row] = max(1, words - ngram + 1)
        for index in range(counts[row]):
            value = np.uint64(0)
            for word in own[index : min(index + ngram, words)]:
                value = value * FACTOR + word
            found[at + index] = mix(value)
        at += counts[row]
    return found[:at].copy(), counts


@njit(cache=True, nogil=True)
def search(data, starts, ends, kinds, lengths, keys, items, sieve, shift):
    """By text the item that its first known stretch of words is of; -1 for none.

    `lengths` says which numbers of words are searched; the last one is n.
    """
    own = np.empty(capacity(starts, ends), np.uint64)
    found = np.full(len(starts), -1)
    for row in range(len(starts)):
        words = shingle(data, starts[row], ends[row], kinds, 1, own)
        for index in range(words):
            value = np.uint64(0)
            for size in range(1, min(len(lengths), words - index + 1)):
                value = value * FACTOR + own[index + size - 1]
                if lengths[size]:
                    gram = mix(value)
                    if sieve[gram >> shift]:
                        near = np.searchsorted(keys, gram)
                        if near < len(keys) and keys[near] == gram:
                            found[row] = items[near]
                            break
            if found[row] >= 0:
                break
    return found


@njit(cache=True, nogil=True)
def sorted_words(data, start, end, kinds, out):
    """Write the hashes of a text's words to `out`, sorted, and return how many there are."""
    count = shingle(data, start, end, kinds, 1, out)
    if count == 1 and out[0] == 0:
        return 0  # no word at all
    out[:count].sort()
    return count


@njit(cache=True, nogil=True)
def slots_of(data, starts, ends, kinds):
    """The slots of the different words of every text, one after the other."""
    own = np.empty(capacity(starts, ends), np.uint64)
    found = np.empty((ends - starts).sum() // 2 + 2 * len(starts), np.int64)
    at = 0
    for row in range(len(starts)):
        for index in range(sorted_words(data, starts[row], ends[row], kinds, own)):
            if index == 0 or own[index] != own[index - 1]:
                found[at] = np.int64(own[index] >> SHIFT)
                at += 1
    return found[:at].copy()


@njit(cache=True, nogil=True)
def project_words(data, starts, ends, kinds, weights):
    """Every text's TF-IDF vector, projected by signs that are the bits of the words' hashes."""
    own = np.empty(capacity(starts, ends), np.uint64)
    found = np.zeros((len(starts), SIZE), np.float32)
    for row in range(len(starts)):
        vector, first = found[row], 0
        count = sorted_words(data, starts[row], ends[row], kinds, own)
        for index in range(count):
            if index + 1 < count and own[index + 1] == own[index]:
                continue
            weight = weights[own[index] >> SHIFT] * np.float32(1 + np.log(index + 1 - first))
            first = index + 1
            for part in range(SIZE // 64):
                bits = mix(own[index] + np.uint64(part + 1) * FACTOR)
                for bit in range(64):
                    sign = np.float32(np.int64(bits >> np.uint64(bit) & ONE) * 2 - 1)
                    vector[64 * part + bit] += sign * weight
        length = np.sqrt((vector * vector).sum())
        if length > 0:
            vector /= length
    return found


@njit(cache=True, nogil=True)
def fill(order, sizes, groups, room, split, index):
    """Give every cluster in turn to the split `index` where it fits what is left of its group."""
    for cluster in order:
        group = groups[cluster]
        if split[cluster] == 0 and sizes[cluster] <= room[group]:
            split[cluster] = index
            room[group] -= sizes[cluster]


@njit(cache=True, nogil=True)
def settle(cosines, first, threshold, best, nearest):
    """Within a block, row by row: which stay, and what the later ones are most similar to."""
    for one in range(len(cosines)):
        if best[one] < threshold:
            for two in range(one + 1, len(cosines)):
                if cosines[one, two] > best[two]:
                    best[two], nearest[two] = cosines[one, two], first + one
