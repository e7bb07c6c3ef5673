"""What a step of the recipe says about the rows that are left."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Positions = NDArray[np.int64]
"""Of rows in the table, ascending."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which rows go, why, and what stays instead; or what they become."""

    gone: Positions
    reasons: list[str]
    """Why, for each of them."""
    because: pa.Array
    """What each of them collided with; see `records.DROPPED_SCHEMA`."""
    clusters: pa.Array | None = None
    """New names of clusters for all rows that the step was given, where it found clusters."""
    responses: tuple[Positions, pa.ChunkedArray] | None = None
    """Rows that stay with another response, and these, where it changed any."""
    warnings: tuple[str, ...] = ()
    """What the user should know beside: sentences that go on with the step's name."""


NONE = Verdict(np.arange(0), [], pa.array([], pa.string()))
"""No row goes."""
