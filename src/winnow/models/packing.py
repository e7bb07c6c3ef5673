"""The compiled half of packing: which sequence every piece of a document goes into, and its tokens.

A piece is a document, or a window of one that is longer than a sequence.
"""

from typing import Any

import numpy as np

from winnow.core.kernels import njit


@njit(cache=True)
def pieces(starts: Any, ends: Any, length: int) -> Any:
    """The windows of documents, whose tokens are at starts to ends: the place of the first token of
    each, the number of its tokens, and whether its document begins with it."""
    number = 0
    for document in range(len(starts)):
        number += (ends[document] - starts[document] + length - 1) // length
    places, sizes = np.empty(number, np.int64), np.empty(number, np.int64)
    is_first = np.empty(number, np.bool_)
    piece = 0
    for document in range(len(starts)):
        for place in range(starts[document], ends[document], length):
            places[piece], sizes[piece] = place, min(length, ends[document] - place)
            is_first[piece] = place == starts[document]
            piece += 1
    return places, sizes, is_first


@njit(cache=True)
def best_fit(sizes: Any, order: Any, length: int) -> Any:
    """Best-fit decreasing: every piece goes where it leaves the least room (Ding et al. 2024,
    arXiv 2404.10830); of equal rooms into the one that was left last.

    Returns the sequence of each piece; `order` is that of the pieces, longest first.
    """
    last = np.full(length + 1, -1, np.int64)  # the sequence with so much room that was left last
    before = np.empty(len(sizes), np.int64)  # and the one that was left before this one
    found = np.empty(len(sizes), np.int64)
    number = 0
    for piece in order:
        room = sizes[piece]
        while room <= length and last[room] < 0:
            room += 1
        if room <= length:
            sequence = last[room]
            last[room] = before[sequence]
        else:
            sequence, room = number, length
            number += 1
        found[piece] = sequence
        left = room - sizes[piece]
        before[sequence] = last[left]
        last[left] = sequence
    return found


@njit(cache=True)
def next_fit(sizes: Any, length: int) -> Any:
    """The sequence of each piece, where they go in their order into one after the other."""
    found = np.empty(len(sizes), np.int64)
    sequence, room = 0, length
    for piece in range(len(sizes)):
        if sizes[piece] > room:
            sequence, room = sequence + 1, length
        found[piece] = sequence
        room -= sizes[piece]
    return found


@njit(cache=True)
def fill(
    ids: Any, targets: Any, places: Any, sizes: Any, is_first: Any, begins: Any, ends: Any, out: Any
) -> None:
    """Fill inputs, labels and positions, (sequences, 3, length).

    The pieces of each sequence are those from its `begins` to its `ends`. What is not written is an
    end-of-text, or padding.
    """
    inputs, labels, positions = out[:, 0], out[:, 1], out[:, 2]
    for row in range(len(begins)):
        end = 0
        for piece in range(begins[row], ends[row]):
            place = places[piece]
            if not is_first[piece]:
                inputs[row, end] = ids[place - 1]
            for at in range(sizes[piece]):
                labels[row, end + at] = targets[place + at]
                positions[row, end + at] = at
                if at:
                    inputs[row, end + at] = ids[place + at - 1]
            end += sizes[piece]
        for at in range(end, inputs.shape[1]):
            positions[row, at] = at - end


@njit(cache=True)
def count(targets: Any, ignored: int, places: Any, sizes: Any) -> Any:
    """The tokens of each piece that are not ignored."""
    found = np.zeros(len(sizes), np.int64)
    for piece in range(len(sizes)):
        for place in range(places[piece], places[piece] + sizes[piece]):
            found[piece] += targets[place] != ignored
    return found
