"""How much likelier a row's words are in a target than in the pool: importance by hashed n-grams.

log w = sum over the words and pairs of words of a row of log(p_target / p_pool), where p is how
often their bucket is met (Xie et al. 2023, arXiv 2302.03169, Data selection by importance
resampling; 10,000 buckets, 1e-8 added to each probability). It is a sum, so that long rows go far
to either side: hold it against a control of the same lengths. Without a `seed`, `top` takes the
highest weights; with one, noise from Gumbel's distribution is added, and `top` draws without
replacement in proportion to the weights, as the paper does.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from winnow.core.params import Range, Seed, Text
from winnow.score.scorers import Ready, Scores, Settings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from winnow.score.corpus import Corpus

SMALLEST = 1e-8
"""Added to every probability, so that a bucket that was never met has a logarithm."""
ROWS = 4096
"""Rows whose words are counted at once: a matter of memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dsir(Settings):
    """The target, and how words are counted."""

    target: Text
    """CSV, JSON lines or Parquet of rows that the tier is to be like; never of the test."""
    buckets: Annotated[int, Range("[2, 100000000]")] = 10_000
    """Of the hash."""
    seed: Seed | None = None
    """Of the noise; none is added without it."""

    def files(self) -> Mapping[str, str]:
        return {"target": self.target}

    def prepare(self, corpus: "Corpus") -> Ready:
        from winnow.score.tables import target_rows

        target = target_rows("target", self.target, corpus.test_hashes)
        wanted = sum(_counts(batch, self.buckets) for batch in target.to_batches(ROWS))
        there = sum(_counts(batch, self.buckets) for batch in corpus.batches("train", ROWS))
        return _Dsir(_log_share(wanted) - _log_share(there), self.seed, len(target))


def _counts(rows: "pa.RecordBatch", buckets: int) -> Any:
    """How often each bucket is met in some rows."""
    import numpy as np

    return np.asarray(_matrix(rows, buckets).sum(axis=0)).ravel()


def _matrix(rows: "pa.RecordBatch", buckets: int) -> Any:
    from winnow.core import ngrams
    from winnow.core.records import prose

    return ngrams.counts(prose(rows).to_pylist(), buckets)


def _log_share(counts: Any) -> "NDArray[np.float64]":
    import numpy as np

    shares: NDArray[np.float64] = np.log(counts / counts.sum() + SMALLEST)
    return shares


def gumbel(seed: int, content: str) -> float:
    """Noise from the standard Gumbel distribution, a matter of the seed and a content hash."""
    digest = hashlib.blake2b(f"dsir/{seed}/{content}".encode(), digest_size=8).digest()
    return -math.log(-math.log((int.from_bytes(digest, "little") + 0.5) / 2**64))


@dataclass(frozen=True, slots=True)
class _Dsir(Ready):
    is_parallel = True
    log_ratio: Any
    """(buckets,)."""
    seed: int | None
    num_target: int

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        weights = _matrix(rows, len(self.log_ratio)) @ self.log_ratio
        if self.seed is not None:
            weights += [gumbel(self.seed, content) for content in rows["hash"].to_pylist()]
        scores: list[float] = weights.tolist()
        return scores

    def notes(self) -> Mapping[str, Any]:
        return {"target_rows": self.num_target}
