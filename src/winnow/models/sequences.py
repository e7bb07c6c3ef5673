"""Documents of token ids -> sequences in which no document sees another one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from winnow.models.tokenizer import Tokens

IGNORED = -100
"""The label of padding, which no loss counts (PyTorch's default ignore_index)."""

D = TypeVar("D", "Documents", list[Any])


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


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """Documents whose tokens lie in one array, in an order of their own: 16 bytes a document beside
    its tokens."""

    ids: Tokens
    labels: Tokens
    """See Document; the same array where all tokens are targets."""
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    """The places of each document's tokens."""

    @classmethod
    def of(cls, documents: "Written") -> "Documents":
        """Documents, or token ids with their ends that are all targets, in one array."""
        if isinstance(documents, Documents):
            return documents
        pairs = [one if isinstance(one, Document) else Document(one, one) for one in documents]
        empty = np.zeros(0, np.int32)
        ids = labels = np.concatenate([empty, *(pair.ids for pair in pairs)])
        if any(pair.labels is not pair.ids for pair in pairs):
            labels = np.concatenate([empty, *(pair.labels for pair in pairs)])
        return cls.cut(ids, labels, np.array([len(pair.ids) for pair in pairs], np.int64))

    @classmethod
    def cut(cls, ids: Tokens, labels: Tokens, sizes: npt.NDArray[np.int64]) -> "Documents":
        """Documents of these sizes, one behind the other."""
        ends = np.cumsum(sizes)
        return cls(ids, labels, ends - sizes, ends)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, at: int) -> Document:
        place = slice(self.starts[at], self.ends[at])
        return Document(self.ids[place], self.labels[place])

    def __iter__(self) -> Iterator[Document]:
        return map(self.__getitem__, range(len(self)))

    def taken(self, order: npt.NDArray[np.int64]) -> "Documents":
        """Some of the documents, in another order; no token is copied."""
        return replace(self, starts=self.starts[order], ends=self.ends[order])

    @property
    def num_targets(self) -> int:
        """Tokens that a loss counts."""
        if self.labels is self.ids:
            return int((self.ends - self.starts).sum())
        return sum(document.num_targets for document in self)


Written = Documents | Sequence[Document] | Sequence[Tokens]
"""Documents in any form."""


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
        counts: npt.NDArray[np.int64] = np.count_nonzero(self.labels != IGNORED, axis=1)
        return counts

    @property
    def num_targets(self) -> int:
        """Tokens that a loss counts."""
        return int(self.targets.sum())

    def silent(self) -> "Sequences":
        """The first sequence, without a target."""
        return replace(self[:1], labels=np.full_like(self.labels[:1], IGNORED))


class Units(Protocol):
    """What the steps of an epoch are made of: sequences, or pairs of answers."""

    def __len__(self) -> int: ...
    def __getitem__(self, chosen: npt.NDArray[np.int64] | slice) -> Any:
        """Some of them, which are units too."""

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Tokens of each that a loss counts."""

    @property
    def num_targets(self) -> int:
        """Tokens of all that a loss counts."""

    def silent(self) -> Any:
        """One that no loss counts, for a process that has no other to compute."""


class _Pieces(NamedTuple):
    """Documents, or windows of them, in the order of the sequences that hold them."""

    order: npt.NDArray[np.int64]
    """Their places before."""
    places: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    is_first: npt.NDArray[np.bool_]
    """See `packing.pieces`."""
    borders: npt.NDArray[np.int64]
    """Where those of each sequence begin, and the last ones end."""

    @classmethod
    def of(cls, sequences: Any, order: Any, *pieces: Any) -> "_Pieces":
        """The pieces by their sequences; those of one stay in an order."""
        order = order[np.argsort(sequences[order], kind="stable")]
        borders = np.append(0, np.cumsum(np.bincount(sequences)))
        places, sizes, is_first = (column[order] for column in pieces)
        return cls(order, places, sizes, is_first, borders)


@dataclass(frozen=True, slots=True)
class Packed:
    """Sequences that are filled when they are asked for: until then there are the tokens of their
    documents, wherever those lie, and some 50 bytes a document."""

    documents: Documents
    pieces: _Pieces
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    """Which of the pieces are in each sequence."""
    length: int
    end_of_text: int

    @classmethod
    def of(cls, documents: Documents, pieces: _Pieces, length: int, end_of_text: int) -> "Packed":
        """All sequences of the pieces, in their order."""
        borders = pieces.borders
        return cls(documents, pieces, borders[:-1], borders[1:], length, end_of_text)

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, chosen: npt.NDArray[np.int64] | slice) -> Sequences:
        from winnow.models import packing

        some = self.taken(chosen)
        made = np.zeros((len(some), 3, self.length), np.int32)
        made[:, 0], made[:, 1] = self.end_of_text, IGNORED
        _, places, sizes, is_first, _ = self.pieces
        ids, labels = self.documents.ids, self.documents.labels
        packing.fill(ids, labels, places, sizes, is_first, some.begins, some.ends, made)
        return Sequences(made[:, 0], made[:, 1], made[:, 2])

    def taken(self, chosen: npt.NDArray[np.int64] | slice) -> "Packed":
        """Some of the sequences, not filled either."""
        return replace(self, begins=self.begins[chosen], ends=self.ends[chosen])

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Tokens of each sequence that a loss counts."""
        from winnow.models import packing

        _, places, sizes, _, _ = self.pieces
        labels = self.documents.labels
        if labels is not self.documents.ids:
            sizes = packing.count(labels, IGNORED, places, sizes)
        before: npt.NDArray[np.int64] = np.append(0, np.cumsum(sizes))
        return before[self.ends] - before[self.begins]

    @property
    def num_targets(self) -> int:
        """Tokens that a loss counts."""
        return int(self.targets.sum())

    def silent(self) -> Sequences:
        """The first sequence, without a target."""
        return self[:1].silent()


