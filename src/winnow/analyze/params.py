"""The section `analyze` of params.yaml, and the file of planted truth that it can name."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from winnow.core import extensions
from winnow.core.errors import Refusal
from winnow.core.params import Range, Seed, Text, demand_file, fail

QUESTIONS = (
    "answer",
    "scores",
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


def read_truth(path: str) -> dict[str, str]:
    """Content hash -> the quality that the row was made with.

    Raises:
        Refusal: the file is missing, or a line is not as it should be.
    """
    demand_file("analyze.truth", path, "; a corpus without one has null")
    truth = dict[str, str]()
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            truth[row["hash"]] = row["quality"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(f"{path}:{number}: expected hash and quality, found {error!r}") from None
    return truth


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalyzeConfig:
    """How the results are judged."""

    questions: tuple[Text, ...] = QUESTIONS
    """What is asked: questions of winnow by name, your own as package.module:name."""
    metric: Literal["loss", "response_loss", "bits_per_byte", "task_completion"] = "loss"
    """By which arms are compared: on all tokens of the test rows, on those of the responses, on
    bytes (where tokenizers differ), or the share of tasks that are completed."""
    margin: Annotated[float, Range("[0, 1000]")] = 0.02
    """What may be given away for a cheaper choice, in the metric's unit; 0.02 nats per token are 2%
    of the perplexity."""
    resamples: Annotated[int, Range("[100, 100000]")] = 2000
    """Replicates, for what has no interval in closed form: laws, exchange rates, ranks."""
    confidence: Annotated[float, Range("(0.5, 1)")] = 0.90
    """Of every interval."""
    seed: Seed = 0
    """Of the replicates' draws."""
    perplexity_threshold: Annotated[float, Range("(1, 1000000000)")] = 20.0
    """The perplexity that time to threshold is about."""
    truth: Text | None = None
    """JSONL of hash and quality, for a corpus whose quality was planted; null for any other."""

    def check(self) -> None:
        """Refuse questions that there are not, and a truth that is not there or cannot be read."""
        missing = [name for name in NEEDED if name not in self.questions]
        if missing or len(set(self.questions)) < len(self.questions):
            expected = f"each question once, and {', '.join(NEEDED)} among them"
            fail("analyze.questions", expected, list(self.questions))
        for name in self.questions:
            if name not in QUESTIONS and not extensions.is_path(name):
                expected = f"{', '.join(QUESTIONS)}, or package.module:name of your own"
                fail("analyze.questions", expected, name)
        if self.truth:
            read_truth(self.truth)
