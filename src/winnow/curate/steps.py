"""The steps a recipe can list: each takes the rows that are left and says which go, and why.

A step is a function of the table, the positions of the rows that are left in it, and its numbers.
It returns a `Verdict` and never changes a row: only `extract` gives new texts, and without it they
are never copied until they are written.
To add a step, write it in a file of its own and name it in STEPS of params.py.
"""

import importlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.curate.params import STEPS
from winnow.curate.texts import content_hashes
from winnow.curate.verdict import Positions, Verdict


def _replace(
    column: pa.ChunkedArray, among: NDArray[np.bool_], values: pa.ChunkedArray
) -> pa.ChunkedArray:
    """A column with other values in some rows, chunk by chunk: one may not exceed 2 GiB of text."""
    chunks, start, used = [], 0, 0
    for chunk in column.chunks:
        inside = among[start : start + len(chunk)]
        new = values.slice(used, inside.sum()).combine_chunks()
        chunks.append(pc.replace_with_mask(chunk, pa.array(inside), new))
        start, used = start + len(chunk), used + len(new)
    return pa.chunked_array(chunks)


def _rewrite(table: pa.Table, rows: Positions, responses: pa.ChunkedArray) -> pa.Table:
    """The table with other responses in some rows, whose hashes and clusters are made anew."""
    among = np.isin(np.arange(len(table)), rows, assume_unique=True)
    changed = table.select(["instruction", "input"]).filter(pa.array(among))
    hashes = pa.chunked_array([content_hashes(changed.append_column("response", responses))])
    for name, values in (("response", responses), ("hash", hashes), ("cluster", hashes)):
        place = table.column_names.index(name)
        table = table.set_column(place, name, _replace(table[name], among, values))
    return table


def apply(
    step: dict[str, Any], table: pa.Table, rows: Positions
) -> tuple[pa.Table, Positions, Verdict]:
    """Run one step of the recipe; returns the table, in which only clusters have new names and
    pages are texts, the positions of the rows that stay, and what the step found.

    Raises:
        Refusal: one of the step's numbers cannot be.
    """
    name, numbers = step["name"], {key: value for key, value in step.items() if key != "name"}
    run = getattr(importlib.import_module(f"winnow.curate.{STEPS[name]}"), name)
    verdict: Verdict = run(table, rows, **numbers)
    if verdict.responses is not None:
        table = _rewrite(table, *verdict.responses)
    if verdict.clusters is not None:
        given = np.isin(np.arange(len(table)), rows, assume_unique=True)
        names = pc.replace_with_mask(table["cluster"], pa.array(given), verdict.clusters)
        table = table.set_column(table.column_names.index("cluster"), "cluster", names)
    return table, np.setdiff1d(rows, verdict.gone, assume_unique=True), verdict
