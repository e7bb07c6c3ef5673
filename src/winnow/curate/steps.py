"""The steps a recipe can list: each takes the rows that are left and says which go, and why.

A step is a function of the table and its numbers. It returns one `Drop` a row or None, and may
refine the cluster column; it never changes a text. To add a step, write it and name it in STEPS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from datasketch import MinHash, MinHashLSH

from winnow.progress import progress


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a row goes, and the id of the row that stays in its place."""

    reason: str
    kept: str


Dropped = dict[int, Drop]
"""By position in the table."""


def _keep_first(rows: pd.DataFrame, groups: pd.Series, reason: str) -> Dropped:
    """Of every group keep the longest response, then the smallest hash, then the smallest id."""
    order = pd.DataFrame(
        {
            "group": groups.to_numpy(),
            "length": -rows["response"].str.len().to_numpy(),
            "hash": rows["hash"].to_numpy(),
            "id": rows["id"].to_numpy(),
            "position": np.arange(len(rows)),
        }
    ).sort_values(["group", "length", "hash", "id"])
    kept = order.groupby("group")["id"].transform("first")
    gone = order["id"].to_numpy() != kept.to_numpy()
    return {
        int(position): Drop(reason, name)
        for position, name in zip(order["position"][gone], kept[gone], strict=True)
    }


def exact(rows: pd.DataFrame) -> Dropped:
    """Rows of one content hash (same text but for case, width and white space) are one row."""
    return _keep_first(rows, rows["hash"], "exact duplicate")


def _shingles(text: str, ngram: int) -> frozenset[str]:
    words = text.lower().split()
    return frozenset(" ".join(words[i : i + ngram]) for i in range(max(1, len(words) - ngram + 1)))


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def near(
    rows: pd.DataFrame,
    *,
    threshold: float,
    permutations: int = 128,
    ngram: int = 3,
    keep: str = "one",
) -> Dropped:
    """Cluster rows whose word n-grams have a Jaccard similarity of at least `threshold`.

    Candidates come from MinHash-LSH (Broder 1997; Leskovec et al., Mining of Massive Datasets,
    ch. 3), each is verified on the shingle sets, and clusters are the connected components, so
    neither the order of rows nor a hash collision decides. The cluster column gets the smallest
    content hash of the cluster.

    Args:
        rows: the table; its cluster column is refined in place.
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
    texts = rows["instruction"] + " " + rows["input"] + " " + rows["response"]
    sets = [_shingles(text, ngram) for text in texts]
    lsh = MinHashLSH(threshold=threshold, num_perm=permutations)
    parent = list(range(len(rows)))
    encoded = ([shingle.encode() for shingle in sorted(shingles)] for shingles in sets)
    signatures = MinHash.generator(encoded, num_perm=permutations, seed=1)
    for index, signature in enumerate(progress(signatures, "near duplicates", "rows", len(rows))):
        for other in lsh.query(signature):
            one, two = _root(parent, index), _root(parent, other)
            if one != two and _jaccard(sets[index], sets[other]) >= threshold:
                parent[max(one, two)] = min(one, two)
        lsh.insert(index, signature, check_duplication=False)
    components = pd.Series([_root(parent, index) for index in range(len(rows))])
    smallest = rows["hash"].reset_index(drop=True).groupby(components).transform("min")
    rows["cluster"] = smallest.to_numpy()
    return _keep_first(rows, rows["cluster"], "near duplicate") if keep == "one" else {}


def _jaccard(one: frozenset[str], two: frozenset[str]) -> float:
    return len(one & two) / len(one | two)


STEPS: dict[str, Callable[..., Dropped]] = {"exact": exact, "near": near}


def apply(step: dict[str, Any], rows: pd.DataFrame) -> tuple[pd.DataFrame, Dropped]:
    """Run one step of the recipe; returns the rows left (renumbered) and what was dropped.

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
        dropped = STEPS[name](rows, **numbers)
    except TypeError as error:
        raise ValueError(f"params.yaml: curate.steps {name}: {error}") from None
    return rows.drop(index=list(dropped)).reset_index(drop=True), dropped


def hold_out(rows: pd.DataFrame, wanted: dict[str, int], seed: int) -> pd.Series:
    """Assign every row to a split: `train`, or one of `wanted` with about that many rows.

    Whole clusters are drawn, in an order that is a hash of seed and cluster, and every source
    gives its share of each split (largest remainder), so the order of rows decides nothing.

    Raises:
        ValueError: more than half of the rows would be held out.
    """
    total = sum(wanted.values())
    if total * 2 > len(rows):
        raise ValueError(
            f"params.yaml: curate: {total} rows to hold out of {len(rows)} is more than half; "
            "lower curate.validation and curate.test"
        )
    keys = pd.util.hash_pandas_object(rows["cluster"] + f":{seed}", index=False)
    source_of_cluster = rows.groupby("cluster")["source"].transform("min")
    clusters = pd.DataFrame(
        {"cluster": rows["cluster"], "source": source_of_cluster, "key": keys}
    ).groupby("cluster", sort=True)
    table = clusters.agg(source=("source", "first"), key=("key", "first"), size=("key", "size"))
    table = table.sort_values(["source", "key"])
    counts = table.groupby("source")["size"].sum()
    split = pd.Series("train", index=table.index)
    for name, number in wanted.items():
        quotas = _largest_remainder(counts / counts.sum() * number)
        for source, quota in quotas.items():
            free = table[(table["source"] == source) & (split == "train")]
            split[free.index[free["size"].cumsum() <= quota]] = name
    return rows["cluster"].map(split)


def _largest_remainder(shares: pd.Series) -> dict[str, int]:
    whole = np.floor(shares).astype(int)
    rest = round(shares.sum()) - whole.sum()
    extra = (shares - whole).sort_values(ascending=False, kind="stable").index[:rest]
    return {str(name): int(whole[name]) + (name in extra) for name in shares.index}
