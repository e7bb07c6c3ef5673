"""Which of some words a text holds, as a table for kernels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from winnow.core.utf8 import Bytes


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
