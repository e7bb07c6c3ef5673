"""The steps a recipe can list: each takes the rows that are left and says which go, and why.

A step is a function of the table, the positions of the rows that are left in it, and its numbers.
It returns a `Verdict` and never changes a row: only `extract` gives new texts. The table lies in
files, see core/mapped.py, and so does a column that a step changed. A user's own is a `Step` of
another package, which a recipe names as `package.module:name`: see `verdict.step` and
`verdict.per_row`.
"""

import importlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.core import extensions
from winnow.core.errors import Refusal
from winnow.core.mapped import shared
from winnow.core.texts import content_hashes
from winnow.curate.columns import codes
from winnow.curate.params import STEPS
from winnow.curate.verdict import Positions, Step, Verdict, marks

NAMED = 5
"""Sources that a warning names, at most: a corpus may have one a row."""


def replaced(
    table: pa.Table, name: str, among: NDArray[np.bool_], values: pa.Array | pa.ChunkedArray
) -> pa.Table:
    """The table with other values of a column in some rows; the column lies in a file.

    Args:
        table: the chunks of the column are in memory one at a time.
        name: of the column.
        among: whether a row is one of them.
        values: of those rows.
    """
    schema = pa.schema([table.schema.field(name)])
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    values = pa.chunked_array(chunks, schema[0].type)

    def batches() -> Iterator[pa.RecordBatch]:
        start = used = 0
        for chunk in table[name].chunks:
            inside = among[start : start + len(chunk)]
            new = values.slice(used, inside.sum()).combine_chunks()
            column = pc.replace_with_mask(chunk, pa.array(inside), new)
            start, used = start + len(chunk), used + len(new)
            yield pa.record_batch([column], schema=schema)

    column = shared(schema, batches())[name]
    return table.set_column(table.column_names.index(name), schema[0], column)


def _rewrite(table: pa.Table, rows: Positions, responses: pa.ChunkedArray) -> pa.Table:
    """The table with other responses in some rows, whose hashes and clusters are made anew."""
    among = marks(len(table), rows)
    changed = table.select(["instruction", "input"]).filter(pa.array(among))
    hashes = content_hashes(changed.append_column("response", responses))
    for name, values in (("response", responses), ("hash", hashes), ("cluster", hashes)):
        table = replaced(table, name, among, values)
    return table


def _run(step: dict[str, Any], table: pa.Table, rows: Positions) -> Verdict:
    """What a step finds; an error of it says whose it is."""
    name, numbers = step["name"], {key: value for key, value in step.items() if key != "name"}
    if name in STEPS:
        run = getattr(importlib.import_module(f"winnow.curate.{STEPS[name]}"), name)
    else:
        run = extensions.load(name, Step)
    try:
        verdict: Verdict = run(table, rows, **numbers)
        return verdict
    except Refusal:
        raise
    except Exception as error:
        error.add_note(f"in curate.steps {name}")
        raise


def apply(
    step: dict[str, Any], table: pa.Table, rows: Positions
) -> tuple[pa.Table, Positions, Verdict]:
    """Run one step of the recipe; returns the table, in which only clusters have new names and
    pages are texts, the positions of the rows that stay, and what the step found.

    Raises:
        Refusal: one of the step's numbers cannot be, or no row stays.
    """
    verdict = _run(step, table, rows)
    if len(rows) and len(verdict.gone) == len(rows):
        reasons = Counter(verdict.reasons).most_common(3)
        raise Refusal(
            f"params.yaml: curate.steps {step['name']} left no row of {len(rows)}: "
            f"{', '.join(f'{number} {reason}' for reason, number in reasons)}; "
            "change its numbers or leave it out"
        )
    if verdict.responses is not None:
        table = _rewrite(table, *verdict.responses)
    if verdict.clusters is not None:
        table = replaced(table, "cluster", marks(len(table), rows), verdict.clusters)
    return table, rows[~marks(len(table), verdict.gone)[rows]], verdict


def warnings(
    step: dict[str, Any], table: pa.Table, rows: Positions, verdict: Verdict, share: float
) -> list[str]:
    """What the user should know of a step: its own warnings, and where it dropped too much.

    That is more than `share` of the rows of a source, or of all. The sources that lost most rows
    are named, the others counted.
    """
    name, source = step["name"], codes(table["source"])
    in_source, num_sources = source.indices.to_numpy(), len(source.dictionary)
    given, gone = (np.bincount(in_source[at], minlength=num_sources) for at in (rows, verdict.gone))
    eaten = [
        (-gone[at], f"{given[at]} rows of source {source.dictionary[at].as_py()!r}")
        for at in np.flatnonzero(gone > share * given)
    ]
    found = [f"{name}: {warning}" for warning in verdict.warnings]
    found += [f"{name} dropped {-lost} of the {of}" for lost, of in sorted(eaten)[:NAMED]]
    if len(eaten) > NAMED:
        found.append(f"{name} dropped as large a share of {len(eaten) - NAMED} other sources")
    if num_sources > 1 and len(verdict.gone) > share * len(rows):
        found.append(f"{name} dropped {len(verdict.gone)} of all {len(rows)} rows")
    return found
