"""Instruction-following difficulty: how little the question helps the model to the response.

IFD = (loss of the response behind its question) / (loss of the response by itself), both per token
of the response (Li et al. 2023, arXiv 2308.12032, Cherry LLM). A small model ranks rows much as a
large one does (Li et al. 2024, arXiv 2402.00530, Superfiltering). From 1 on the question does not
help at all, which both papers take for a sign that the response does not belong to it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from winnow.core.params import Range
from winnow.score.language_model import ModelScorer, ModelSettings
from winnow.score.scorers import Ready, Scores

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.score.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Ifd(ModelSettings):
    """The model, and which rows have no score."""

    maximum: Annotated[float, Range("(0, 1000]")] = 1.0
    """A row of this difficulty or more has no score: by default one that its question does not
    help."""

    def prepare(self, corpus: "Corpus") -> Ready:
        return _Ifd(self, self.maximum)


class _Ifd(ModelScorer):
    def __init__(self, settings: ModelSettings, maximum: float) -> None:
        super().__init__(settings)
        self.maximum = maximum

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        asked, tokens = self.losses(rows)
        alone, _ = self.losses(rows, is_alone=True)
        parts = zip(asked.tolist(), alone.tolist(), tokens.tolist(), strict=True)
        return [self._score(*part) for part in parts]

    def _score(self, asked: float, alone: float, tokens: int) -> float | str:
        if not tokens:
            return "no response within the context"
        if alone <= 0:
            return "the response is certain by itself"
        found = asked / alone
        return found if found < self.maximum else f"difficulty of {self.maximum:g} or more"
