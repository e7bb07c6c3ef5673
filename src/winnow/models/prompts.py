"""Prompts that a model answers while it is trained, as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from winnow.models.tokenizer import Tokens


class Prompt(NamedTuple):
    """A row's question."""

    ids: Tokens
    """In its frame, up to where a response begins."""
    question: str
    response: str
    """The row's own, which is looked for in an answer where a program rewards."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts that leave room for an answer."""

    prompts: list[Prompt]
    places: npt.NDArray[np.int64]
    """Of each among all."""
    targets_each: int
    """Tokens of all answers to one, at most: how many they become is not known before."""

    @classmethod
    def of(
        cls, prompts: Sequence[Prompt], context: int, max_new_tokens: int, samples: int
    ) -> "Prompts":
        """Those whose answers of so many tokens end within the context."""
        kept = [one for one in prompts if len(one.ids) + max_new_tokens <= context]
        return cls(kept, np.arange(len(kept)), samples * max_new_tokens)

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, chosen: npt.NDArray[np.int64] | slice) -> "Prompts":
        places = np.arange(len(self))[chosen]
        prompts = [self.prompts[place] for place in places]
        return Prompts(prompts, self.places[chosen], self.targets_each)

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """Tokens of each prompt's answers, at most."""
        return np.full(len(self), self.targets_each)

    @property
    def num_targets(self) -> int:
        """Tokens of all answers, at most."""
        return len(self) * self.targets_each

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """Positions of each prompt itself."""
        return np.array([len(one.ids) for one in self.prompts], np.int64)

    def silent(self) -> "Prompts":
        """None: a single process trains on prompts."""
        return self[:0]
