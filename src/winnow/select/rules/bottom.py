"""The rows of the lowest scores, the worst first."""

import pandas as pd

from winnow.select.pool import Pool


def choose(pool: Pool) -> pd.Index:
    return pool.first(pool.scores, pool.number)
