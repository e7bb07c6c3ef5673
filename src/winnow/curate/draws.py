"""What is drawn from the kept rows: validation and test by cluster, rows for the tokenizer."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.curate.duplicates import codes
from winnow.curate.verdict import Positions
from winnow.errors import Refusal


def _keys(names: pa.Array, seed: int) -> NDArray[np.uint64]:
    """A number a name, as good as random: the hash of name and seed."""
    salted = pc.binary_join_element_wise(names, str(seed), ":").to_numpy(zero_copy_only=False)
    keys: NDArray[np.uint64] = pd.util.hash_array(salted, categorize=False)
    return keys


def sample(table: pa.Table, rows: Positions, number: int, seed: int) -> NDArray[np.int64]:
    """Draw at most `number` of the rows, the same ones whatever the order of the table."""
    drawn = table.select(["hash", "id"]).take(rows)
    keys = pa.table({"key": _keys(drawn["hash"], seed), "id": drawn["id"]})
    order = pc.sort_indices(keys, [("key", "ascending"), ("id", "ascending")])
    chosen: NDArray[np.int64] = rows[order[:number].to_numpy()]
    return chosen


def hold_out(
    table: pa.Table, rows: Positions, wanted: dict[str, int], seed: int
) -> NDArray[np.int8]:
    """Assign every row to a split: 0 for train, k for the k-th of `wanted`, about that many rows.

    Whole clusters are drawn, in an order that is a hash of seed and cluster, and every source
    gives its share of each split (largest remainder), so the order of rows decides nothing. A
    cluster of several sources counts as of the first of them by name.

    Raises:
        Refusal: more than half of the rows would be held out.
    """
    total = sum(wanted.values())
    if total * 2 > len(rows):
        raise Refusal(
            f"params.yaml: curate: {total} rows to hold out of {len(rows)} is more than half; "
            "lower curate.validation and curate.test"
        )
    cluster, source = (codes(table[name].take(rows)) for name in ("cluster", "source"))
    by_name = pc.rank(source.dictionary, tiebreaker="first").to_numpy().astype(np.int64) - 1
    sizes = np.bincount(cluster.indices)
    sources = np.full(len(sizes), len(by_name))
    np.minimum.at(sources, cluster.indices.to_numpy(), by_name[source.indices])
    keys = _keys(cluster.dictionary, seed)
    order = np.lexsort((keys, sources))
    sources, sizes = sources[order], sizes[order]
    counts = np.bincount(sources, sizes)
    split = np.zeros(len(order), np.int8)
    for index, number in enumerate(wanted.values(), 1):
        quotas = _largest_remainder(counts / counts.sum() * number)
        taken = np.cumsum(np.where(split == 0, sizes, 0))
        before = np.append(0, np.cumsum(np.bincount(sources, np.where(split == 0, sizes, 0))))
        split[(split == 0) & (taken - before[sources] <= quotas[sources])] = index
    by_cluster = np.empty_like(split)
    by_cluster[order] = split
    found: NDArray[np.int8] = by_cluster[cluster.indices]
    return found


def _largest_remainder(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    whole = np.floor(shares).astype(np.int64)
    rest = round(shares.sum()) - whole.sum()
    whole[np.argsort(whole - shares, kind="stable")[:rest]] += 1
    return whole
