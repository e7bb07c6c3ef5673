"""The section `analyze` of params.yaml."""

from dataclasses import dataclass

from winnow.errors import Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalyzeConfig:
    """How the results are judged."""

    resamples: int = 2000
    """Bootstrap replicates."""
    confidence: float = 0.90
    """Of every interval, in (0.5, 1)."""
    seed: int = 0
    """Of the bootstrap's draws."""
    perplexity_threshold: float = 20.0
    """The perplexity that time to threshold is about."""
    truth: str | None = None
    """JSONL of hash and quality, for a corpus whose quality was planted; null for any other."""

    def __post_init__(self) -> None:
        """Refuse what no interval can be made of."""
        checks = {
            "resamples": (self.resamples >= 100, "100 or more"),
            "confidence": (0.5 < self.confidence < 1, "a number in (0.5, 1)"),
            "seed": (self.seed >= 0, "0 or more"),
            "perplexity_threshold": (1 < self.perplexity_threshold < 1e9, "a number above 1"),
        }
        for name, (good, expected) in checks.items():
            if not good:
                found = getattr(self, name)
                raise Refusal(f"params.yaml: analyze.{name}: expected {expected}, found {found!r}")
