"""How much like a target a row is to a language model: cosines of pooled hidden states.

The representation is the position-weighted mean of the last hidden states over question and
response (Ivison et al. 2025, arXiv 2503.01807, RDS+). There every target row takes its nearest rows
in turn; here a row's score is its cosine to the nearest target row, or to all of them on average.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from winnow.core.errors import Refusal
from winnow.core.params import Text
from winnow.score.language_model import ModelScorer, ModelSettings
from winnow.score.scorers import Ready, Scores

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from winnow.score.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Rds(ModelSettings):
    """The model, a decoder, and the target."""

    target: Text
    """CSV, JSON lines or Parquet of rows that the tier is to be like; never of the test."""
    nearest: Literal["one", "all"] = "one"
    """The cosine to the nearest target row, or the mean over all of them."""

    def files(self) -> Mapping[str, str]:
        return {"target": self.target}

    def prepare(self, corpus: "Corpus") -> Ready:
        from winnow.score.tables import target_rows

        if self.family == "seq2seq":
            raise Refusal("family: expected causal, a decoder that reads question and response")
        return _Rds(self, target_rows("target", self.target, corpus.test_hashes))


class _Rds(ModelScorer):
    def __init__(self, settings: Rds, target: "pa.Table") -> None:
        super().__init__(settings)
        self.is_mean = settings.nearest == "all"
        self.target = self._vectors(target)

    def _vectors(self, rows: "pa.Table") -> "NDArray[np.float64]":
        from winnow.models.representations import pooled
        from winnow.models.row_losses import Window

        judged = self.judged
        sequences = [
            [judged.begin, *prompt.tolist(), *answer.tolist()][: judged.context]
            for prompt, answer in judged.parts(rows)
        ]
        windows = (Window(place, ids, [], 0) for place, ids in enumerate(sequences))
        self.flops = (self.flops or 0.0) + judged.flops(windows)
        with self.in_precision():
            return pooled(judged.network, sequences, self.settings.batch)

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        import pyarrow as pa

        from winnow.core.records import ROW_SCHEMA

        vectors = self._vectors(pa.Table.from_batches([rows.select(ROW_SCHEMA.names)]))
        cosines = vectors @ self.target.T
        scores: list[float] = (cosines.mean(1) if self.is_mean else cosines.max(1)).tolist()
        return scores

    def notes(self) -> Mapping[str, Any]:
        return {**super().notes(), "target_rows": len(self.target)}
