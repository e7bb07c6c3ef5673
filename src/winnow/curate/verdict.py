"""What a step of the recipe is, and what it says about the rows that are left."""

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core.errors import Refusal
from winnow.core.params import PARAMS
from winnow.core.records import ROW_SCHEMA, Row
from winnow.core.texts import parts, taken
from winnow.curate.numbers import NoNumbers

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
    clusters: pa.Array | pa.ChunkedArray | None = None
    """New names of clusters for all rows that the step was given, where it found clusters."""
    responses: tuple[Positions, pa.ChunkedArray] | None = None
    """Rows that stay with another response, and these, where it changed any."""
    warnings: tuple[str, ...] = ()
    """What the user should know beside: sentences that go on with the step's name."""


NONE = Verdict(np.arange(0), [], pa.array([], pa.string()))
"""No row goes."""


def marks(size: int, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """By place, of so many, whether it is one of the positions."""
    found = np.zeros(size, bool)
    found[positions] = True
    return found


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the recipe: which rows it drops, and the class of its numbers."""

    name: str
    numbers: type
    """A dataclass; params.yaml is checked against its fields."""
    judge: Callable[[pa.Table, Positions, Any], Verdict]
    """Of the table, the positions of the rows that are left, and numbers."""

    def __call__(self, table: pa.Table, rows: Positions, **numbers: Any) -> Verdict:
        """Judge rows; a Refusal begins with the step's place in params.yaml.

        Args:
            table: has ids, texts, hashes and clusters of all rows.
            rows: the positions of those that are left, ascending.
            numbers: as params.yaml gives them.
        """
        try:
            return self.judge(table, rows, self.numbers(**numbers))
        except Refusal as error:
            names = [field.name for field in dataclasses.fields(self.numbers)]
            joint = "." if str(error).partition(":")[0] in names else ": "
            raise Refusal(f"{PARAMS}: curate.steps {self.name}{joint}{error}") from None


def _numbers(function: Callable[..., Any]) -> type:
    """The class of a function's last argument, `numbers`."""
    kind: type = typing.get_type_hints(function).get("numbers", NoNumbers)
    return kind


def step(function: Callable[..., Verdict]) -> Step:
    """Make a step of a function of the table, the positions of the rows that are left and, where it
    takes any, `numbers` of an annotated dataclass."""
    numbers = _numbers(function)

    def judge(table: pa.Table, rows: Positions, values: Any) -> Verdict:
        return function(table, rows, *(() if numbers is NoNumbers else (values,)))

    return Step(function.__name__, numbers, judge)


def per_row(function: Callable[..., str | None]) -> Step:
    """Make a step of a function of one `Row` and, where it takes any, `numbers` of an annotated
    dataclass: it returns the reason why the row goes, or None."""
    numbers = _numbers(function)

    def judge(table: pa.Table, rows: Positions, values: Any) -> Verdict:
        given = () if numbers is NoNumbers else (values,)
        gone, reasons, at = [], list[str](), 0
        for part in parts(table.select(ROW_SCHEMA.names), rows):
            for place, row in enumerate(taken(part).to_pylist(), at):
                if reason := function(Row(**row), *given):
                    gone.append(place)
                    reasons.append(reason)
            at += len(part.inside)
        return Verdict(rows[gone], reasons, pa.nulls(len(gone), pa.string()))

    return Step(function.__name__, numbers, judge)
