"""One number of several columns: a weighted sum, or the documented composite with phi.

The documented one is phi * (D + I + A) / 3, where each part is a product of columns: of data
(educational value, deduplication, diversity), of instruction (complexity, diversity, correctness),
of alignment (helpfulness, harmlessness, honesty). Its target is phi squared, 2.618. With all
columns in [0, 1] it cannot exceed phi, 1.618: only a factor on a longer scale, such as
FineWeb-Edu's 0 to 5, brings the target within reach. So every column has a range that is stated and
checked, and is mapped to [0, 1] unless `literal` says to take it as it is; the card holds the
maximum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from winnow.core.composite import PHI, TARGET, maximum
from winnow.core.errors import Refusal
from winnow.core.params import Range, Text
from winnow.score.scorers import Ready, Scores, Settings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from winnow.score.corpus import Corpus

Finite = Annotated[float, Range("[-1e9, 1e9]")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Composite(Settings):
    """Either `weights` or `parts`."""

    weights: dict[Text, Finite] | None = None
    """Column to weight; a negative one where the lowest numbers are the best."""
    scale: Literal["rank", "none"] = "rank"
    """Of weights. rank: each column is the share of the pool's rows that are below, ties counted
    half; none: as it is."""
    parts: dict[Text, tuple[Text, ...]] | None = None
    """Name of a part to the columns whose product it is."""
    ranges: dict[Text, tuple[Finite, ...]] | None = None
    """Of the columns of parts: the lowest and the highest number; [0, 1] where none is stated."""
    literal: bool = False
    """Take the columns of parts as they are, and not mapped to [0, 1]."""

    def __post_init__(self) -> None:
        """Refuse settings that say two things, or nothing."""
        if bool(self.weights) == bool(self.parts):
            raise Refusal("weights: expected weights or parts, one of them")
        if self.parts and not all(self.parts.values()):
            raise Refusal("parts: expected columns of every part")
        for name, limits in (self.ranges or {}).items():
            if len(limits) != 2 or not limits[0] < limits[1]:
                raise Refusal(f"ranges.{name}: expected [lowest, highest], found {[*limits]}")

    def columns(self) -> Sequence[str]:
        named = self.weights or [name for part in (self.parts or {}).values() for name in part]
        return [*dict.fromkeys(named)]

    def prepare(self, corpus: "Corpus") -> Ready:
        if self.parts:
            return _Parts(self, self.parts)
        pool = corpus.scores["train"]
        ranked = self.columns() if self.scale == "rank" else ()
        return _Sum(self.weights or {}, {name: _sorted(pool, name) for name in ranked})


def _sorted(pool: "pa.Table", name: str) -> "NDArray[np.float64]":
    """The numbers that there are of a column, ascending."""
    import numpy as np

    return np.sort(pool[name].drop_null().to_numpy().astype(np.float64))


def _numbers(rows: "pa.RecordBatch", name: str) -> "NDArray[np.float64]":
    """A column with NaN where there is no number."""
    import pyarrow as pa

    found: NDArray[np.float64] = rows[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found


def _named(
    values: "NDArray[np.float64]", columns: Mapping[str, "NDArray[np.float64]"]
) -> list[float | str]:
    """The numbers, or which column has none."""
    import numpy as np

    found: list[float | str] = list(values.tolist())
    for name in reversed([*columns]):
        for place in np.flatnonzero(np.isnan(columns[name])):
            found[place] = f"no {name}"
    return found


@dataclass(slots=True)
class _Sum(Ready):
    reads_scores = True
    weights: Mapping[str, float]
    pool: "Mapping[str, NDArray[np.float64]]"

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        import numpy as np

        columns = {name: _numbers(rows, name) for name in self.weights}
        total = np.zeros(len(rows))
        for name, weight in self.weights.items():
            total += weight * self._scaled(name, columns[name])
        return _named(total, columns)

    def _scaled(self, name: str, values: "NDArray[np.float64]") -> "NDArray[np.float64]":
        import numpy as np

        if name not in self.pool:
            return values
        pool = self.pool[name]
        below, upto = (np.searchsorted(pool, values, side) for side in ("left", "right"))
        shares: NDArray[np.float64] = (below + upto) / (2 * max(1, len(pool)))
        return shares


@dataclass(slots=True)
class _Parts(Ready):
    reads_scores = True
    settings: Composite
    parts: Mapping[str, Sequence[str]]
    at_target: int = field(default=0)

    def _range(self, name: str) -> tuple[float, float]:
        low, high = (self.settings.ranges or {}).get(name, (0.0, 1.0))
        return low, high

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        import numpy as np

        columns = {name: _numbers(rows, name) for name in self.settings.columns()}
        factors = {name: self._factor(name, values) for name, values in columns.items()}
        total = np.zeros(len(rows))
        for names in self.parts.values():
            total += np.prod([factors[name] for name in names], axis=0)
        total *= PHI / len(self.parts)
        self.at_target += int((total > TARGET).sum())
        return _named(total, columns)

    def _factor(self, name: str, values: "NDArray[np.float64]") -> "NDArray[np.float64]":
        low, high = self._range(name)
        outside = values[(values < low) | (values > high)]
        if len(outside):
            raise Refusal(
                f"ranges.{name}: {name} is said to be in [{low:g}, {high:g}], found "
                f"{outside[0]:g}: state its range"
            )
        return values if self.settings.literal else (values - low) / (high - low)

    def notes(self) -> Mapping[str, Any]:
        ends = {name: self._range(name) for name in self.settings.columns()}
        highest = maximum(self.parts.values(), ends, self.settings.literal)
        return {
            "ranges": {name: list(end) for name, end in ends.items()},
            "maximum": highest,
            "target": TARGET,
            "target_can_be_met": highest > TARGET,
            "rows_above_target": self.at_target,
        }
