"""A metric is a numerator and a denominator per test item, so that one paired interval serves all.

Summed over some items, the numerator over the denominator is the metric's value.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

TEST_ITEMS = "evaluation/items.parquet"
BENCHMARK_ITEMS = "benchmarks/items.parquet"
ANSWER_ITEMS = "answers/items.parquet"
SAMPLES = "generation_analysis/samples.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """What is averaged, and where its items are."""

    name: str
    file: str
    """The file with the items, in a cell's folder of results."""
    numerator: str
    """A column; an item that is null there is left out."""
    denominator: str | None = None
    """A column; None counts every item once."""
    divisor: float = 1.0
    """Of the numerator, where its unit is another one than the metric's: nats a bit."""
    unit: str
    lower_is_better: bool
    benchmark: str | None = None
    """The benchmark whose items are meant, where the file holds several."""

    def value(self, items: Mapping[str, Any]) -> float:
        """The metric over items, given as columns of numbers."""
        numerators = items[self.numerator]
        count = len(numerators) if self.denominator is None else items[self.denominator].sum()
        return float(numerators.sum() / self.divisor / count)


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            name="loss",
            file=TEST_ITEMS,
            numerator="loss",
            denominator="num_tokens",
            unit="nats per token",
            lower_is_better=True,
        ),
        Metric(
            name="bits_per_byte",
            file=TEST_ITEMS,
            numerator="loss",
            denominator="num_bytes",
            divisor=math.log(2),
            unit="bits per byte",
            lower_is_better=True,
        ),
        Metric(
            name="response_loss",
            file=TEST_ITEMS,
            numerator="response_loss",
            denominator="response_tokens",
            unit="nats per token of the response",
            lower_is_better=True,
        ),
        Metric(
            name="task_completion",
            file=SAMPLES,
            numerator="passed",
            denominator="num_samples",
            unit="of the samples",
            lower_is_better=False,
        ),
        *(
            Metric(
                name=name,
                file=ANSWER_ITEMS,
                numerator=name,
                unit="of the test rows",
                lower_is_better=False,
            )
            for name in ("exact_match", "f1", "rouge_l")
        ),
    )
}


def accuracy(benchmark: str) -> Metric:
    """The accuracy of a benchmark, which is exact match where answers are written."""
    return Metric(
        name=f"{benchmark}.accuracy",
        file=BENCHMARK_ITEMS,
        numerator="accuracy",
        unit="of the items",
        lower_is_better=False,
        benchmark=benchmark,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """What a metric is made of, for one model: its value is a sum over a sum."""

    ids: list[str]
    """The test row's, the task's prompt, or the benchmark item's hash: equal for all models that
    were asked the same."""
    numerators: NDArray[np.float64]
    """(items,), in the metric's unit."""
    denominators: NDArray[np.float64]
    """(items,)"""


def read(results: Path, metric: Metric) -> Items:
    """The items of a metric in a cell's folder of results, in the order of the file."""
    path = results / metric.file
    table = _tasks(path) if metric.file == SAMPLES else pq.read_table(path)
    if metric.benchmark is not None:
        table = table.filter(pc.equal(table["benchmark"], metric.benchmark))
    table = table.filter(table[metric.numerator].is_valid())
    numerators = table[metric.numerator].to_numpy().astype(np.float64) / metric.divisor
    if metric.denominator is None:
        denominators = np.ones(len(table))
    else:
        denominators = table[metric.denominator].to_numpy().astype(np.float64)
    ids = table["id" if "id" in table.column_names else "hash"].to_pylist()
    return Items(ids, numerators, denominators)


def _tasks(path: Path) -> pa.Table:
    """Samples that passed, and all samples, of each task: its samples are one item, as they are not
    independent."""
    passed: dict[str, list[bool]] = {}
    # Not splitlines: a completion may hold U+2028, which ends no line of a JSON file.
    for line in filter(None, path.read_text(encoding="utf-8").split("\n")):
        sample = json.loads(line)
        if sample["passed"] is not None:
            passed.setdefault(sample["prompt"], []).append(sample["passed"])
    columns = {
        "id": pa.array(passed, pa.string()),
        "passed": pa.array([sum(each) for each in passed.values()], pa.int64()),
        "num_samples": pa.array([len(each) for each in passed.values()], pa.int64()),
    }
    return pa.table(columns)
