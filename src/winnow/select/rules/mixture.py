"""Rows drawn at random within each source, so many of each as its weight says, in drawn order."""

from collections.abc import Mapping

import pandas as pd

from winnow.core.errors import Refusal
from winnow.select.pool import Pool


def quotas(weights: Mapping[str, float], number: int) -> dict[str, int]:
    """Share a number of rows among sources by the largest remainders; of equal ones, by name.

    Args:
        weights: by source; they add up to 1.
        number: of rows.

    Returns:
        Rows by source, which add up to the number.
    """
    # 0.07 * 100 exceeds 7 by a rounding error, which is no remainder.
    exact = {source: round(weight * number, 6) for source, weight in weights.items()}
    rows = {source: int(share) for source, share in exact.items()}
    by_remainder = sorted(exact, key=lambda source: (rows[source] - exact[source], source))
    for source in by_remainder[: number - sum(rows.values())]:
        rows[source] += 1
    return rows


def choose(pool: Pool) -> pd.Index:
    """Draw every source's rows by one order, so that a smaller mixture lies within a larger one.

    Raises:
        Refusal: a source has fewer rows than its weight asks for.
    """
    assert pool.tier.weights is not None
    keys, chosen = pool.draw("mixture"), pd.Series(False, pool.rows.index)
    for source, number in quotas(pool.tier.weights, pool.number).items():
        own = keys[pool.rows["source"] == source]
        if number > len(own):
            raise Refusal(
                f"its weights ask for {number} rows of source {source!r}, which has {len(own)}: "
                "lower the weight or the quantity"
            )
        chosen[pool.first(own, number)] = True
    return pool.first(keys[chosen], pool.number)
