"""Random rows whose token lengths are those of another tier: its control."""

import numpy as np
import pandas as pd

from winnow.select.pool import Pool

LENGTH_BINS = 50
"""Quantile bins of the tier's token lengths within which rows are drawn."""


def choose(pool: Pool) -> pd.Index:
    """Draw rows so that every length bin holds as many of them as it does in the tier; by source,
    every bin of each source."""
    assert pool.of is not None
    lengths = pool.rows["num_tokens"]
    matched = lengths[pool.of]
    edges = np.unique(np.quantile(matched, np.linspace(0, 1, LENGTH_BINS + 1)[1:-1]))
    bins = pd.Series(np.digitize(lengths, edges), index=pool.rows.index)
    if pool.tier.by_source:
        bins += (LENGTH_BINS + 1) * pd.factorize(pool.rows["source"], sort=True)[0]
    inside = np.flatnonzero(lengths.between(matched.min(), matched.max()))
    by = [column.to_numpy()[inside] for column in (pool.rows["tie"], pool.draw("matched"), bins)]
    order, ordered = inside[np.lexsort(by)], np.sort(by[-1])
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    quota = np.bincount(bins[pool.of], minlength=bins.max() + 1)
    return pool.rows.index[order[rank < quota[ordered]]]
