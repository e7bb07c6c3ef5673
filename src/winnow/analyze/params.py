"""The section `analyze` of params.yaml."""

from dataclasses import dataclass

from winnow import config


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
        config.at_least(self, 100, "resamples")
        config.at_least(self, 0, "seed")
        threshold = self.perplexity_threshold
        config.demand(
            self,
            confidence=(0.5 < self.confidence < 1, "a number in (0.5, 1)"),
            perplexity_threshold=(1 < threshold < 1e9, "a number above 1"),
        )

    def check(self) -> None:
        """Refuse a truth that is not there or cannot be read."""
        from winnow.analyze import truth

        if self.truth:
            truth.read(self.truth)
