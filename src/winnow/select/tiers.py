"""Which rows a tier takes: pure functions of the score table.

Every order ends in the content hash and the id, and every draw is an order by a hash of seed and
content, so neither the order of rows nor the number of workers changes a tier.
"""

import hashlib
from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from winnow.core import engine
from winnow.core.errors import Refusal
from winnow.core.experiments import Tier

PART_ROWS = 2**18
"""Rows of which a core finds the first ones at once: a matter of memory, not of results."""

LENGTH_BINS = 50
"""Quantile bins of the tier's token lengths within which a matched control is drawn."""


def size(name: str, tiers: Mapping[str, Tier], pool: int) -> int:
    """How many rows a tier takes of a pool.

    Raises:
        Refusal: more than the pool has, or none; the message names both numbers.
    """
    tier = tiers[name]
    if tier.rule == "matched":
        assert tier.of is not None
        return size(tier.of, tiers, pool)
    wanted = tier.count if tier.share is None else round(tier.share * pool)
    assert wanted is not None
    if not 0 < wanted <= pool:
        raise Refusal(f"tier {name} wants {wanted} rows, the curated pool has {pool}")
    return wanted


def _draw(scores: pd.DataFrame, salt: str) -> pd.Series:
    """A seeded random key a row, from its content alone: an id is a place in a file."""
    key = hashlib.blake2b(salt.encode(), digest_size=8).hexdigest()  # pandas wants 16 characters
    names = scores["hash"].to_numpy(object)
    return pd.Series(pd.util.hash_array(names, hash_key=key, categorize=False), scores.index)


def _best(number: int, order: str, rows: pa.Table) -> pa.Table:
    """The first rows in an order that ends in hash and id; all of them where there are no more."""
    keys = [("by", order), ("hash", "ascending"), ("id", "ascending")]
    return rows.take(pc.select_k_unstable(rows, number, keys))


def _first(scores: pd.DataFrame, by: pd.Series, number: int, order: str = "ascending") -> pd.Index:
    """Labels of the first rows: those of every part, by the engine, then those of all of them."""
    table = pa.table({"by": by, "hash": scores["hash"], "id": scores["id"], "at": scores.index})
    parts = (table.slice(start, PART_ROWS) for start in range(0, len(table), PART_ROWS))
    if number < PART_ROWS:
        table = pa.concat_tables(engine.each(partial(_best, number, order), parts))
    return pd.Index(_best(number, order, table)["at"].to_numpy())


def _matched(scores: pd.DataFrame, tier_rows: pd.Index, keys: pd.Series) -> pd.Index:
    """Rows drawn at random so that every length bin holds as many as it does in the tier."""
    lengths = scores["num_tokens"]
    wanted = lengths[tier_rows]
    edges = np.unique(np.quantile(wanted, np.linspace(0, 1, LENGTH_BINS + 1)[1:-1]))
    bins = pd.Series(np.digitize(lengths, edges), index=scores.index)
    inside = lengths.between(wanted.min(), wanted.max())
    order = pd.DataFrame({"bin": bins, "key": keys, "id": scores["id"]})[inside]
    order = order.sort_values(["bin", "key", "id"])
    rank = order.groupby("bin").cumcount()
    quota = bins[tier_rows].value_counts()
    return order.index[rank < order["bin"].map(quota).fillna(0)]


def cut(name: str, tiers: Mapping[str, Tier], scores: pd.DataFrame, seed: int) -> pd.Index:
    """Choose a tier's rows.

    Args:
        name: of the tier.
        tiers: all declared tiers (a matched one needs the tier that it is matched to).
        scores: SCORE_SCHEMA columns of the pool.
        seed: of the random draws.

    Returns:
        Index labels into `scores`, best first for top, worst first for bottom, longest first for
        longest, in drawn order for random ones.
    """
    tier, number = tiers[name], size(name, tiers, len(scores))
    match tier.rule:
        case "top":
            return _first(scores, scores["score"], number, "descending")
        case "bottom":
            return _first(scores, scores["score"], number)
        case "longest":
            return _first(scores, scores["num_response_words"], number, "descending")
        case "random":
            return _first(scores, _draw(scores, f"random/{seed}"), number)
        case "matched":
            assert tier.of is not None
            keys = _draw(scores, f"matched/{seed}")
            return _matched(scores, cut(tier.of, tiers, scores, seed), keys)
