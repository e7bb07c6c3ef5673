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
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from winnow.core.errors import Refusal
from winnow.evaluate import sandbox
from winnow.evaluate.benchmarks import TASKS, Asked
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


def _changes(asked: Asked, task: str) -> dict[str, Any]:
    """What differs from lm-eval's definition of a task."""
    from datasets import Dataset

    benchmark, splits = asked.benchmark, asked.items.get(task, {})
    found: dict[str, Any] = {"task": task}
    if benchmark.num_fewshot is not None:
        found["num_fewshot"] = benchmark.num_fewshot
    if benchmark.name == "HumanEval":
        metric = {"metric": "accuracy", "aggregation": "mean", "higher_is_better": True}
        keep = {"function": "take_first_k", "k": benchmark.samples}
        found |= {"metric_list": [metric], "process_results": _run_solutions, "unsafe_code": False}
        found |= {"filter_list": [{"name": "all", "filter": [keep]}], "repeats": benchmark.samples}
    if not splits:
        return found | {"dataset_kwargs": {"revision": benchmark.revision}}
    few = "fewshot" if "fewshot" in splits else None
    found |= {"training_split": None, "validation_split": None, "test_split": "test"}
    found |= {"fewshot_split": few, "process_docs": None}
    data = {split: Dataset.from_list(rows) for split, rows in splits.items()}
    return found | {"custom_dataset": lambda **_: dict(data)}


def _tasks(asked: Asked, seed: int) -> dict[str, Any]:
    """lm-eval's tasks of a benchmark, by name, with their items."""
    import lm_eval.tasks

    name = asked.benchmark.name
    folder = Path(lm_eval.tasks.__file__).parent / FOLDERS[name]
    manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(folder))
    wanted = list(asked.items) or (manager.all_subtasks if name == "MMLU" else TASKS[name])
    if unknown := set(wanted) - set(manager.all_subtasks):
        raise Refusal(f"{asked.benchmark.path}: lm-eval has no task {min(unknown)}")
    try:
        if name == "HumanEval":  # by hand: to load lm-eval's whole asks the hub for what runs code
            whole = manager.task_index["humaneval"].cfg | _changes(asked, "humaneval")
            if asked.benchmark.samples > 1:
                drawn = {"do_sample": True, "temperature": 0.2, "top_p": 0.95}  # Chen et al.
                whole["generation_kwargs"] = whole["generation_kwargs"] | drawn
            found = manager.load([whole])["tasks"]
        else:
            specs = [_changes(asked, task) for task in wanted]
            found = manager.load([{"group": "winnow", "task": specs}])["tasks"]
    except (OSError, ValueError) as error:
        cause = " ".join(str(error).split())[:160]
        raise Refusal(f"{name}: its items cannot be had ({cause})") from None
    for task in found.values():
        if asked.items and task.config.num_fewshot and not task.config.fewshot_split:
            raise Refusal(
                f"{asked.benchmark.path}: no file named dev or train to take {name}'s "
                f"{task.config.num_fewshot} solved examples from: set num_fewshot to 0"
            )
        task.set_fewshot_seed(seed)
    return dict(found)


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
    chosen = task.config.doc_to_choice is not None
    room = context + 1 if chosen else context - task.config.generation_kwargs["max_gen_toks"]
    asked = [
        (sample["doc_id"], arguments[0] + (arguments[1] if chosen else ""))
        for sample in samples
        for arguments in sample["arguments"]
    ]
    encodings = vocabulary.encodings([text for _, text in asked])
    return len(
        {item for (item, _), found in zip(asked, encodings, strict=True) if len(found.ids) > room}
    )


def _chosen(sample: dict[str, Any], choices: list[str]) -> dict[str, Any]:
    """Figures of one multiple-choice item: probabilities of whole answers, given the prompt."""
    likelihoods, gold = [given[0] for given in sample["filtered_resps"]], sample["target"]
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
    found: dict[int, dict[str, Any]] = {}
    for sample in samples:
        head = {"benchmark": name, "task": task.task_name, "item": places[sample["doc_id"]]}
        record = found.setdefault(sample["doc_id"], head | {"hash": sample["doc_hash"]})
        if task.config.doc_to_choice is not None:
            record |= _chosen(sample, task.doc_to_choice(sample["doc"]))
        elif sample["filter"] == "flexible-extract":
            record["accuracy_flexible"] = sample["exact_match"]
        else:
            score = sample["accuracy" if name == "HumanEval" else "exact_match"]
            record |= {"accuracy": score, "answers": sample["resps"][0]}
    return list(found.values())


def summarise(items: pd.DataFrame) -> dict[str, Any]:
    """Means of the figures over items, each with its standard error; an undefined one is null."""
    found: dict[str, Any] = {"num_items": len(items), "reasons": {}}
    for name, why in UNDEFINED.items():
        known = items[name].dropna()
        some, several = len(known) > 0, len(known) > 1
        found[name] = float(known.mean()) if some else None
        found[f"{name}_stderr"] = float(known.sem()) if several else None
        if not several:
            found["reasons"][f"{name}_stderr" if some else name] = "one item" if some else why
    return found


def judge(
    model: GPT2LMHeadModel,
    asked: list[Asked],
    vocabulary: Vocabulary,
    context: int,
    batch_size: int,
    seed: int,
) -> tuple[pa.Table, dict[str, Any]]:
    """Ask a model all items.

    Args:
        model: in evaluation mode and fp32.
        asked: the benchmarks.
        vocabulary: the tokenizer.
        context: the model's positions. A prompt that is too long loses its beginning; an item with
            an answer that is too long is left out; both are counted.
        batch_size: prompts at a time.
        seed: of the solved examples and of what is drawn.

    Returns:
        The items (SCHEMA), and the figures of each benchmark and of its tasks.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=vocabulary.tokenizer,
        eos_token=vocabulary.tokenizer.id_to_token(vocabulary.end_of_text),
        split_special_tokens=True,
    )
    lm = HFLM(
        model,
        tokenizer=tokenizer,
        max_length=context,
        batch_size=batch_size,
        add_bos_token=False,
        trust_remote_code=False,
    )
    records: list[dict[str, Any]] = []
    counts: dict[str, dict[str, int]] = {}
    for one in asked:
        name = one.benchmark.name
        tasks = _tasks(one, seed)
        fitting = {
            task: _fit(tasks[task], one.benchmark.limit, vocabulary, context) for task in tasks
        }
        given = {task: tasks[task] for task, (places, _) in fitting.items() if places}
        torch.manual_seed(seed)
        # Not simple_evaluate, which collects what is known of the machine by running programs.
        answered = lm_eval.evaluate(lm, {"tasks": given}, bootstrap_iters=0) if given else {}
        counts[name] = {"too_long": sum(lost for _, lost in fitting.values()), "cut_prompts": 0}
        for task, samples in answered.get("samples", {}).items():
            counts[name]["cut_prompts"] += _num_cut(given[task], samples, vocabulary, context)
            records += _records(name, given[task], fitting[task][0], samples)
    table = pa.Table.from_pylist(records, SCHEMA)
    frame = table.to_pandas()
    metrics: dict[str, Any] = {}
    for label, numbers in counts.items():
        part = frame[frame["benchmark"] == label]
        by_task = {task: summarise(items) for task, items in part.groupby("task")}
        metrics[label] = summarise(part) | numbers | {"tasks": by_task}
    return table, metrics
