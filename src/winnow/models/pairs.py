"""Pairs of answers to one question, as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from winnow.models.sequences import Document

Answers = tuple[Document, ...]
"""The chosen answer behind its question, the rejected one, and others that are only read."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of answers, none longer than the context and each with a target."""

    answers: list[Answers]
    reference: npt.NDArray[np.float64]
    """Log-probability of every answer under the weights that the training starts from, in nats:
    (pairs, answers); NaN until it is filled in."""
    is_counted: bool = True

    @classmethod
    def of(cls, answers: Sequence[Answers], context: int) -> "Pairs":
        """Pairs cut at the context, without those of which an answer begins beyond it."""
        cut = [tuple(_cut(document, context) for document in pair) for pair in answers]
        kept = [pair for pair in cut if all(document.num_targets for document in pair)]
        return cls(kept, np.full((len(kept), len(kept[0]) if kept else 0), np.nan))

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, chosen: npt.NDArray[np.int64] | slice) -> "Pairs":
        places = np.arange(len(self))[chosen]
        answers = [self.answers[place] for place in places]
        return Pairs(answers, self.reference[places], self.is_counted)

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Tokens of each pair's chosen and rejected answer."""
        counts: npt.NDArray[np.int64] = self.tokens.sum(axis=1)
        return counts

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """Tokens of the chosen and of the rejected answers: (pairs, 2)."""
        counts = [[document.num_targets for document in pair[:2]] for pair in self.answers]
        return np.array(counts, np.int64).reshape(-1, 2)

    @property
    def num_targets(self) -> int:
        """Tokens of all chosen and rejected answers."""
        return int(self.targets.sum())

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Positions of every answer with its question: (pairs, answers)."""
        return np.array([[len(document.ids) for document in pair] for pair in self.answers])

    def peak(self, number: int) -> int:
        """Positions of so many pairs' chosen and rejected answers, at most."""
        return int(np.sort(self.sizes[:, :2].sum(axis=1))[-number:].sum())

    def silent(self) -> "Pairs":
        """The first pair, whose loss does not count."""
        return replace(self[:1], is_counted=False)


def _cut(document: Document, context: int) -> Document:
    return Document(document.ids[:context], document.labels[:context])
