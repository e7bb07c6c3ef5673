"""Which public benchmarks are chosen, and their items where they are local files."""

import csv
import importlib.util
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from winnow.core import files
from winnow.core.errors import Refusal
from winnow.evaluate import sandbox
from winnow.evaluate.params import Benchmark

Items = dict[str, dict[str, list[dict[str, Any]]]]
"""Rows by lm-eval's task and by split, `test` and `fewshot`."""

TASKS = {
    "MMLU": ("mmlu",),
    "HellaSwag": ("hellaswag",),
    "ARC": ("arc_easy", "arc_challenge"),
    "PIQA": ("piqa",),
    "GSM8K": ("gsm8k",),
    "HumanEval": ("humaneval",),
}


@dataclass(frozen=True, slots=True)
class BenchmarkItems:
    """A benchmark and its local items."""

    benchmark: Benchmark
    items: Items
    """Empty where lm-eval fetches them from the hub."""


def _shaped(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """A local row under the columns that lm-eval's task reads."""
    if name == "MMLU":
        choices = [row[f"choice{number}"] for number in range(4)]
        kept = {key: row[key] for key in ("question", "subject")}
        return kept | {"choices": choices, "answer": int(row["answer"])}
    if name in ("GSM8K", "HumanEval"):
        columns = {"GSM8K": ("question", "answer"), "HumanEval": ("prompt", "test", "entry_point")}
        return {key: row[key] for key in columns[name]}
    query, choices, gold = row["query"], list(row["choices"]), int(row["gold"])
    assert choices[gold]
    if name == "HellaSwag":
        return {"query": query, "choices": choices, "label": str(gold)}
    question = query.removeprefix("Question: ").rstrip("\n")
    if name == "PIQA":
        return {"goal": question, "sol1": choices[0], "sol2": choices[1], "label": gold}
    labels = [str(number) for number in range(len(choices))]
    labelled = {"text": choices, "label": labels}
    return {"question": question, "choices": labelled, "answerKey": str(gold)}


def _six_lines(text: str) -> Iterator[dict[str, Any]]:
    """HellaSwag as plain text: context, number of the right ending, four endings."""
    lines = text.rstrip("\n").split("\n")
    for start in range(0, len(lines), 6):
        query, gold, *choices = lines[start : start + 6]
        yield {"query": query, "choices": choices, "gold": gold}


def _rows(name: str, path: Path) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            text = stream.read().decode()
        if ".csv" in path.suffixes:
            rows: Any = csv.DictReader(io.StringIO(text, newline=""))
        elif ".txt" in path.suffixes:
            rows = _six_lines(text)
        else:
            rows = map(json.loads, filter(str.strip, text.split("\n")))
        for row in rows:
            items.append(_shaped(name, row))
    except (ValueError, KeyError, TypeError, IndexError, AssertionError) as error:
        raise Refusal(f"{path}: item {len(items) + 1} is none of {name} ({error!r})") from None
    if not items:
        raise Refusal(f"{path}: no items of {name}")
    return items


def _local(benchmark: Benchmark, place: str) -> Items:
    """The items of a file, or of a folder's files by their names."""
    path, name = Path(benchmark.path or ""), benchmark.name
    tasks = TASKS[name]
    if not path.exists():
        raise Refusal(f"{place}: no file or folder {benchmark.path!r}")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    by_stem = {file.name.split(".")[0]: file for file in files}
    items = {task: {"test": _rows(name, by_stem[task])} for task in tasks if task in by_stem}
    if not items and len(tasks) == 1 and (len(files) == 1 or "test" in by_stem):
        items[tasks[0]] = {"test": _rows(name, by_stem.get("test", files[0]))}
    if not items:
        raise Refusal(f"{place}: no file named {' or '.join(tasks)} in {benchmark.path!r}")
    for stem in ("dev", "train"):
        if stem in by_stem and len(tasks) == 1:
            items[tasks[0]]["fewshot"] = _rows(name, by_stem[stem])
    return _by_subject(items) if name == "MMLU" else items


def _by_subject(items: Items) -> Items:
    """MMLU's items by lm-eval's tasks, of which each subject is one."""
    subjects: Items = {}
    for split, rows in items["mmlu"].items():
        for row in rows:
            task = f"mmlu_{row['subject'].replace(' ', '_')}"
            subjects.setdefault(task, {}).setdefault(split, []).append(row)
    return {task: splits for task, splits in subjects.items() if "test" in splits}


def read(benchmarks: Sequence[Benchmark], run_code: bool) -> list[BenchmarkItems]:
    """Read the local items, and see that every benchmark can be run.

    Raises:
        Refusal: lm-eval or the sandbox is missing, code may not be run, or a file is not what
            it should be.
    """
    if benchmarks and importlib.util.find_spec("lm_eval") is None:
        raise Refusal(
            "params.yaml: evaluate.benchmarks: lm-eval is missing: pip install -e '.[lm-eval]'"
        )
    chosen = []
    for number, benchmark in enumerate(benchmarks):
        place = f"params.yaml: evaluate.benchmarks[{number}] {benchmark.name}"
        if any(other.name == benchmark.name for other in benchmarks[:number]):
            raise Refusal(f"{place}: asked for twice")
        _check(benchmark, run_code, place)
        items = {} if benchmark.path is None else _local(benchmark, place)
        chosen.append(BenchmarkItems(benchmark, items))
    return chosen


def _check(benchmark: Benchmark, run_code: bool, place: str) -> None:
    """Refuse a benchmark whose keys contradict each other, or whose code may not be run."""
    if (benchmark.path is None) == (benchmark.revision is None):
        raise Refusal(f"{place}: expected a path, or a revision of the hub's data set")
    if benchmark.revision and not re.fullmatch("[0-9a-f]{40}", benchmark.revision):
        raise Refusal(
            f"{place}.revision: expected a commit of 40 hex digits, found {benchmark.revision!r}"
        )
    if benchmark.name != "HumanEval":
        if benchmark.samples > 1:
            raise Refusal(f"{place}.samples: expected 1, found {benchmark.samples}")
        return
    if not run_code:
        raise Refusal(
            f"{place}: it runs the Python that the model writes, in a sandbox without "
            "network or files: allow that with evaluate.run_code: true"
        )
    sandbox.demand()


def key(benchmarks: Sequence[BenchmarkItems]) -> dict[str, Any]:
    """What the results depend on, beside the settings."""
    items = {each.benchmark.name: files.fingerprint(each.items) for each in benchmarks}
    return items | (files.versions("lm_eval") if benchmarks else {})
