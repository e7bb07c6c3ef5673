"""What a rule chooses from, and the orders that it chooses by.

Every order ends in the content hash and the id, and every draw is an order by a hash of seed and
content, so the order of rows does not change a tier.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from winnow.core.experiments import Tier
from winnow.select.compact import PART_ROWS, digits


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pool:
    """The rows that a tier may take, and how many it takes."""

    tier: Tier
    rows: pd.DataFrame
    """The compact score table: of the named sources alone where the tier names some, and without
    the rows that have no score where one chooses."""
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
        keys, hashes = np.empty(len(self.rows), np.uint64), self.rows["hash"]
        for start in range(0, len(keys), PART_ROWS):
            part = np.array([*digits(hashes.iloc[start : start + PART_ROWS])], object)
            found = pd.util.hash_array(part, hash_key=key, categorize=False)
            keys[start : start + PART_ROWS] = found
        return pd.Series(keys, self.rows.index)

    def first(self, by: pd.Series, number: int, descending: bool = False) -> pd.Index:
        """Labels of the first rows by a key of some or all rows, in their order."""
        ties = self.rows["tie"]
        ties = ties if len(by) == len(ties) else ties.loc[by.index]
        order = "descending" if descending else "ascending"
        table = pa.table({"by": by, "tie": ties})
        places = pc.sort_indices(table, [("by", order), ("tie", "ascending")])[:number]
        return by.index[places.to_numpy()]
