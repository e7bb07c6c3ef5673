"""Rows that are there twice: exactly, or nearly."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.core import minhash
from winnow.core.mapped import written
from winnow.core.texts import parts, rows_at, taken
from winnow.curate.columns import codes_at, keys_at
from winnow.curate.numbers import Exact, Near
from winnow.curate.partitions import ROW_BYTES, partitions
from winnow.curate.verdict import NONE, Positions, Verdict, marks, step

KEYS = ["length", "hash", "id"]
"""What decides which row stays."""
MB = 2**20


def precedence(table: pa.Table, rows: Positions) -> NDArray[np.int64]:
    """The order in which rows stay: longest response, then smallest hash, then smallest id."""
    found = []
    for part in parts(table.select(["response", "hash", "id"]), rows):
        response, *names = taken(part).columns
        found.append(pa.table([pc.negate(pc.utf8_length(response)), *names], KEYS))
    order = pc.sort_indices(pa.concat_tables(found), [(name, "ascending") for name in KEYS])
    return np.asarray(order, np.int64)


def _keep_first(table: pa.Table, rows: Positions, groups: NDArray[Any], reason: str) -> Verdict:
    """Of every group keep the row that has precedence."""
    several = np.bincount(groups)[groups] > 1
    rows, groups = rows[several], groups[several]
    if not len(rows):
        return NONE
    order = precedence(table, rows)
    order = order[np.argsort(groups[order], kind="stable")]
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    kept = np.empty_like(order)
    kept[order] = np.repeat(order[starts], np.diff(starts, append=len(rows)))
    gone = np.flatnonzero(kept != np.arange(len(rows)))
    ids = rows_at(table.select(["id"]), rows)["id"].combine_chunks()
    return Verdict(rows[gone], [reason] * len(gone), ids.take(kept[gone]))


def _joined(verdicts: Sequence[Verdict]) -> Verdict:
    """What is found in several partitions, all for one reason."""
    gone = np.concatenate([verdict.gone for verdict in verdicts])
    order = np.argsort(gone)
    because = pa.concat_arrays([verdict.because for verdict in verdicts]).take(order)
    return Verdict(gone[order], list(chain(*(one.reasons for one in verdicts))), because)


@step
def exact(table: pa.Table, rows: Positions, numbers: Exact) -> Verdict:
    """Rows of one content hash (see `records.content_hash`) are one row.

    Args:
        table: has ids, texts and hashes.
        rows: the positions of those that are left.
        numbers: see `Exact`.
    """
    columns, found = [keys_at(table, "hash", rows, 0)], [NONE]
    weights = np.full(len(rows), ROW_BYTES)
    for places in partitions(columns, weights, numbers.partition_mb * MB):
        groups = codes_at(table, "hash", rows[places]).indices.to_numpy()
        found.append(_keep_first(table, rows[places], groups, "exact duplicate"))
    return _joined(found)


@step
def near(table: pa.Table, rows: Positions, numbers: Near) -> Verdict:
    """Cluster rows whose word n-grams have a Jaccard similarity of at least `threshold`, if no
    part of them (instruction, input, response) has one below half of it.

    Words are those of the normalised text. Every cluster is named by its smallest content hash;
    how clusters are found is said in core/minhash.py. In memory are about 75 bytes a row and one
    partition at a time, of rows that may be alike; all else is in files.

    Args:
        table: has ids, texts and hashes.
        rows: the positions of those that are left.
        numbers: see `Near`.
    """
    shape = {name: getattr(numbers, name) for name in ("threshold", "permutations", "ngram")}
    bands, budget = minhash.sign(table, rows, **shape), numbers.partition_mb * MB
    weights = 8 * bands.sizes + (16 * bands.number + ROW_BYTES)
    found, changed, names = [NONE], [np.arange(0)], [pa.array([], pa.string())]
    with bands.file:
        for places in partitions(bands, weights, budget):
            hashes, groups = _clusters(table, rows[places], shape, budget)
            if numbers.keep == "one":
                found.append(_keep_first(table, rows[places], groups, "near duplicate"))
            differs = groups != hashes.indices.to_numpy()
            changed.append(places[differs])
            names.append(hashes.dictionary.take(groups[differs]))
    order = np.argsort(np.concatenate(changed))
    is_changed = marks(len(rows), np.concatenate(changed))
    clusters = _named(table, rows, is_changed, pa.concat_arrays(names).take(order))
    return replace(_joined(found), clusters=clusters)


def _clusters(
    table: pa.Table, rows: Positions, shape: dict[str, Any], budget: int
) -> tuple[pa.DictionaryArray, NDArray[np.int64]]:
    """The content hashes of a partition's rows, and by row the code of its cluster's smallest."""
    hashes = codes_at(table, "hash", rows)
    _, first = np.unique(hashes.indices, return_index=True)
    by_hash = pc.sort_indices(hashes.dictionary).to_numpy()
    found = minhash.clusters(table, rows[first[by_hash]], **shape, budget=budget)
    smallest = np.empty_like(found)
    smallest[by_hash] = by_hash[found]
    return hashes, smallest[hashes.indices]


def _named(
    table: pa.Table, rows: Positions, is_changed: NDArray[np.bool_], names: pa.Array
) -> pa.ChunkedArray:
    """The names of all rows' clusters, in a file: their own hashes, but where they are changed."""
    schema = pa.schema([("cluster", pa.string())])

    def batches() -> Iterator[pa.RecordBatch]:
        at = used = 0
        for part in parts(table.select(["hash"]), rows):
            inside = is_changed[at : at + len(part.inside)]
            new = names.slice(used, inside.sum())
            column = pc.replace_with_mask(taken(part)["hash"], pa.array(inside), new)
            at, used = at + len(inside), used + len(new)
            yield pa.record_batch([column], schema=schema)

    return written(schema, batches())["cluster"]
