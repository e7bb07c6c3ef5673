"""The section `evaluate` of params.yaml."""

from dataclasses import dataclass
from typing import Annotated, Literal

from winnow.core.params import Count, Range, Seed, Share, Text


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One benchmark, by name."""

    name: Literal["MMLU", "HellaSwag", "ARC", "PIQA", "GSM8K", "HumanEval"]
    path: Text | None = None
    """A local file or folder, or:"""
    revision: Text | None = None
    """the commit, 40 hex digits, of the hub data set that lm-eval names."""
    limit: Count | None = None
    """The first items of each of lm-eval's tasks (MMLU has 57, ARC two); null for all."""
    num_fewshot: Annotated[int, Range("[0, 1000]")] | None = None
    """Solved examples before the question; null for lm-eval's own number."""
    samples: Annotated[int, Range("[1, 1000]")] = 1
    """HumanEval's only: solutions a problem; one is greedy, more are drawn (temperature 0.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Test rows answered greedily, and compared with their right answers."""

    column: Text | None = None
    """A column of `ingest.keep` with all right answers of a row, as SQuAD lists them; null compares
    with the response alone."""
    max_new_tokens: Annotated[int, Range("[1, 100000]")] = 32
    """Tokens an answer, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """How a model is judged; the test set is curate's."""

    tasks: Text | None = None
    """A file of prompts whose answers a program can check, one JSON object a line: instruction,
    input, answer, check (exact, contains or number), or IFEval's prompt, instruction_id_list,
    kwargs."""
    max_tasks: Annotated[int, Range("[0, 1000000]")] = 60
    """Of the file, evenly spaced."""
    num_prompts: Annotated[int, Range("[0, 1000000]")] = 20
    """Test rows to complete, by content hash."""
    num_samples: Annotated[int, Range("[1, 1000]")] = 5
    """Completions a prompt."""
    max_new_tokens: Annotated[int, Range("[1, 100000]")] = 200
    """Tokens a completion, at most."""
    temperature: Annotated[float, Range("[0.01, 100]")] = 0.8
    top_p: Share = 0.9
    batch_size: Annotated[int, Range("[1, 10000]")] = 32
    """Windows of rows, or prompts, at a time: it is for the memory, no figure depends on it."""
    seed: Seed = 0
    """Of the samples."""
    benchmarks: tuple[Benchmark, ...] = ()
    """Public benchmarks to ask as well; see docs/benchmarks.md."""
    answers: Answers | None = None
    """Whether all test rows are answered as well, for exact match, F1 and ROUGE-L."""
    conversations: Text | None = None
    """A file of questions of several turns, one JSON object a line with `turns`, such as MT-Bench's
    question.jsonl: one answer to each turn is sampled, for a judge to compare."""
    run_code: bool = False
    """Whether Python that a model wrote may be run, in a sandbox: HumanEval's solutions."""

    def check(self) -> None:
        """Refuse what is to be asked and is not there, cannot be read or cannot be run."""
        from winnow.evaluate import benchmarks, conversations, tasks

        tasks.read(self.tasks, self.max_tasks)
        conversations.read(self.conversations)
        benchmarks.read(self.benchmarks, self.run_code)
