"""The section `analyze` of params.yaml."""

from dataclasses import dataclass
from typing import Annotated

from winnow.core.params import Range, Seed, Text


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalyzeConfig:
    """How the results are judged."""

    resamples: Annotated[int, Range("[100, 100000]")] = 2000
    """Bootstrap replicates."""
    confidence: Annotated[float, Range("(0.5, 1)")] = 0.90
    """Of every interval."""
    seed: Seed = 0
    """Of the bootstrap's draws."""
    perplexity_threshold: Annotated[float, Range("(1, 1000000000)")] = 20.0
    """The perplexity that time to threshold is about."""
    truth: Text | None = None
    """JSONL of hash and quality, for a corpus whose quality was planted; null for any other."""

    def check(self) -> None:
        """Refuse a truth that is not there or cannot be read."""
        from winnow.analyze import truth

        if self.truth:
            truth.read(self.truth)