def pack(documents: Written, length: int, end_of_text: int, in_order: bool = False) -> Packed:
    """Fill sequences of `length` tokens with whole documents.

    Every document starts behind an end-of-text at position 0 and sees nothing else, as it does
    when the model is evaluated; one longer than `length` is cut into windows that start anew.

    Args:
        documents: each with its end-of-text; of token ids alone all are targets.
        length: of a sequence; the model's context.
        end_of_text: the token before a document, and the padding.
        in_order: keep the order of documents, at the price of more padding; else the fullest
            sequences that are easily found.

    Returns:
        The sequences, of which none is filled yet.
    """
    flat = Documents.of(documents)
    return Packed.of(flat, _fitted(flat, length, in_order), length, end_of_text)


def _fitted(documents: Documents, length: int, in_order: bool = False) -> _Pieces:
    from winnow.models import packing

    places, sizes, is_first = packing.pieces(documents.starts, documents.ends, length)
    order = np.arange(len(sizes)) if in_order else np.argsort(-sizes, kind="stable")
    found = packing.next_fit(sizes, length) if in_order else packing.best_fit(sizes, order, length)
    return _Pieces.of(found, order, places, sizes, is_first)


def pad(documents: Written, length: int, end_of_text: int) -> Packed:
    """One row of `length` tokens a document, as the documented recipe reads literally.

    Behind an end-of-text like the packed ones; what is beyond `length` is cut off, and the rest of
    a shorter one's row is padding. See `pack`.
    """
    flat = Documents.of(documents)
    return Packed.of(flat, _alone(flat, length), length, end_of_text)


def _alone(documents: Documents, length: int) -> _Pieces:
    """Each document, cut at a length, in a sequence of its own."""
    each = np.arange(len(documents))
    sizes = np.minimum(documents.ends - documents.starts, length)
    return _Pieces.of(each, each, documents.starts, sizes, np.ones(len(each), bool))


def together(
    documents: Sequence[Document], length: int, end_of_text: int, packing: bool = True
) -> tuple[Sequences, Tokens]:
    """Documents of no more than `length` tokens in as few sequences as hold them, as `pack` does
    it or a row a document, and no wider than the fullest.

    Returns:
        The sequences, and the place of the document that each label is of, -1 at padding.
    """
    flat = Documents.of(documents)
    pieces = _fitted(flat, length) if packing else _alone(flat, length)
    filled = np.add.reduceat(pieces.sizes, pieces.borders[:-1])
    owners = np.full((len(filled), filled.max()), -1, np.int32)
    is_filled = np.arange(owners.shape[1]) < filled[:, None]
    owners[is_filled] = np.repeat(pieces.order, pieces.sizes)
    return Packed.of(flat, pieces, owners.shape[1], end_of_text)[:], owners


def shuffled(documents: D, seed: int, keys: npt.NDArray[np.float64] | None = None) -> D:
    """The documents in the order of a seed; with keys the lowest first, of equal ones by the seed,
    and those whose key is NaN last."""
    order = np.random.default_rng(seed).permutation(len(documents))
    if keys is not None:
        order = order[np.argsort(keys[order], kind="stable")]
    if isinstance(documents, Documents):
        return documents.taken(order)
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
