"""How surprising a text is to a language model: exp of its loss per token.

Which end is the better one is an open question: Marion et al. 2023 (When less is more, arXiv
2309.04564) keep the middle of pretraining text, Ankner et al. 2024 (arXiv 2405.20541) the middle or
the highest. By default the lowest is the best; `best: highest` turns it round.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from winnow.score.language_model import ModelScorer, ModelSettings
from winnow.score.scorers import Ready, Scores

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.score.corpus import Corpus

LARGEST = 700.0
"""Nats a token; beyond them a float has no place for the perplexity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Perplexity(ModelSettings):
    """The model, and whether it is shown the question."""

    best: Literal["highest", "lowest"] = "lowest"
    given: Literal["question", "nothing"] = "question"
    """What the model reads before the response, whose tokens alone are counted."""

    def prepare(self, corpus: "Corpus") -> Ready:
        return _Perplexity(self, self.given == "nothing")


class _Perplexity(ModelScorer):
    def __init__(self, settings: ModelSettings, is_alone: bool) -> None:
        super().__init__(settings)
        self.is_alone = is_alone

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        losses, tokens = self.losses(rows, self.is_alone)
        return [
            _perplexity(loss, number)
            for loss, number in zip(losses.tolist(), tokens.tolist(), strict=True)
        ]


def _perplexity(loss: float, tokens: int) -> float | str:
    if not tokens:
        return "no response within the context"
    return math.exp(loss / tokens) if loss <= LARGEST * tokens else "perplexity beyond all numbers"
