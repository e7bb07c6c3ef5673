"""Random rows of another tier: they stand for it as a small model does for a large one."""

import pandas as pd

from winnow.core.errors import Refusal
from winnow.select.pool import Pool

FEWEST = 20
"""Rows below which a part says little of its tier."""


def choose(pool: Pool) -> pd.Index:
    """Draw from the tier, not from the whole pool.

    Raises:
        Refusal: so few rows that they stand for nothing.
    """
    assert pool.of is not None
    if pool.number < FEWEST:
        raise Refusal(
            f"{pool.number} rows of {pool.tier.of} are too few to stand for it: take {FEWEST} or "
            "more, or leave the tier out"
        )
    keys = pool.draw("part")
    return pool.first(keys[keys.index.isin(pool.of)], pool.number)
