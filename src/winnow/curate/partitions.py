"""Rows that may be duplicates, in partitions that fit into memory and cut no group of them."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from winnow.core.minhash import buckets
from winnow.core.shingles import pack, unite

ROW_BYTES = 200
"""What the steps hold of a row of a partition beside what it is compared by: hashes, id, places."""


def partitions(
    columns: Iterable[NDArray[np.uint64]], weights: NDArray[np.int64], budget: int
) -> Iterator[NDArray[np.int64]]:
    """Put rows that share a value of a column with another one into partitions.

    Rows that share one are of one component, and so is what hangs together by several of them; no
    component is cut, so what is compared within the partitions is all that can be alike. A row
    that shares nothing is in none. In memory are 24 bytes a row, and one column.

    Args:
        columns: a number a row each, read one after the other.
        weights: the bytes that a row takes in memory when its partition is compared.
        budget: the bytes of a partition; a component of more is one of its own.

    Returns:
        The places of every partition's rows, ascending; the components are in the order of their
        first rows.
    """
    parent = np.arange(len(weights))
    for values in columns:
        members, bounds = buckets(values)
        unite(parent, np.repeat(members[bounds[:-1]], np.diff(bounds)), members)
    while (parent != parent[parent]).any():
        parent = parent[parent]
    is_joined = parent != np.arange(len(parent))
    is_joined[parent[is_joined]] = True
    joined = np.flatnonzero(is_joined)
    component = np.unique(parent[joined], return_inverse=True)[1]
    number = pack(np.bincount(component, weights[joined]), budget)[component]
    order = np.argsort(number, kind="stable")
    if len(joined):
        yield from np.split(joined[order], np.flatnonzero(np.diff(number[order])) + 1)
