"""The section `score` of params.yaml."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """How the work is cut; the formulas have no knobs."""

    chunk_rows: int = 20000
    """Rows between two points from which a killed run goes on."""
