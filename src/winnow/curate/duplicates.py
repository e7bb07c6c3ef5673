"""Rows that are there twice: exactly, or nearly."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.core import minhash
from winnow.curate.numbers import Near
from winnow.curate.verdict import NONE, Positions, Verdict, step


def codes(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The different values of a column, in the order of their first rows, and each row's code."""
    return column.combine_chunks().dictionary_encode()


def precedence(table: pa.Table, rows: Positions) -> NDArray[np.int64]:
    """The order in which rows stay: longest response, then smallest hash, then smallest id."""
    keys = table.select(["hash", "id"]).take(rows)
    lengths = pc.negate(pc.utf8_length(table["response"])).take(rows)
    keys = keys.add_column(0, "length", lengths)
    order = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names])
    return np.asarray(order, np.int64)


def _keep_first(table: pa.Table, rows: Positions, groups: NDArray[Any], reason: str) -> Verdict:
    """Of every group keep the row that has precedence."""
    several = np.bincount(groups)[groups] > 1
    rows, groups = rows[several], groups[several]
    order = precedence(table, rows)
    order = order[np.argsort(groups[order], kind="stable")]
    rows, groups = rows[order], groups[order]
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    kept = np.repeat(rows[starts], np.diff(starts, append=len(rows)))
    gone = np.argsort(rows)
    gone = gone[rows[gone] != kept[gone]]
    because = table["id"].take(kept[gone]).combine_chunks()
    return Verdict(rows[gone], [reason] * len(gone), because)


@step
def exact(table: pa.Table, rows: Positions) -> Verdict:
    """Rows of one content hash (see `records.content_hash`) are one row."""
    groups = codes(table["hash"].take(rows)).indices.to_numpy()
    return _keep_first(table, rows, groups, "exact duplicate")


@step
def near(table: pa.Table, rows: Positions, numbers: Near) -> Verdict:
    """Cluster rows whose word n-grams have a Jaccard similarity of at least `threshold`, if no
    part of them (instruction, input, response) has one below half of it.

    Words are those of the normalised text. Every cluster is named by its smallest content hash;
    how clusters are found is said in core/minhash.py.

    Args:
        table: has ids, texts and hashes.
        rows: the positions of those that are left.
        numbers: see `Near`.
    """
    hashes = codes(table["hash"].take(rows))
    _, first = np.unique(hashes.indices, return_index=True)
    by_hash = pc.sort_indices(hashes.dictionary).to_numpy()
    found = minhash.clusters(
        table,
        rows[first[by_hash]],
        threshold=numbers.threshold,
        permutations=numbers.permutations,
        ngram=numbers.ngram,
    )
    smallest = np.empty_like(found)
    smallest[by_hash] = by_hash[found]
    groups = smallest[hashes.indices]
    verdict = _keep_first(table, rows, groups, "near duplicate") if numbers.keep == "one" else NONE
    return replace(verdict, clusters=hashes.dictionary.take(groups))
