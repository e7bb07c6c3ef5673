"""The section `score` of params.yaml."""

from dataclasses import dataclass

from winnow import config


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """How the work is cut; the formulas have no knobs."""

    chunk_rows: int = 20000
    """Rows between two points from which a killed run goes on."""

    def __post_init__(self) -> None:
        """Refuse chunks of nothing."""
        config.at_least(self, 1, "chunk_rows")
