"""The steps a recipe can list: each takes the rows that are left and says which go, and why.

A step is a function of the table, the positions of the rows that are left in it, and its numbers.
It returns a `Verdict` and never changes a row: the texts are never copied until they are written.
To add a step, write it in a file of its own and name it in STEPS.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.curate.decontaminate import decontaminate
from winnow.curate.duplicates import exact, near
from winnow.curate.language import language
from winnow.curate.verdict import Positions, Verdict

STEPS: dict[str, Callable[..., Verdict]] = {
    "exact": exact,
    "near": near,
    "decontaminate": decontaminate,
    "language": language,
}


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
