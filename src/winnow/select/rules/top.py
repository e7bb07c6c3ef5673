"""The rows of the highest scores, the best first."""

import pandas as pd

from winnow.select.pool import Pool


def choose(pool: Pool) -> pd.Index:
    return pool.first(pool.scores, pool.number, descending=True)
