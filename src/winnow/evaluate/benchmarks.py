"""Which public benchmarks are asked for, and their items where they are local files."""

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
class Asked:
    """A benchmark and its local items; none of the hub's."""

    benchmark: Benchmark
    items: Items


def _shaped(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """A local row under the columns that lm-eval's task reads."""
    if name == "MMLU":
        choices = [row[f"choice{number}"] for number in range(4)]
        taken = {key: row[key] for key in ("question", "subject")}
        return taken | {"choices": choices, "answer": int(row["answer"])}
    if name in ("GSM8K", "HumanEval"):
        read = {"GSM8K": ("question", "answer"), "HumanEval": ("prompt", "test", "entry_point")}
        return {key: row[key] for key in read[name]}
    query, choices, gold = row["query"], list(row["choices"]), int(row["gold"])
    assert choices[gold]
    if name == "HellaSwag":
        return {"query": query, "choices": choices, "label": str(gold)}
    question = query.removeprefix("Question: ").rstrip("\n")
    if name == "PIQA":
        return {"goal": question, "sol1": choices[0], "sol2": choices[1], "label": gold}
    labels = [str(number) for number in range(len(choices))]
    given = {"text": choices, "label": labels}
    return {"question": question, "choices": given, "answerKey": str(gold)}


def _six_lines(text: str) -> Iterator[dict[str, Any]]:
    """HellaSwag as plain text: context, number of the right ending, four endings."""
    lines = text.rstrip("\n").split("\n")
    for start in range(0, len(lines), 6):
        query, gold, *choices = lines[start : start + 6]
        yield {"query": query, "choices": choices, "gold": gold}


def _rows(name: str, path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
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
            found.append(_shaped(name, row))
    except (ValueError, KeyError, TypeError, IndexError, AssertionError) as error:
        raise Refusal(f"{path}: item {len(found) + 1} is none of {name} ({error!r})") from None
    if not found:
        raise Refusal(f"{path}: no items of {name}")
    return found


def _local(asked: Benchmark, place: str) -> Items:
    """The items of a file, or of a folder's files by their names."""
    path, name, tasks = Path(asked.path or ""), asked.name, TASKS[asked.name]
    if not path.exists():
        raise Refusal(f"{place}: no file or folder {asked.path!r}")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    named = {file.name.split(".")[0]: file for file in files}
    found = {task: {"test": _rows(name, named[task])} for task in tasks if task in named}
    if not found and len(tasks) == 1 and (len(files) == 1 or "test" in named):
        found[tasks[0]] = {"test": _rows(name, named.get("test", files[0]))}
    if not found:
        raise Refusal(f"{place}: no file named {' or '.join(tasks)} in {asked.path!r}")
    for stem in ("dev", "train"):
        if stem in named and len(tasks) == 1:
            found[tasks[0]]["fewshot"] = _rows(name, named[stem])
    if name != "MMLU":
        return found
    subjects: Items = {}
    for split, rows in found["mmlu"].items():
        for row in rows:
            task = f"mmlu_{row['subject'].replace(' ', '_')}"
            subjects.setdefault(task, {}).setdefault(split, []).append(row)
    return {task: splits for task, splits in subjects.items() if "test" in splits}


def read(benchmarks: Sequence[Benchmark], run_code: bool) -> list[Asked]:
    """Read the local items, and see that all that is asked for can be run.

    Raises:
        Refusal: lm-eval or the sandbox is missing, code may not be run, or a file is not what
            it should be.
    """
    if benchmarks and importlib.util.find_spec("lm_eval") is None:
        raise Refusal(
            "params.yaml: evaluate.benchmarks: lm-eval is missing: pip install -e '.[lm-eval]'"
        )
    found = []
    for number, asked in enumerate(benchmarks):
        place = f"params.yaml: evaluate.benchmarks[{number}] {asked.name}"
        if any(other.name == asked.name for other in benchmarks[:number]):
            raise Refusal(f"{place}: asked for twice")
        if (asked.path is None) == (asked.revision is None):
            raise Refusal(f"{place}: expected a path, or a revision of the hub's data set")
        if asked.revision and not re.fullmatch("[0-9a-f]{40}", asked.revision):
            raise Refusal(
                f"{place}.revision: expected a commit of 40 hex digits, found {asked.revision!r}"
            )
        if asked.samples > 1 and asked.name != "HumanEval":
            raise Refusal(f"{place}.samples: expected 1, found {asked.samples}")
        if asked.name == "HumanEval":
            if not run_code:
                raise Refusal(
                    f"{place}: it runs the Python that the model writes, in a sandbox without "
                    "network or files: allow that with evaluate.run_code: true"
                )
            sandbox.demand()
        found.append(Asked(asked, {} if asked.path is None else _local(asked, place)))
    return found


def key(asked: Sequence[Asked]) -> dict[str, Any]:
    """What the results depend on, beside the settings."""
    items = {one.benchmark.name: files.fingerprint(one.items) for one in asked}
    return items | (files.versions("lm_eval") if asked else {})
