"""The section `score` of params.yaml."""

from dataclasses import dataclass
from typing import Annotated

from winnow.core.params import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """How the work is cut; the formulas have no knobs."""

    chunk_rows: Annotated[int, Range("[1, 1000000]")] = 20000
    """Rows between two points from which a killed run goes on."""
