"""The rows of the highest scores, the best first: of all, or of each source in its share."""

import pandas as pd

from winnow.select.pool import Pool
from winnow.select.rules.mixture import quotas


def choose(pool: Pool) -> pd.Index:
    if not pool.tier.by_source:
        return pool.first(pool.scores, pool.number, descending=True)
    sources, chosen = pool.rows["source"], pd.Series(False, pool.rows.index)
    shares = sources.value_counts(normalize=True).to_dict()
    for source, number in quotas(shares, pool.number).items():
        if number:
            chosen[pool.first(pool.scores[sources == source], number, descending=True)] = True
    return pool.first(pool.scores[chosen], pool.number, descending=True)
