"""One pass over a row's bytes and one over its tokens: the counts that the formulas need."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from winnow.core.kernels import njit
from winnow.core.utf8 import code_point, seek
from winnow.core.words import ALONE, DIGIT, SPACE, WORD

COUNTS = (
    "response_words",
    "response_hits",  # bits: the words of the automaton
    "listed",  # 1: a numbered line, or a hyphen before white space
    "stops",
    "sentences",  # of a word or more
    "sentence_words",
    "sentence_squares",  # sum of the squares of their numbers of words
    "cut_words",  # of the response, in scripts without spaces too
    "question_words",
    "question_hits",
    "tokens",
    "distinct_tokens",
    "distinct_bigrams",
)

DEF = 1 << 31
"""The bit of "def " in response_hits: the one pattern whose case matters."""

UNDERSCORE, BASE = np.uint64(ord("_") + 1), np.uint64(0x9E3779B97F4A7C15)
"""Of the hash by which a text is known: its bytes as a polynomial of an odd base, modulo 2^64."""


@njit(cache=True, nogil=True)
def _cuts(data, start, end, kinds):
    """How many words begin in a text without a space before them: see `winnow.core.words`."""
    cuts, in_word, at = 0, False, start
    while at < end:
        char, size = code_point(data, at)
        at += size
        if kinds[char] & ALONE:
            cuts += in_word
            at = np.int64(seek(data, at, end, kinds, SPACE | WORD))
            if at < end:
                cuts += kinds[code_point(data, at)[0]] & (WORD | ALONE) == WORD
        in_word = kinds[char] & SPACE == 0
    return cuts


@njit(cache=True, nogil=True)
def _scan(data, start, end, kinds, machine, ends, out):
    words = hits = state = stops = sentences = total = squares = spoken = met = 0
    in_word, in_piece = False, False  # of a word, of a word within a sentence
    listed, numbered, begun, hyphen = False, False, True, False  # begun: a line, so far digits
    at = start
    while at < end:
        char, size = code_point(data, at)
        state = np.int64(machine[state, char]) if size == 1 else 0
        hits |= np.int64(ends[state])
        kind = kinds[char]
        met |= kind
        if kind & SPACE:
            in_word = in_piece = False
            listed |= hyphen
            if char == 32 and at >= start + 3 and data[at - 1] == ord("f"):
                hits |= DEF * (data[at - 3] == ord("d") and data[at - 2] == ord("e"))
        else:
            words += not in_word
            in_word = True
            if char == 46:  # a stop
                listed |= numbered
                stops += 1
                sentences += spoken > 0
                total += spoken
                squares += spoken * spoken
                spoken, in_piece = 0, False
            else:
                spoken += not in_piece
                in_piece = True
        hyphen = char == 45
        numbered = begun and kind & DIGIT != 0
        begun = char == 10 or numbered
        at += size
    out[0], out[1], out[2], out[3] = words, hits, listed, stops
    out[4], out[5] = sentences + (spoken > 0), total + spoken
    out[6] = squares + spoken * spoken
    out[7] = words + (_cuts(data, start, end, kinds) if met & ALONE else 0)


@njit(cache=True, nogil=True)
def scan(data, offsets, borders, kinds, machine, ends, out):
    r"""Count what is in rows of a question, a space and a response.

    Args:
        data: bytes of UTF-8.
        offsets: where each row starts, and the last one ends.
        borders: where each row's question ends.
        kinds: the classes of every code point.
        machine: the automaton's next states.
        ends: the words that end in each state.
        out: rows by COUNTS.
    """
    for row in range(len(borders)):
        border = borders[row]
        _scan(data, offsets[row], border, kinds, machine, ends, out[row])
        out[row, 8], out[row, 9] = out[row, 0], out[row, 1]
        _scan(data, border + 1, offsets[row + 1], kinds, machine, ends, out[row])


def spell(vocabulary: Mapping[str, int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The hash of every token by id, and the power of the base by which it shifts another one."""
    size = max(vocabulary.values(), default=0) + 1
    hashes, powers = np.zeros(size, np.uint64), np.ones(size, np.uint64)
    base, modulus = int(BASE), (1 << 64) - 1
    for token, number in vocabulary.items():
        found, power = 0, 1
        for byte in token.encode():
            found, power = (found * base + byte + 1) & modulus, (power * base) & modulus
        hashes[number], powers[number] = found, power
    return hashes, powers


@njit(cache=True, nogil=True)
def count_tokens(ids, offsets, hashes, powers, out):
    """Count distinct tokens and bigrams of rows.

    Bigrams are known by the text "one_two", as documented: two that spell the same are one.

    Args:
        ids: of all rows.
        offsets: where each row starts in them, and the last one ends.
        hashes: of tokens, from `spell`.
        powers: of tokens, from `spell`.
        out: rows by COUNTS.
    """
    slots, longest = 16, np.append(np.diff(offsets), 1).max()
    while slots < 2 * longest:
        slots *= 2
    token_row = np.full(len(hashes), -1)
    slot_row, slot_hash = np.full(slots, -1), np.zeros(slots, np.uint64)
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        tokens = bigrams = 0
        for at in range(start, end):
            if token_row[ids[at]] != row:
                token_row[ids[at]] = row
                tokens += 1
            if at + 1 < end:
                one, two = ids[at], ids[at + 1]
                known = (hashes[one] * BASE + UNDERSCORE) * powers[two] + hashes[two]
                place = np.int64((known * BASE) >> np.uint64(32)) & (slots - 1)
                while slot_row[place] == row and slot_hash[place] != known:
                    place = (place + 1) & (slots - 1)
                if slot_row[place] != row:
                    slot_row[place], slot_hash[place] = row, known
                    bigrams += 1
        out[row, 10], out[row, 11], out[row, 12] = end - start, tokens, bigrams
