"""Benchmarks by lm-evaluation-harness: its prompts, answers and metrics, whatever the items' place.

Beside accuracy stands what moves long before it does in a small model: how likely the right answer
is (the continuous figures of DataDecide, Magnusson et al. 2025, arXiv 2504.11393).
"""

import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch

from winnow.core.errors import Refusal
from winnow.evaluate import sandbox
from winnow.evaluate.benchmarks import TASKS, BenchmarkItems
from winnow.models.judged import Judged
from winnow.models.tokenizer import Vocabulary

FOLDERS = {"MMLU": "mmlu/default"} | {name: name.lower() for name in TASKS if name != "MMLU"}
"""Where lm-eval keeps a benchmark's definition: to read all of them takes it 13 seconds."""

UNDEFINED = {
    "accuracy": "no item fits the context",
    "accuracy_norm": "lm-eval has none for this task",
    "accuracy_flexible": "GSM8K's alone",
    "log_likelihood_per_byte": "answers are written, not chosen",
    "correct_prob": "answers are written, not chosen",
    "norm_correct_prob": "answers are written, not chosen",
}
"""The figures of an item whose means are reported, and why there may be none."""

SCHEMA = pa.schema(
    [("benchmark", pa.string()), ("task", pa.string()), ("item", pa.int64()), ("hash", pa.string())]
    + [(name, pa.float64()) for name in UNDEFINED]
    + [("log_likelihood", pa.float64()), ("answers", pa.list_(pa.string()))]
)
"""What evaluate writes per item of a benchmark, null where undefined: its place in lm-eval's task,
the hash of its content, the figures, the right answer's log-likelihood in nats, what was written.
"""


DRAWN = {"do_sample": True, "temperature": 0.2, "top_p": 0.95}
"""How several solutions are drawn, as by Chen et al. 2021."""


def pass_at(k: int, samples: int, passed: int) -> float:
    """The unbiased estimate of the chance that one of k solutions passes (Chen et al. 2021)."""
    return 1 - math.comb(samples - passed, k) / math.comb(samples, k)


def _run_solutions(doc: dict[str, Any], results: list[list[str]]) -> dict[str, float]:
    """pass@1 of one problem of HumanEval."""
    tests = f"{doc['prompt']}\n{doc['test']}"
    passed = [
        sandbox.passes(doc["prompt"] + text, tests, doc["entry_point"]) for text in results[0]
    ]
    return {"accuracy": pass_at(1, len(passed), sum(passed))}


def _changes(chosen: BenchmarkItems, task: str) -> dict[str, Any]:
    """What differs from lm-eval's definition of a task."""
    from datasets import Dataset

    benchmark, splits = chosen.benchmark, chosen.items.get(task, {})
    changes: dict[str, Any] = {"task": task}
    if benchmark.num_fewshot is not None:
        changes["num_fewshot"] = benchmark.num_fewshot
    if benchmark.name == "HumanEval":
        metric = {"metric": "accuracy", "aggregation": "mean", "higher_is_better": True}
        keep = {"function": "take_first_k", "k": benchmark.samples}
        changes |= {"metric_list": [metric], "process_results": _run_solutions}
        changes |= {"filter_list": [{"name": "all", "filter": [keep]}], "unsafe_code": False}
        changes |= {"repeats": benchmark.samples}
    if not splits:
        return changes | {"dataset_kwargs": {"revision": benchmark.revision}}
    few = "fewshot" if "fewshot" in splits else None
    changes |= {"training_split": None, "validation_split": None, "test_split": "test"}
    changes |= {"fewshot_split": few, "process_docs": None}
    data = {split: Dataset.from_list(rows) for split, rows in splits.items()}
    return changes | {"custom_dataset": lambda **_: dict(data)}


