"""Documents of token ids -> sequences in which no document sees another one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from winnow.models.tokenizer import Tokens

IGNORED = -100
"""The label of padding, which no loss counts (PyTorch's default ignore_index)."""


T = TypeVar("T")


class Document(NamedTuple):
    """The tokens of a row, with its end."""

    ids: Tokens
    labels: Tokens
    """The same ids, IGNORED where a token is no target; of a seq2seq model the target's ids."""

    @classmethod
    def of(cls, ids: Tokens, first: int) -> "Document":
        """A document whose targets are the tokens from the place `first` on."""
        return cls(ids, np.where(np.arange(len(ids)) < first, np.int32(IGNORED), ids))

    @property
    def num_targets(self) -> int:
        """Tokens that a loss counts."""
        return int((self.labels != IGNORED).sum())


@dataclass(frozen=True, slots=True)
class Sequences:
    """Documents in rows; each array is (sequences, length)."""

    inputs: Tokens
    labels: Tokens
    """The next token; IGNORED at padding."""
    positions: Tokens
    """Counted from 0 in every document, which is how the model's attention tells them apart; of a
    seq2seq model -1 at the source's padding."""

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, chosen: npt.NDArray[np.int64] | slice) -> "Sequences":
        return Sequences(self.inputs[chosen], self.labels[chosen], self.positions[chosen])

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Tokens of each sequence that a loss counts."""
        counts: npt.NDArray[np.int64] = (self.labels != IGNORED).sum(axis=1)
        return counts

    @property
    def num_targets(self) -> int:
        """Tokens that a loss counts."""
        return int((self.labels != IGNORED).sum())

    def silent(self) -> "Sequences":
        """The first sequence, without a target."""
        return replace(self[:1], labels=np.full_like(self.labels[:1], IGNORED))


class Units(Protocol):
    """What the steps of an epoch are made of: sequences, or pairs of answers."""

    def __len__(self) -> int: ...
    def __getitem__(self, chosen: npt.NDArray[np.int64] | slice) -> Self: ...

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Tokens of each that a loss counts."""

    @property
    def num_targets(self) -> int:
        """Tokens of all that a loss counts."""

    def silent(self) -> Self:
        """One that no loss counts, for a process that has no other to compute."""


def _bins(sizes: list[int], length: int) -> Iterator[list[int]]:
    """Best-fit decreasing: every item goes where it leaves the least room (Ding et al. 2024,
    arXiv 2404.10830). Yields the items of each bin, by index."""
    bins: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(length + 1)]
    rooms = 0  # the rooms that some bin has, as bits
    for item in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        fitting = rooms >> sizes[item]
        if fitting:
            room = sizes[item] + (fitting & -fitting).bit_length() - 1
            index = by_room[room].pop()
            if not by_room[room]:
                rooms ^= 1 << room
        else:
            room, index = length, len(bins)
            bins.append([])
        bins[index].append(item)
        left = room - sizes[item]
        by_room[left].append(index)
        rooms |= 1 << left
    yield from bins


def _bins_in_order(sizes: list[int], length: int) -> Iterator[list[int]]:
    """Next fit: items go in their order into one bin after the other."""
    items: list[int] = []
    room = length
    for item, size in enumerate(sizes):
        if size > room:
            yield items
            items, room = [], length
        items.append(item)
        room -= size
    yield items


def pack(
    documents: list[Tokens],
    length: int,
    end_of_text: int,
    labels: list[Tokens] | None = None,
    in_order: bool = False,
) -> Sequences:
    """Fill sequences of `length` tokens with whole documents.

    Every document starts behind an end-of-text at position 0 and sees nothing else, as it does
    when the model is evaluated; one longer than `length` is cut into windows that start anew.

    Args:
        documents: token ids, each with its end-of-text.
        length: of a sequence; the model's context.
        end_of_text: the token before a document, and the padding.
        labels: of each document the same ids, IGNORED where a token is no target; None where all
            tokens are.
        in_order: keep the order of documents, at the price of more padding; else the fullest
            sequences that are easily found.
    """
    pairs = zip(documents, labels or documents, strict=True)
    pieces = [(*pair, at) for pair in pairs for at in range(0, len(pair[0]), length)]
    sizes = [min(length, len(document) - at) for document, _, at in pieces]
    bins = _bins_in_order if in_order else _bins
    return _filled(pieces, list(bins(sizes, length)), length, end_of_text)


