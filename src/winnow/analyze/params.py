"""The section `analyze` of params.yaml, and the file of planted truth that it can name."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from winnow.core import extensions
from winnow.core.composite import PARTS
from winnow.core.errors import Refusal
from winnow.core.params import Name, Probability, Range, Seed, Text, demand_file, fail

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
    "components",
    "proposal",
    "composite",
    "investments",
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


MEASURED: dict[str, str | None] = {
    "FineWeb_Score": "score.edu",
    "Dedup_Factor": "rows.unique",
    "Diversity_Index": "rows.dissimilarity",
    "Complexity": "score.complexity",
    "Diversity": "score.diversity",
    "Correctness": "evaluate.task_completion",
    "Helpfulness": "train.preference_accuracy",
    "Harmlessness": "curate.not_toxic",
    "Honesty": None,
}
"""The quantity that stands for each factor of the documented composite; nothing here measures
honesty."""
QUANTITIES = ("score", "rows", "curate", "evaluate", "benchmarks", "train")
"""What the names of quantities begin with, before a dot."""
Finite = Annotated[float, Range("[-1e9, 1e9]")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Composite:
    """What the documented composite is made of; see docs/value.md."""

    factors: dict[Text, Text | None] | None = field(default=None, hash=False)
    """Documented factor -> the quantity that stands for it, instead of that of MEASURED; null for
    none."""
    ranges: dict[Text, tuple[Finite, ...]] | None = field(default=None, hash=False)
    """The lowest and the highest value of a factor: [0, 1] where none is stated, and [0, 5] of
    FineWeb_Score."""
    literal: bool = False
    """Take factors as they are, and not mapped to [0, 1]."""

    def __post_init__(self) -> None:
        """Refuse factors and quantities that there are not, and ranges that are none."""
        known = [name for names in PARTS.values() for name in names]
        for name in (*(self.factors or ()), *(self.ranges or ())):
            if name not in known:
                raise Refusal(f"composite: expected factors among {', '.join(known)}, found {name}")
        for name, quantity in (self.factors or {}).items():
            room, _, figure = (quantity or "rows.x").partition(".")
            if room not in QUANTITIES or not figure:
                kinds = ", ".join(f"{each}.<name>" for each in QUANTITIES)
                raise Refusal(f"composite.factors.{name}: expected {kinds}, found {quantity}")
        for name, limits in (self.ranges or {}).items():
            if len(limits) != 2 or not limits[0] < limits[1]:
                raise Refusal(
                    f"composite.ranges.{name}: expected [lowest, highest], found {[*limits]}"
                )

    @property
    def measured(self) -> dict[str, str | None]:
        """The quantity that stands for each factor."""
        return MEASURED | (self.factors or {})

    def limits(self, factor: str) -> tuple[float, float]:
        """The range of a factor."""
        documented = (0.0, 5.0 if factor == "FineWeb_Score" else 1.0)
        low, high = (self.ranges or {}).get(factor, documented)
        return low, high


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """An arm of the chain, and what was invested since the arm before it."""

    name: Name
    """The investment; of the first arm a name for where the chain starts."""
    arm: Name
    """The experiment."""
    folder: Text | None = None
    """Another project's, where its experiment has other curated rows and the same test rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Combination:
    """An arm with other investments than any arm of the chain."""

    of: tuple[Name, ...]
    """Names of links, the first aside."""
    arm: Name
    folder: Text | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A judge behind a service of OpenAI's chat protocol."""

    name: Literal["service"] = "service"
    url: Text
    """Its address up to and without /chat/completions, such as http://localhost:8000/v1."""
    model: Text
    """As the service names it."""
    key: Name | None = None
    """The environment variable that holds the key; its value is never in params.yaml."""
    criteria: Text = "The better answer is the more correct, complete, clear and helpful one."
    workers: Annotated[int, Range("[1, 256]")] = 4
    """Requests at the same time."""
    timeout: Annotated[float, Range("[1, 3600]")] = 120.0
    """Seconds until a request counts as unanswered."""
    max_characters: Annotated[int, Range("[1000, 10000000]")] = 20_000
    """A pair with more is not sent, and has no verdict."""
    max_tokens: Annotated[int, Range("[1, 100000]")] = 64
    """Of a reply."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preferences:
    """Answers of arms judged against those of one other arm, or of a file."""

    baseline: Text
    """An experiment of the grid, or a file of answers (.json, .jsonl): instruction and output."""
    judge: Text | Service
    """A service, or a program as package.module:name."""
    answers: Literal["samples", "answers", "conversations"] = "samples"
    """Which of evaluate's: the first sample of each prompt and task, `answers` to the test rows, or
    `conversations`, each with all of its turns as one."""
    canaries: Annotated[int, Range("[1, 1000]")] = 10
    """Prompts on which known attacks on judges are tried before any answer is judged."""
    max_canary: Probability = 0.3
    """A judge that prefers an attack more often than this is refused; a tie counts half."""

    def __post_init__(self) -> None:
        if isinstance(self.judge, str) and not extensions.is_path(self.judge):
            raise Refusal(
                "judge: expected url and model of a service, or package.module:name of a program, "
                f"found {self.judge!r}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalyzeConfig:
    """How the results are judged."""

    questions: tuple[Text, ...] = QUESTIONS
    """What is asked: questions of winnow by name, your own as package.module:name."""
    metric: Literal[
        "loss",
        "response_loss",
        "bits_per_byte",
        "task_completion",
        "exact_match",
        "f1",
        "rouge_l",
    ] = "loss"
    """By which arms are compared: on all tokens of the test rows, on those of the responses, on
    bytes (where tokenizers differ), the share of tasks that are completed, or how near answers to
    the test rows come to the right ones."""
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
    preferences: Preferences | None = None
    """What winnow.analyze.questions.preferences:ask judges, and by whom."""
    truth: Text | None = None
    """JSONL of hash and quality, for a corpus whose quality was planted; null for any other."""
    composite: Composite = Composite()
    """Of the question `composite`."""
    chain: tuple[Link, ...] = ()
    """Arms of the question `investments`, each with one investment more than the one before."""
    combinations: tuple[Combination, ...] = ()
    """More arms of the same investments: with one for each set of them, Shapley values are had."""
    price_per_hour: Annotated[float, Range("(0, 1000000]")] | None = None
    """What an hour of the device costs, in your currency; null where no price is known."""

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
        self._check_chain()
        if self.truth:
            read_truth(self.truth)

    def _check_chain(self) -> None:
        names = [link.name for link in self.chain]
        if len(names) == 1 or len(set(names)) < len(names):
            fail("analyze.chain", "two or more arms with a name each", names)
        taken = [set(names[1 : place + 1]) for place in range(len(names))]
        arms = [(link.arm, link.folder) for link in self.chain]
        arms += [(one.arm, one.folder) for one in self.combinations]
        if len(set(arms)) < len(arms):
            fail("analyze.chain", "each arm once", [arm for arm, _ in arms])
        for one in self.combinations:
            if not set(one.of) <= set(names[1:]) or set(one.of) in taken:
                expected = f"a set of {', '.join(names[1:]) or 'links'} that has no arm yet"
                fail("analyze.combinations", expected, list(one.of))
            taken.append(set(one.of))