def _tasks(chosen: BenchmarkItems, seed: int) -> dict[str, Any]:
    """lm-eval's tasks of a benchmark, by name, with their items."""
    import lm_eval.tasks

    name = chosen.benchmark.name
    folder = Path(lm_eval.tasks.__file__).parent / FOLDERS[name]
    manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(folder))
    names = list(chosen.items) or (manager.all_subtasks if name == "MMLU" else TASKS[name])
    if unknown := set(names) - set(manager.all_subtasks):
        raise Refusal(f"{chosen.benchmark.path}: lm-eval has no task {min(unknown)}")
    try:
        if name == "HumanEval":
            # By hand, as lm-eval's own task asks the hub for what runs code.
            definition = manager.task_index["humaneval"].cfg | _changes(chosen, "humaneval")
            if chosen.benchmark.samples > 1:
                definition["generation_kwargs"] = definition["generation_kwargs"] | DRAWN
            tasks = manager.load([definition])["tasks"]
        else:
            changes = [_changes(chosen, task) for task in names]
            tasks = manager.load([{"group": "winnow", "task": changes}])["tasks"]
    except (OSError, ValueError) as error:
        cause = " ".join(str(error).split())[:160]
        raise Refusal(f"{name}: its items cannot be had ({cause})") from None
    for task in tasks.values():
        if chosen.items and task.config.num_fewshot and not task.config.fewshot_split:
            raise Refusal(
                f"{chosen.benchmark.path}: no file named dev or train to take {name}'s "
                f"{task.config.num_fewshot} solved examples from: set num_fewshot to 0"
            )
        task.set_fewshot_seed(seed)
    return dict(tasks)


