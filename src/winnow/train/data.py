"""Texts -> packed sequences of token ids."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from winnow.vocabulary import Tokens

IGNORED = -100
"""The label of padding, which no loss counts (PyTorch's default ignore_index)."""


def pack(documents: Iterable[Tokens], length: int, end_of_text: int) -> tuple[Tokens, Tokens]:
    """Lay documents end to end and cut sequences of `length` tokens.

    Args:
        documents: token ids, each with its end-of-text.
        length: of a sequence.
        end_of_text: the token before the first document, and the padding of the last sequence.

    Returns:
        Inputs and labels, both (sequences, length): the label is the next token, so no token is
        lost at a border; padding has the label IGNORED.
    """
    stream = np.concatenate([np.array([end_of_text], dtype=np.int32), *documents])
    count = -(-(len(stream) - 1) // length)
    padded = np.full(count * length + 1, IGNORED, dtype=np.int32)
    padded[: len(stream)] = stream
    inputs = padded[:-1].reshape(count, length).copy()
    labels = padded[1:].reshape(count, length)
    inputs[inputs == IGNORED] = end_of_text
    return inputs, labels


def shuffled(documents: list[Tokens], seed: int) -> list[Tokens]:
    """The documents in the order of a seed."""
    order = np.random.default_rng(seed).permutation(len(documents))
    return [documents[index] for index in order]


def epoch_order(sequences: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """In which order an epoch goes through the sequences: a function of seed and epoch alone, so
    that a resumed run goes on exactly where it was."""
    return np.random.default_rng([seed, epoch]).permutation(sequences)
