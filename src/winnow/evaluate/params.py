"""The section `evaluate` of params.yaml."""

from dataclasses import dataclass
from typing import Literal

from winnow import config


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One benchmark, by name."""

    name: Literal["MMLU", "HellaSwag", "ARC", "PIQA", "GSM8K", "HumanEval"]
    path: str | None = None
    """A local file or folder, or:"""
    revision: str | None = None
    """the commit, 40 hex digits, of the hub data set that lm-eval names."""
    limit: int | None = None
    """The first items of each of lm-eval's tasks (MMLU has 57, ARC two); null for all."""
    num_fewshot: int | None = None
    """Solved examples before the question; null for lm-eval's own number."""
    samples: int = 1
    """HumanEval's only: solutions a problem; one is greedy, more are drawn (temperature 0.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """How a model is judged; the test set is curate's."""

    tasks: str | None = None
    """A file of prompts whose answers a program can check, one JSON object a line: instruction,
    input, answer, check (exact, contains or number), or IFEval's prompt, instruction_id_list,
    kwargs."""
    max_tasks: int = 60
    """Of the file, evenly spaced."""
    num_prompts: int = 20
    """Test rows to complete, by content hash."""
    num_samples: int = 5
    """Completions a prompt."""
    max_new_tokens: int = 200
    """Tokens a completion, at most."""
    temperature: float = 0.8
    top_p: float = 0.9
    batch_size: int = 32
    """Windows of rows, or prompts, at a time: it is for the memory, no figure depends on it."""
    seed: int = 0
    """Of the samples."""
    benchmarks: tuple[Benchmark, ...] = ()
    """Public benchmarks to ask as well; see docs/benchmarks.md."""
    run_code: bool = False
    """Whether Python that a model wrote may be run, in a sandbox: HumanEval's solutions."""

    def __post_init__(self) -> None:
        """Refuse what nothing can be sampled with."""
        config.at_least(self, 1, "num_samples", "max_new_tokens", "batch_size")
        config.at_least(self, 0, "max_tasks", "num_prompts", "seed")
        config.demand(
            self,
            temperature=(self.temperature > 0, "a number above 0"),
            top_p=(0 < self.top_p <= 1, "a number in (0, 1]"),
        )

    def check(self) -> None:
        """Refuse tasks and benchmarks that are not there, cannot be read or cannot be run."""
        from winnow.evaluate import benchmarks, tasks

        tasks.read(self.tasks, self.max_tasks)
        benchmarks.read(self.benchmarks, self.run_code)
