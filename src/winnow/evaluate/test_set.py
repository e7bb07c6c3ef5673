"""What every arm is judged on: test rows, tasks, conversations and benchmarks, read once."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core import cards, files, sources
from winnow.core.layout import CURATED, SCORED
from winnow.core.records import ROW_SCHEMA
from winnow.evaluate import answers, benchmarks, conversations, tasks
from winnow.evaluate.benchmarks import BenchmarkItems
from winnow.evaluate.conversations import Conversation
from winnow.evaluate.params import EvaluateConfig
from winnow.evaluate.tasks import Prompt


@dataclass(frozen=True, slots=True)
class TestSet:
    """What every arm is judged on, and how."""

    settings: EvaluateConfig
    rows: pa.Table
    """ROW_SCHEMA."""
    quintiles: list[int]
    """By score, 1 to 5, of each row."""
    tasks: list[Prompt]
    unchecked: int
    """Tasks that no program here can check."""
    conversations: list[Conversation]
    benchmarks: list[BenchmarkItems]
    rights: list[list[str]]
    """The right answers of each row, where `evaluate.answers` asks for any."""
    key: dict[str, Any]
    """What the results depend on, beside the model."""

    __test__ = False


def read(settings: EvaluateConfig) -> TestSet:
    """Read what curate and score held out, and what the settings name.

    Raises:
        Refusal: anything is missing, or is not what its stage wrote.
    """
    curated = cards.read_card(CURATED, "winnow curate", "test.parquet")["files"]
    scored = cards.read_card(SCORED, "winnow score", "test.parquet")
    cards.check_inputs(SCORED, scored, "winnow score")
    whole = pq.read_table(CURATED / "test.parquet")
    table = whole.select(ROW_SCHEMA.names)
    scores = pq.read_table(SCORED / "test.parquet", columns=["score"])["score"].to_numpy()
    ranks = np.argsort(np.argsort(scores, kind="stable"))
    prompts, unchecked = tasks.read(settings.tasks, settings.max_tasks)
    talks = conversations.read(settings.conversations)
    chosen = benchmarks.read(settings.benchmarks, settings.run_code)
    key = {
        "test": curated["test.parquet"]["sha256"],
        "scores": scored["files"]["test.parquet"]["sha256"],
        "tasks": files.fingerprint([asdict(prompt) for prompt in prompts]),
        "conversations": files.fingerprint([asdict(one) for one in talks]),
        "benchmarks": benchmarks.key(chosen),
        "settings": asdict(settings),
        "code": sources.code_hash("evaluate"),
        "versions": files.versions("torch", "transformers", "tokenizers", "numpy"),
    }
    return TestSet(
        settings=settings,
        rows=table,
        quintiles=(ranks * 5 // len(ranks) + 1).tolist(),
        tasks=prompts,
        unchecked=unchecked,
        conversations=talks,
        benchmarks=chosen,
        rights=answers.right_answers(whole, settings.answers) if settings.answers else [],
        key=key,
    )
