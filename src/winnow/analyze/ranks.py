"""What follows what, and what is on top: measures of rows that several audits take."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
TOP = 0.1
"""The share of the pool that is its top where tops are compared."""


def by_hash(pool: pa.Table) -> NDArray[np.int64]:
    """The place of every row in the order of content hashes."""
    places: NDArray[np.int64] = pc.rank(pool["hash"], tiebreaker="first").to_numpy()
    return places


def top(values: Floats, ties: NDArray[np.int64]) -> set[int]:
    """The places of the highest values; ties go by hash, so the order of rows decides nothing."""
    order = np.lexsort((ties, -values))
    return set(order[: max(1, round(TOP * len(values)))].tolist())


def rank_correlation(a: Floats, b: Floats) -> float | None:
    """Spearman's rank correlation; None where one side never varies."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(stats.spearmanr(a, b).statistic)
