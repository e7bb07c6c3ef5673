"""What a rule chooses from, and the orders that it chooses by.

Every order ends in the content hash and the id, and every draw is an order by a hash of seed and
content, so neither the order of rows nor the number of workers changes a tier.
"""

import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from winnow.core import engine
from winnow.core.experiments import Tier

PART_ROWS = 2**18
"""Rows of which a core finds the first ones at once: a matter of memory, not of results."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pool:
    """The rows that a tier may take, and how many it takes."""

    tier: Tier
    rows: pd.DataFrame
    """The score table: of the named sources alone where the tier names some, and without the rows
    that have no score where one chooses."""
    scores: pd.Series
    """By which a scored rule chooses: more is better."""
    number: int
    """Rows to choose, no more than there are."""
    of: pd.Index | None
    """The rows of the tier that this one is matched to, where it names one."""
    seed: int
    """Of all draws."""
    ledger: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What a rule has to say of each source: statistics.json holds it as `components`."""

    def draw(self, salt: str) -> pd.Series:
        """A random key for each row, from its content alone: an id is a place in a file.

        Args:
            salt: tells the draws of one rule from those of another.
        """
        salt = f"{salt}/{self.seed}"
        # pandas asks for 16 characters.
        key = hashlib.blake2b(salt.encode(), digest_size=8).hexdigest()
        hashes = self.rows["hash"].to_numpy(object)
        keys = pd.util.hash_array(hashes, hash_key=key, categorize=False)
        return pd.Series(keys, self.rows.index)

    def first(self, by: pd.Series, number: int, descending: bool = False) -> pd.Index:
        """Labels of the first rows by a key of some or all rows, in their order."""
        rows = self.rows if len(by) == len(self.rows) else self.rows.loc[by.index]
        table = pa.table({"by": by, "hash": rows["hash"], "id": rows["id"], "at": by.index})
        parts = (table.slice(start, PART_ROWS) for start in range(0, len(table), PART_ROWS))
        find = partial(_first, number, "descending" if descending else "ascending")
        if number < PART_ROWS:
            table = pa.concat_tables(engine.each(find, parts))
        return pd.Index(find(table)["at"].to_numpy())


def _first(number: int, order: str, rows: pa.Table) -> pa.Table:
    """The first rows in an order that ends in hash and id; all of them where there are no more."""
    keys = [("by", order), ("hash", "ascending"), ("id", "ascending")]
    return rows.take(pc.select_k_unstable(rows, number, keys))
