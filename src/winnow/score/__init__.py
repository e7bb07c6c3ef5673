"""Four zero-cost dimensions of an instruction-response pair, by documented formulas."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from winnow.score.scorers.documented import QualityScorer

__all__ = ["QualityScorer"]


def __getattr__(name: str) -> Any:
    """Import the scorer where it is asked for: params.yaml is checked without its libraries."""
    if name != "QualityScorer":
        raise AttributeError(name)
    from winnow.score.scorers.documented import QualityScorer

    return QualityScorer
