"""Kernels that fold texts, cut them into shingles, and join texts whose shingles are alike.

They are compiled by numba, which checks their types.
"""

import numpy as np

from winnow.core.kernels import njit
from winnow.core.utf8 import code_point, seek
from winnow.core.words import ALONE, SPACE, WORD

NUM_PARTS = 3
"""Instruction, input and response, which a row's folded text holds between the bytes 31."""

ONE = np.uint64(1)
"""Kernels count bytes with unsigned numbers: at a signed one numba asks each time whether it is
counted from the end, which took a third of the time."""

PIVOTS = 256
"""In a bucket of more texts than these, all are compared with the first ones by hash alone: the
work grows linearly however many texts share a template, and no order of rows decides."""

LETTERS = np.random.default_rng(0).integers(0, 2**64, 256, np.uint64)
"""A random number for every byte, of which the hashes of words are made."""

FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Of the polynomials by which sequences are hashed."""


@njit(cache=True, nogil=True)
def fold_text(data, index, end, images, out, at):
    """Write the image of data[index:end] with single spaces to out[at:]; -1 where there is none."""
    index, end, start, at, gap = np.uint64(index), np.uint64(end), at, np.uint64(at), ONE
    while index < end:
        code = np.uint64(data[index])
        if code < np.uint64(0x80):
            # Without branches: where words end cannot be predicted.
            image = images[code]
            space = np.uint64(image == 32)
            out[at] = image
            at += ONE - (gap & space)
            gap = space
            index += ONE
            continue
        code, size = code_point(data, index)
        index += np.uint64(size)
        image = images[code] if code < len(images) else np.int64(-1)
        if image < 0:
            return -1
        space = np.uint64(image == 32)
        image *= np.int64(ONE - (gap & space))
        gap = space | (gap & np.uint64(image == 0))
        while image:
            out[at] = image & 0xFF
            image >>= 8
            at += ONE
    return np.int64(at) - np.int64(gap == ONE and np.int64(at) > start)


@njit(cache=True, nogil=True)
def fold_rows(parts, images, out, starts, ends):
    """Fold all rows, parts joined by U+001F; rows without an image get the end -1."""
    at = 0
    for row in range(len(starts)):
        starts[row] = at
        end = at - 1
        for data, offsets in parts:
            if end >= at:
                out[end] = 31
            end = fold_text(data, offsets[row], offsets[row + 1], images, out, end + 1)
            if end < 0:
                break
        ends[row] = end
        at = max(at, end)
    return at


@njit(cache=True, nogil=True)
def mix(value):
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit depends on every bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, nogil=True)
def spell(data, at, end, word):
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
            out[length] = spell(data, at, stop, np.uint64(0))
            length += ONE
            word, inside = np.uint64(0), np.uint64(0)
        else:
            word, inside = spell(data, at, stop, word), ONE
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
def shingle_parts(data, start, end, kinds, ngram, out, counts):
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
def lower(signature, shingles, factors):
    """Take the least hashes of some shingles into a signature."""
    # Two at once, as the signature is then read and written half as often.
    for index in range(0, len(shingles), 2):
        a = np.uint32(shingles[index])
        b = np.uint32(shingles[min(index + 1, len(shingles) - 1)])
        for k in range(len(factors)):
            least = min(np.uint32(factors[k] * a), np.uint32(factors[k] * b))
            signature[k] = min(signature[k], least)


@njit(cache=True, nogil=True)
def bands_of(data, starts, ends, kinds, ngram, factors, bands, own):
    """The bands of every row's MinHash signature, each hashed, and the number of its shingles.

    Of the hashes in a band, `own` are of each part alone, and the others of the whole row.
    """
    width = len(factors) // bands - own * NUM_PARTS
    whole, of_part = bands * width, bands * own
    found = np.empty((len(starts), bands), np.uint64)
    counts = np.empty(len(starts), np.int64)
    shingles = np.empty(capacity(starts, ends), np.uint64)
    sizes = np.empty(NUM_PARTS, np.int64)
    signature = np.empty(len(factors), np.uint32)
    for row in range(len(starts)):
        counts[row] = shingle_parts(data, starts[row], ends[row], kinds, ngram, shingles, sizes)
        signature[:] = np.uint32(0xFFFFFFFF)
        at = 0
        for part in range(NUM_PARTS):
            some, first = shingles[at : at + sizes[part]], whole + part * of_part
            lower(signature[:whole], some, factors[:whole])
            lower(signature[first : first + of_part], some, factors[first : first + of_part])
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
def sort_hashes(values, places, out):
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
def sets_of(data, starts, ends, kinds, ngram):
    """The sorted different shingles of every part of every row, and each part's number of them."""
    room = capacity(starts, ends)
    shingles, ordered = np.empty((2, room), np.uint64)
    places = np.empty(room + 1, np.int64)
    found = np.empty((ends - starts).sum() // 2 + 2 * len(starts), np.uint64)
    counts = np.empty((len(starts), NUM_PARTS), np.int64)
    at = 0
    for row in range(len(starts)):
        sizes, read = counts[row], 0
        shingle_parts(data, starts[row], ends[row], kinds, ngram, shingles, sizes)
        for part in range(NUM_PARTS):
            count, first = sizes[part], at
            sort_hashes(shingles[read : read + count], places, ordered)
            for index in range(count):
                if index == 0 or ordered[index] != ordered[index - 1]:
                    found[at] = ordered[index]
                    at += 1
            read, sizes[part] = read + count, at - first
    return found[:at].copy(), counts


@njit(cache=True, nogil=True)
def may_share(values, bits):
    """Whether another value has the same leading bits, for each of some hashes: a sieve before the
    sort, whose two bits for every leading number stay in the processor's caches.
    """
    once, twice = np.zeros((2, (1 << bits) // 64 + 1), np.uint64)
    shift, found = np.uint64(64 - bits), np.empty(len(values), np.bool_)
    for value in values:
        word, bit = value >> shift >> np.uint64(6), ONE << (value >> shift & np.uint64(63))
        twice[word] |= once[word] & bit
        once[word] |= bit
    for index in range(len(values)):
        start = values[index] >> shift
        found[index] = twice[start >> np.uint64(6)] >> (start & np.uint64(63)) & ONE
    return found


@njit(cache=True, nogil=True)
def num_shared(one, two, threshold):
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
def are_similar(shingles, one, two, sizes, others, threshold):
    """Whether two rows, whose sets start at `one` and `two`, are similar: see the module's head."""
    shared = total = 0
    for part in range(NUM_PARTS):
        left, right = shingles[one : one + sizes[part]], shingles[two : two + others[part]]
        both, size = num_shared(left, right, threshold / 2), len(left) + len(right)
        if both < threshold / 2 * (size - both):
            return False
        shared, total = shared + both, total + size
        one, two = one + sizes[part], two + others[part]
    return shared >= threshold * (total - shared)


@njit(cache=True, nogil=True)
def root_of(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def join(members, bounds, shingles, starts, sizes, threshold, parent):
    """Join the similar texts of every bucket, members[bounds[k]:bounds[k + 1]], in `parent`."""
    for k in range(len(bounds) - 1):
        bucket = members[bounds[k] : bounds[k + 1]]
        for first in range(min(len(bucket), PIVOTS)):
            one, whole = bucket[first], True
            for two in bucket[first + 1 :]:
                a, b = root_of(parent, one), root_of(parent, two)
                if a == b:
                    continue
                if are_similar(
                    shingles, starts[one], starts[two], sizes[one], sizes[two], threshold
                ):
                    parent[max(a, b)] = min(a, b)
                else:
                    whole = False
            if whole:
                break


@njit(cache=True, nogil=True)
def unite(parent, ones, others):
    for k in range(len(ones)):
        a, b = root_of(parent, ones[k]), root_of(parent, others[k])
        parent[max(a, b)] = min(a, b)


@njit(cache=True, nogil=True)
def pack(weights, budget):
    """Put things, one after the other, into partitions of at most a budget; a heavier one alone."""
    found = np.empty(len(weights), np.int64)
    number, used = 0, 0
    for index in range(len(weights)):
        if used and used + weights[index] > budget:
            number, used = number + 1, 0
        used += weights[index]
        found[index] = number
    return found
