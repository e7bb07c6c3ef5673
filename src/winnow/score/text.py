"""Text as bytes, for kernels: what a character is, and which words a text holds.

The kernels read UTF-8 straight from Arrow's buffers. What they know about Unicode is asked of
Python's own regular expressions once, so that they can only agree with them.
"""

import functools
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

SPACE, DIGIT, WORD, LETTER = 1, 2, 4, 8
r"""\s, \d, \w, and what becomes an ASCII letter in lower case."""


def buffers(texts: pa.Array) -> tuple[Bytes, Places]:
    """The bytes of an array of strings, and where each text starts and the last one ends."""
    large = texts.cast(pa.large_string())
    _, offsets, data = large.buffers()
    places = np.frombuffer(offsets, np.int64, len(large) + 1, 8 * large.offset)
    return np.frombuffer(data or b"", np.uint8), places


@functools.cache
def classes() -> Bytes:
    """The classes of every code point."""
    everything = "".join(map(chr, range(0x110000)))
    letters = r"[A-Za-z\u0130\u212a]+"  # capital I with a dot and the Kelvin sign
    found = np.zeros(len(everything), np.uint8)
    for bit, pattern in ((SPACE, r"\s+"), (DIGIT, r"\d+"), (WORD, r"\w+"), (LETTER, letters)):
        for match in re.finditer(pattern, everything):
            found[slice(*match.span())] |= bit
    return found


@njit(cache=True, nogil=True, inline="always")
def code_point(data, at):
    """The code point at a place, and its length in bytes."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 31) << 6 | data[at + 1] & 63, 2
    if first < 0xF0:
        return (first & 15) << 12 | (data[at + 1] & 63) << 6 | data[at + 2] & 63, 3
    high = (first & 7) << 18 | (data[at + 1] & 63) << 12
    return high | (data[at + 2] & 63) << 6 | data[at + 3] & 63, 4


def automaton(words: Sequence[str]) -> tuple[Bytes, npt.NDArray[np.uint32]]:
    """A machine that finds words in any case as it reads ASCII (Aho and Corasick 1975).

    Args:
        words: ASCII and lower case; 32 at most.

    Returns:
        The next state by state and character; by state, the words that end there: bit k is word k.
    """
    children: list[dict[int, int]] = [{}]
    ends = [0]
    for bit, word in enumerate(words):
        state = 0
        for byte in word.encode():
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
                ends.append(0)
            state = children[state][byte]
        ends[state] |= 1 << bit
    next_state = np.zeros((len(children), 128), np.uint8)
    assert len(children) <= 256
    # Breadth first: a state goes where its longest proper suffix goes, but for its own children.
    suffix, queue = [0] * len(children), [0]
    for state in queue:
        next_state[state] = next_state[suffix[state]]
        ends[state] |= ends[suffix[state]]
        for byte, child in children[state].items():
            suffix[child] = int(next_state[suffix[state], byte]) if state else 0
            next_state[state, byte] = child
            queue.append(child)
    upper = np.arange(ord("A"), ord("Z") + 1)
    next_state[:, upper] = next_state[:, upper + 32]
    return next_state, np.array(ends, np.uint32)
