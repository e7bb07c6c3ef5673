"""The section `analyze` of params.yaml, and the questions that it can list."""

from dataclasses import dataclass
from typing import Annotated

from winnow.core import extensions
from winnow.core.params import Range, Seed, Text, fail

QUESTIONS = (
    "answer",
    "performance_vs_size",
    "efficiency_metrics",
    "quality_threshold",
    "quality_threshold_interval",
    "hypothesis",
    "confounds",
    "power",
    "recommendations",
    "dial",
    "scaling",
    "proxy",
)
"""Those of winnow, each a module of winnow.analyze.questions."""
NEEDED = ("answer", "performance_vs_size", "efficiency_metrics")
"""Without these the report, the summary and metrics.json would be empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalyzeConfig:
    """How the results are judged."""

    questions: tuple[Text, ...] = QUESTIONS
    """What is asked: questions of winnow by name, your own as package.module:name."""
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
        """Refuse questions that there are not, and a truth that is not there or cannot be read."""
        from winnow.analyze.audits import planted_truth

        missing = [name for name in NEEDED if name not in self.questions]
        if missing or len(set(self.questions)) < len(self.questions):
            expected = f"each question once, and {', '.join(NEEDED)} among them"
            fail("analyze.questions", expected, list(self.questions))
        for name in self.questions:
            if name not in QUESTIONS and not extensions.is_path(name):
                expected = f"{', '.join(QUESTIONS)}, or package.module:name of your own"
                fail("analyze.questions", expected, name)
        if self.truth:
            planted_truth.read(self.truth)