def pad(
    documents: list[Tokens],
    length: int,
    end_of_text: int,
    labels: list[Tokens] | None = None,
) -> Sequences:
    """One row of `length` tokens a document, as the documented recipe reads literally.

    Behind an end-of-text like the packed ones; what is beyond `length` is cut off, and the rest of
    a shorter one's row is padding.
    """
    pieces = [(*pair, 0) for pair in zip(documents, labels or documents, strict=True)]
    return _filled(pieces, [[index] for index in range(len(pieces))], length, end_of_text)


def together(
    documents: list[Document], length: int, end_of_text: int, packing: bool = True
) -> tuple[Sequences, Tokens]:
    """Documents of no more than `length` tokens in as few sequences as hold them, as `pack` does
    it or a row a document, and no wider than the fullest.

    Returns:
        The sequences, and the place of the document that each label is of, -1 at padding.
    """
    ids, labels = ([*part] for part in zip(*documents, strict=True))
    sizes = list(map(len, ids))
    bins = list(_bins(sizes, length)) if packing else [[item] for item in range(len(sizes))]
    width = max(sum(sizes[item] for item in items) for items in bins)
    pieces = list(zip(ids, labels, [0] * len(sizes), strict=True))
    owners = np.full((len(bins), width), -1, np.int32)
    for row, items in zip(owners, bins, strict=True):
        row[: sum(sizes[item] for item in items)] = np.repeat(items, [sizes[i] for i in items])
    return _filled(pieces, bins, width, end_of_text), owners


def _filled(
    pieces: list[tuple[Tokens, Tokens, int]],
    bins: list[list[int]],
    length: int,
    end_of_text: int,
) -> Sequences:
    """A sequence for each bin of pieces; a piece is a document and its labels from a token on."""
    ramp = np.arange(length, dtype=np.int32)
    shape = (len(bins), length)
    packed = Sequences(
        np.full(shape, end_of_text, np.int32),
        np.full(shape, IGNORED, np.int32),
        np.zeros(shape, np.int32),
    )
    for row, items in enumerate(bins):
        place = 0
        for item in items:
            document, labels, at = pieces[item]
            size = min(length, len(document) - at)
            end = place + size
            packed.labels[row, place:end] = labels[at : at + size]
            packed.inputs[row, place + 1 : end] = document[at : at + size - 1]
            if at:
                packed.inputs[row, place] = document[at - 1]
            packed.positions[row, place:end] = ramp[:size]
            place = end
        packed.positions[row, place:] = ramp[: length - place]
    return packed


def shuffled(documents: list[T], seed: int, keys: npt.NDArray[np.float64] | None = None) -> list[T]:
    """The documents in the order of a seed; with keys the lowest first, of equal ones by the seed,
    and those whose key is NaN last."""
    order = np.random.default_rng(seed).permutation(len(documents))
    if keys is not None:
        order = order[np.argsort(keys[order], kind="stable")]
    return [documents[index] for index in order]


def epoch_order(
    sequences: int, seed: int, epoch: int, in_order: bool = False
) -> npt.NDArray[np.int64]:
    """In which order an epoch goes through the sequences: a function of seed and epoch alone, so
    that a resumed run goes on exactly where it was. In theirs where `in_order`."""
    if in_order:
        return np.arange(sequences)
    return np.random.default_rng([seed, epoch]).permutation(sequences)


def steps_to(
    sequences: Units, tokens: int, sequences_per_step: int, seed: int, in_order: bool = False
) -> int:
    """Optimizer steps after which at least so many tokens were targets, in `epoch_order`."""
    epochs, rest = divmod(tokens, sequences.num_targets)
    steps = epochs * -(-len(sequences) // sequences_per_step)
    if rest:
        order = epoch_order(len(sequences), seed, epochs, in_order)
        targets = sequences.targets[order]
        seen = np.add.reduceat(targets, np.arange(0, len(order), sequences_per_step)).cumsum()
        steps += int(np.searchsorted(seen, rest)) + 1
    return steps
