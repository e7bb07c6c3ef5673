"""The steps a recipe can list: each takes the rows that are left and says which go, and why.

A step is a function of the table, the positions of the rows that are left in it, and its numbers.
It returns a `Verdict` and never changes a row: the texts are never copied until they are written.
To add a step, write it and name it in STEPS.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.curate import minhash

Positions = NDArray[np.int64]
"""Of rows in the table, ascending."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which rows go, why, and what stays instead."""

    gone: Positions
    reasons: list[str]
    """Why, for each of them."""
    kept: NDArray[np.int64]
    """The positions of the rows that stay in their place."""
    clusters: pa.Array | None = None
    """New names of clusters for all rows that the step was given, where it found clusters."""


def codes(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The different values of a column, in the order of their first rows, and each row's code."""
    return column.combine_chunks().dictionary_encode()


def _keep_first(table: pa.Table, rows: Positions, groups: NDArray[Any], reason: str) -> Verdict:
    """Of every group keep the longest response, then the smallest hash, then the smallest id."""
    several = np.bincount(groups)[groups] > 1
    rows, groups = rows[several], groups[several]
    lengths = pc.negate(pc.utf8_length(table["response"])).take(rows)
    keys = table.select(["hash", "id"]).take(rows)
    keys = keys.add_column(0, "length", lengths).add_column(0, "group", [groups])
    order = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]).to_numpy()
    rows, groups = rows[order], groups[order]
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    kept = np.repeat(rows[starts], np.diff(starts, append=len(rows)))
    gone = np.argsort(rows)
    gone = gone[rows[gone] != kept[gone]]
    return Verdict(rows[gone], [reason] * len(gone), kept[gone])


def exact(table: pa.Table, rows: Positions) -> Verdict:
    """Rows of one content hash (same text but for case, width and white space) are one row."""
    groups = codes(table["hash"].take(rows)).indices.to_numpy()
    return _keep_first(table, rows, groups, "exact duplicate")


def near(
    table: pa.Table,
    rows: Positions,
    *,
    threshold: float,
    permutations: int = 128,
    ngram: int = 3,
    keep: str = "one",
) -> Verdict:
    """Cluster rows whose word n-grams have a Jaccard similarity of at least `threshold`.

    Words are those of the normalised text. Every cluster is named by its smallest content hash;
    how clusters are found is said in minhash.py.

    Args:
        table: has ids, texts and hashes.
        rows: the positions of those that are left.
        threshold: of the Jaccard similarity, in (0, 1].
        permutations: length of a MinHash signature.
        ngram: words a shingle.
        keep: "one" drops all but one row of a cluster; "all" only marks clusters, which keeps
            them on one side of the hold-out.
    """
    if keep not in ("one", "all"):
        raise ValueError(
            f"params.yaml: curate.steps near.keep: expected one or all, found {keep!r}"
        )
    if not (0 < threshold <= 1 and permutations >= 1 and ngram >= 1):
        raise ValueError(
            "params.yaml: curate.steps near: expected a threshold in (0, 1] and permutations and "
            f"ngram of at least 1, found {threshold}, {permutations}, {ngram}"
        )
    hashes = codes(table["hash"].take(rows))
    _, first = np.unique(hashes.indices, return_index=True)
    by_hash = pc.sort_indices(hashes.dictionary).to_numpy()
    found = minhash.clusters(
        table, rows[first[by_hash]], threshold=threshold, permutations=permutations, ngram=ngram
    )
    smallest = np.empty_like(found)
    smallest[by_hash] = by_hash[found]
    groups = smallest[hashes.indices]
    verdict = Verdict(np.arange(0), [], np.arange(0))
    if keep == "one":
        verdict = _keep_first(table, rows, groups, "near duplicate")
    return replace(verdict, clusters=hashes.dictionary.take(groups))


STEPS: dict[str, Callable[..., Verdict]] = {"exact": exact, "near": near}


def apply(
    step: dict[str, Any], table: pa.Table, rows: Positions
) -> tuple[pa.Table, Positions, Verdict]:
    """Run one step of the recipe; returns the table, in which only clusters have new names, the
    positions of the rows that stay, and what the step found.

    Raises:
        ValueError: the step or one of its numbers is unknown.
    """
    numbers = dict(step)
    name = numbers.pop("name", None)
    if name not in STEPS:
        raise ValueError(
            f"params.yaml: curate.steps: unknown step {name!r}; known are {', '.join(STEPS)}"
        )
    try:
        verdict = STEPS[name](table, rows, **numbers)
    except TypeError as error:
        raise ValueError(f"params.yaml: curate.steps {name}: {error}") from None
    if verdict.clusters is not None:
        given = np.isin(np.arange(len(table)), rows, assume_unique=True)
        names = pc.replace_with_mask(table["cluster"], pa.array(given), verdict.clusters)
        table = table.set_column(table.column_names.index("cluster"), "cluster", names)
    return table, np.setdiff1d(rows, verdict.gone, assume_unique=True), verdict
