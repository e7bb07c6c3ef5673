"""How much of the score is length?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from winnow.analyze.ranks import TOP, by_hash, rank_correlation, top
from winnow.analyze.report import numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class LengthAudit:
    """Length explains a part of the score's variance: that of a straight line on the logarithm of
    one plus the tokens. The residual is the score less that line."""

    share: float
    """Of the pool that is its top."""
    top_among_longest: float
    """The share of the score's top that is among the longest rows."""
    explained: float | None
    """The share of the score's variance."""
    top_that_stays_without_length: float | None
    """The share of the score's top that is on top of the residual."""
    rank_correlation_without_length: float | None
    """Spearman's, of the residual with the score."""
    reasons: Mapping[str, str] = field(default_factory=dict)


def length_audit(pool: pa.Table) -> LengthAudit:
    """How much of the score's top is only length, and what is left of the score without length."""
    lengths, scores = (pool[name].to_numpy().astype(np.float64) for name in ("num_tokens", "score"))
    ties = by_hash(pool)
    highest, longest = top(scores, ties), top(lengths, ties)
    among = len(highest & longest) / len(highest)
    logs = np.log1p(lengths)
    varies = logs.std() > 0 and scores.std() > 0
    explained = float(np.corrcoef(logs, scores)[0, 1] ** 2) if varies else None
    stays = correlation = None
    reasons = {}
    if explained is None or explained > 1 - 1e-9:
        why = "one of both never varies" if explained is None else "length explains all of it"
        keys = ("top_that_stays_without_length", "rank_correlation_without_length")
        reasons = dict.fromkeys(keys if varies else ("explained", *keys), why)
    else:
        slope = np.cov(logs, scores, ddof=0)[0, 1] / logs.var()
        residual = scores - slope * logs
        stays = len(highest & top(residual, ties)) / len(highest)
        correlation = rank_correlation(residual, scores)
    return LengthAudit(
        share=TOP,
        top_among_longest=among,
        explained=explained,
        top_that_stays_without_length=stays,
        rank_correlation_without_length=correlation,
        reasons=reasons,
    )


def title(length: LengthAudit) -> str:
    """What the score's figure says of length."""
    text = f"{numbers.percent(length.top_among_longest)} of the score's top tenth are among the "
    text += f"longest tenth (by chance {numbers.percent(length.share)})"
    if length.explained is not None:
        text += f"; length explains {numbers.percent(length.explained)} of its variance"
    stays = length.top_that_stays_without_length
    if stays is None:
        return text
    return f"{text}, and without it {numbers.percent(stays)} stay on top"
