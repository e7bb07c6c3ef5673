"""Rows drawn at random within each source, so many of each as its weight says, in drawn order.

Weights are declared, or those of another tier without a source or with one more, or drawn
themselves. A row may be taken several times, up to a cap: what a source cannot give then is given
by the others in the ratio of their weights.
"""

import hashlib
import math
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


def capped(weights: Mapping[str, float], number: int, most: Mapping[str, int]) -> dict[str, int]:
    """Quotas of which none is above a source's most: the others take over what it cannot give.

    Raises:
        Refusal: all of them together cannot give the number.
    """
    full: dict[str, int] = {}
    while True:
        left = {source: weight for source, weight in weights.items() if source not in full}
        total, rest = sum(left.values()), number - sum(full.values())
        if not left and rest:
            raise Refusal(
                f"its sources give {sum(full.values())} rows, repeats counted: raise repeat or "
                "lower the quantity"
            )
        rows = quotas(_scaled(left, 1 / total), rest) if left else {}
        over = [source for source in left if rows[source] > most[source]]
        if not over:
            return {source: (full | rows)[source] for source in weights}
        full |= {source: most[source] for source in over}


def _scaled(weights: Mapping[str, float], factor: float) -> dict[str, float]:
    return {source: weight * factor for source, weight in weights.items()}


def _drawn(pool: Pool) -> dict[str, float]:
    """Shares of all sources from the flat Dirichlet distribution, by a hash of seed, number and
    source: exponential numbers over their sum (Devroye 1986, chapter 11)."""
    gaps = {}
    for source in sorted(pool.rows["source"].unique()):
        text = f"{pool.seed}/{pool.tier.draw}/{source}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        gaps[source] = -math.log((int.from_bytes(digest) + 1) / 2**64)
    return _scaled(gaps, 1 / sum(gaps.values()))


def _changed(pool: Pool) -> dict[str, float]:
    """The shares of another tier's rows without a source, or with some added."""
    tier = pool.tier
    assert pool.of is not None
    rows, sources = pool.rows.loc[pool.of], set(pool.rows["source"])
    by_source = rows["num_tokens"] if tier.unit == "tokens" else pd.Series(1, rows.index)
    amounts = by_source.groupby(rows["source"].to_numpy()).sum().to_dict()
    for source in tier.plus or ():
        if source not in sources:
            raise Refusal(f"no row is of source {source!r}: the sources are {sorted(sources)}")
    if tier.without is not None and amounts.pop(tier.without, None) is None:
        raise Refusal(f"no row of {tier.of} is of source {tier.without!r}: it has {[*amounts]}")
    if not amounts:
        raise Refusal(f"all rows of {tier.of} are of source {tier.without!r}: nothing is left")
    plus = tier.plus or {}
    shares = _scaled(amounts, (1 - sum(plus.values())) / sum(amounts.values()))
    return shares | {source: shares.get(source, 0.0) + share for source, share in plus.items()}


def weights(pool: Pool) -> dict[str, float]:
    """The share that each source is to give; they add up to 1."""
    if pool.tier.weights is not None:
        return dict(pool.tier.weights)
    return _drawn(pool) if pool.tier.draw is not None else _changed(pool)


def _quotas(pool: Pool, asked: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, int]:
    """Rows by source, and what is to be said of them."""
    by_row = dict(asked)
    if pool.tier.unit == "tokens":  # so many rows that they have the tokens, on average
        lengths = pool.rows["num_tokens"].groupby(pool.rows["source"]).mean()
        by_row = {source: share / lengths[source] for source, share in asked.items()}
        by_row = _scaled(by_row, 1 / sum(by_row.values()))
    wanted = quotas(by_row, pool.number)
    if pool.tier.repeat is None:
        for source, number in wanted.items():
            if number > sizes[source]:
                raise Refusal(
                    f"its weights ask for {number} rows of source {source!r}, which has "
                    f"{sizes[source]}: lower the weight or the quantity, or let rows repeat"
                )
        rows = wanted
    else:
        most = {source: pool.tier.repeat * sizes[source] for source in asked}
        rows = capped(by_row, pool.number, most)
    for source, number in rows.items():
        pool.ledger[source] = {
            "weight": asked[source],
            "wanted": wanted[source],
            "rows": number,
            "different": min(number, sizes[source]),
        }
    return rows


def choose(pool: Pool) -> pd.Index:
    """Draw every source's rows by one order, so that a smaller mixture lies within a larger one,
    and two that differ in one source share what they have of the others.

    Raises:
        Refusal: a source has fewer rows than its weight asks for, or is none.
    """
    keys, sources = pool.draw("mixture"), pool.rows["source"]
    times = pd.Series(0, pool.rows.index)
    for source, number in _quotas(pool, weights(pool), sources.value_counts().to_dict()).items():
        own = keys[sources == source]
        whole, rest = divmod(number, len(own))
        times[own.index] += whole
        if rest:
            times[pool.first(own, rest)] += 1
        tokens = pool.rows.loc[own.index, "num_tokens"] * times[own.index]
        pool.ledger[source]["tokens"] = int(tokens.sum())
    passes = [keys[times > already] for already in range(times.max())]
    taken = [pool.first(part, len(part)) for part in passes]
    return taken[0].append(taken[1:])
