"""Rows with a chosen and a rejected answer, drawn at random, in drawn order."""

import pandas as pd

from winnow.select.pool import Pool


def choose(pool: Pool) -> pd.Index:
    return pool.first(pool.draw("pairs"), pool.number)
