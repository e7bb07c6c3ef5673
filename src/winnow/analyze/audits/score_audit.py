"""What does the score see? Its spread, where it saturates, what follows length or source, and what
each of its dimensions decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from winnow.analyze.ranks import Floats, by_hash, rank_correlation, top
from winnow.core.records import DIMENSIONS, WEIGHTS

MEASURES = ("score", *DIMENSIONS)


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureAudit:
    """Of the score, or of one of its dimensions, over the pool."""

    mean: float
    std: float
    share_at_maximum: float
    """Of the rows: those cannot be told apart."""
    rank_correlation_with_length: float | None
    """Spearman's; length is in tokens."""
    variance_between_sources: float | None
    top_that_changes_without_it: float | None
    """Of the score's top, the share that is not on top of the score without this dimension."""
    reasons: Mapping[str, str] = field(default_factory=dict)


def _share_between(groups: pa.ChunkedArray, values: Floats) -> float | None:
    """The share of the variance that lies between groups (eta squared); None where none varies."""
    codes = groups.combine_chunks().dictionary_encode().indices.to_numpy()
    total = float(((values - values.mean()) ** 2).sum())
    counts = np.bincount(codes)
    means = np.bincount(codes, values) / counts
    return float((counts * (means - values.mean()) ** 2).sum() / total) if total > 0 else None


def _audit(name: str, pool: pa.Table, lengths: Floats) -> MeasureAudit:
    values = pool[name].to_numpy().astype(np.float64)
    correlation = rank_correlation(values, lengths)
    between = _share_between(pool["source"], values)
    why = "it, or the length, is the same in all rows"
    reasons = {}
    if correlation is None:
        reasons["rank_correlation_with_length"] = why
    if between is None:
        reasons["variance_between_sources"] = why
    changes = None
    if name in WEIGHTS:
        scores, ties = pool["score"].to_numpy(), by_hash(pool)
        highest = top(scores, ties)
        without = top(scores - WEIGHTS[name] * values, ties)
        changes = 1 - len(highest & without) / len(highest)
    else:
        reasons["top_that_changes_without_it"] = "it is the score"
    return MeasureAudit(
        mean=float(values.mean()),
        std=float(values.std()),
        share_at_maximum=float((values == values.max()).mean()),
        rank_correlation_with_length=correlation,
        variance_between_sources=between,
        top_that_changes_without_it=changes,
        reasons=reasons,
    )


def score_audit(pool: pa.Table) -> dict[str, MeasureAudit]:
    """By measure, the score first."""
    lengths = pool["num_tokens"].to_numpy().astype(np.float64)
    return {name: _audit(name, pool, lengths) for name in MEASURES}