def _fit(
    task: Any, limit: int | None, vocabulary: Vocabulary, context: int
) -> tuple[list[int], int]:
    """Leave a task its first items up to the limit, but those with an answer that the context
    cannot hold; returns their places and the number of the others. An answer that is to be written
    gets half of the context at most."""
    config, docs = task.config, task.eval_docs
    number = len(docs) if limit is None else min(limit, len(docs))
    places = list(range(number))
    if config.doc_to_choice is None:
        most = min(context // 2, config.generation_kwargs.get("max_gen_toks", 256))
        task.set_config("generation_kwargs", {"max_gen_toks": most}, update=True)
    else:
        choices = [task.doc_to_choice(docs[place]) for place in places]
        flat = vocabulary.encodings([" " + text for texts in choices for text in texts])
        lengths = iter([len(encoding.ids) for encoding in flat])
        longest = [max(next(lengths) for _ in texts) for texts in choices]
        places = [place for place in places if longest[place] < context]
    split = config.test_split or config.validation_split
    task.dataset[split] = task.dataset[split].select(places)
    return places, number - len(places)


def _num_cut(task: Any, samples: list[Any], vocabulary: Vocabulary, context: int) -> int:
    """Items whose prompt loses its beginning to make room for the answer."""
    has_choices = task.config.doc_to_choice is not None
    room = context + 1 if has_choices else context - task.config.generation_kwargs["max_gen_toks"]
    requests = [
        (sample["doc_id"], arguments[0] + (arguments[1] if has_choices else ""))
        for sample in samples
        for arguments in sample["arguments"]
    ]
    encodings = vocabulary.encodings([text for _, text in requests])
    cut = (len(encoding.ids) > room for encoding in encodings)
    return len({item for (item, _), is_cut in zip(requests, cut, strict=True) if is_cut})


def _chosen(sample: dict[str, Any], choices: list[str]) -> dict[str, Any]:
    """Figures of one multiple-choice item: probabilities of whole answers, given the prompt."""
    likelihoods = [response[0] for response in sample["filtered_resps"]]
    gold = sample["target"]
    right, top = likelihoods[gold], max(likelihoods)
    return {
        "accuracy": sample["acc"],
        "accuracy_norm": sample.get("acc_norm"),
        "log_likelihood": right,
        "log_likelihood_per_byte": right / len(choices[gold].encode()),
        "correct_prob": math.exp(right),
        "norm_correct_prob": math.exp(right - top) / sum(math.exp(x - top) for x in likelihoods),
    }


def _records(name: str, task: Any, places: list[int], samples: list[Any]) -> list[dict[str, Any]]:
    """A record (SCHEMA) of each item of a task; lm-eval has a sample for each of its filters."""
    records: dict[int, dict[str, Any]] = {}
    for sample in samples:
        head = {"benchmark": name, "task": task.task_name, "item": places[sample["doc_id"]]}
        record = records.setdefault(sample["doc_id"], head | {"hash": sample["doc_hash"]})
        if task.config.doc_to_choice is not None:
            record |= _chosen(sample, task.doc_to_choice(sample["doc"]))
        elif sample["filter"] == "flexible-extract":
            record["accuracy_flexible"] = sample["exact_match"]
        else:
            score = sample["accuracy" if name == "HumanEval" else "exact_match"]
            record |= {"accuracy": score, "answers": sample["resps"][0]}
    return list(records.values())


def summarise(items: pd.DataFrame) -> dict[str, Any]:
    """Means of the figures over items, each with its standard error; an undefined one is null."""
    summary: dict[str, Any] = {"num_items": len(items), "reasons": {}}
    for name, reason in UNDEFINED.items():
        values = items[name].dropna()
        some, several = len(values) > 0, len(values) > 1
        summary[name] = float(values.mean()) if some else None
        summary[f"{name}_stderr"] = float(values.sem()) if several else None
        if not several:
            summary["reasons"][f"{name}_stderr" if some else name] = "one item" if some else reason
    return summary


def ask(
    judged: Judged, benchmarks: list[BenchmarkItems], batch_size: int, seed: int
) -> tuple[pa.Table, dict[str, Any]]:
    """Ask a model all items.

    Args:
        judged: the model. A prompt that is too long for its context loses its beginning; an item
            with an answer that is too long is left out; both are counted.
        benchmarks: with their items.
        batch_size: prompts at a time.
        seed: of the solved examples and of what is drawn.

    Returns:
        The items (SCHEMA), and the figures of each benchmark and of its tasks.
    """
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    lm = HFLM(
        judged.network,
        tokenizer=judged.hf_tokenizer(),
        max_length=judged.context,
        batch_size=batch_size,
        add_bos_token=judged.begin != judged.vocabulary.end_of_text,
        trust_remote_code=False,
    )
    records: list[dict[str, Any]] = []
    counts: dict[str, dict[str, int]] = {}
    for chosen in benchmarks:
        answered, counts[chosen.benchmark.name] = _answers(lm, chosen, judged, seed)
        records += answered
    table = pa.Table.from_pylist(records, SCHEMA)
    frame = table.to_pandas()
    metrics: dict[str, Any] = {}
    for name, numbers in counts.items():
        items = frame[frame["benchmark"] == name]
        by_task = {task: summarise(part) for task, part in items.groupby("task")}
        metrics[name] = summarise(items) | numbers | {"tasks": by_task}
    return table, metrics


def _answers(
    lm: Any, chosen: BenchmarkItems, judged: Judged, seed: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The records of a benchmark's items, and how many of them did not fit."""
    import lm_eval

    benchmark, vocabulary, context = chosen.benchmark, judged.vocabulary, judged.context
    tasks = _tasks(chosen, seed)
    fitting = {name: _fit(tasks[name], benchmark.limit, vocabulary, context) for name in tasks}
    tasks = {name: tasks[name] for name, (places, _) in fitting.items() if places}
    torch.manual_seed(seed)
    # Not simple_evaluate, which collects what is known of the machine by running programs.
    answers = lm_eval.evaluate(lm, {"tasks": tasks}, bootstrap_iters=0) if tasks else {}
    counts = {"too_long": sum(lost for _, lost in fitting.values()), "cut_prompts": 0}
    records: list[dict[str, Any]] = []
    for name, samples in answers.get("samples", {}).items():
        counts["cut_prompts"] += _num_cut(tasks[name], samples, vocabulary, context)
        records += _records(benchmark.name, tasks[name], fitting[name][0], samples)
    return records, counts
