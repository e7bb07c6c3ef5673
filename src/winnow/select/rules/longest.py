"""The rows of the longest responses in words, the longest first."""

import pandas as pd

from winnow.select.pool import Pool


def choose(pool: Pool) -> pd.Index:
    return pool.first(pool.rows["num_response_words"], pool.number, descending=True)
