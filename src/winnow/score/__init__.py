"""Four zero-cost dimensions of an instruction-response pair, by documented formulas."""

from winnow.score.scorer import QualityScorer

__all__ = ["QualityScorer"]
