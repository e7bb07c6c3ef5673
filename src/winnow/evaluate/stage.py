"""Judge the models of experiments.    winnow evaluate <experiment> ...|all [--seed N]

Writes results/<experiment>/<seed>: experiment_config.json and train_results.json (the training's
own), evaluation/ (metrics.json, items.parquet), quality_analysis/strata.json,
generation_analysis/ (metrics.json, samples.jsonl), benchmarks/ (metrics.json, items.parquet) where
evaluate.benchmarks asks for any, card.json.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import load_from_disk
from transformers import GPT2LMHeadModel
from transformers.utils import logging

from winnow.core import cards, files, params, sources
from winnow.core.errors import Refusal
from winnow.core.experiments import Experiment, declared_seeds, resolve
from winnow.core.layout import CURATED, MODELS, RESULTS, SCORED, SELECTED, STATE
from winnow.core.records import ITEM_SCHEMA, ROW_SCHEMA, Row, texts
from winnow.evaluate import benchmarks, generation, harness, perplexity
from winnow.evaluate.params import EvaluateConfig
from winnow.evaluate.tasks import Prompt, passes
from winnow.evaluate.tasks import read as read_tasks
from winnow.models import sampling
from winnow.models.tokenizer import Vocabulary
from winnow.record import runs

# A bar for each file of weights says nothing beside the evaluation's own.
logging.disable_progress_bar()


@dataclass(frozen=True, slots=True)
class TestSet:
    """What every arm is judged on."""

    rows: list[Row]
    quintiles: list[int]
    tasks: list[Prompt]
    unchecked: int
    """Tasks that no program here can check."""
    asked: list[benchmarks.Asked]
    vocabulary: Vocabulary
    key: dict[str, Any]

    __test__ = False


def _rows(table: pa.Table) -> list[Row]:
    return [Row(**row) for row in table.select(ROW_SCHEMA.names).to_pylist()]


def _test_set(settings: EvaluateConfig) -> TestSet:
    names = ("test.parquet", "tokenizer")
    curated = cards.read_card(CURATED, "winnow curate", *names)["files"]
    scored = cards.read_card(SCORED, "winnow score", "test.parquet")
    cards.check_inputs(SCORED, scored, "winnow score")
    table = pq.read_table(CURATED / "test.parquet")
    scores = pq.read_table(SCORED / "test.parquet", columns=["score"])["score"].to_numpy()
    ranks = pd.Series(scores).rank(method="first").to_numpy() - 1
    quintiles = (ranks * 5 // len(ranks)).astype(int) + 1
    tasks, unchecked = read_tasks(settings.tasks, settings.max_tasks)
    asked = benchmarks.read(settings.benchmarks, settings.run_code)
    key = {
        "test": curated["test.parquet"]["sha256"],
        "scores": scored["files"]["test.parquet"]["sha256"],
        "tasks": files.fingerprint([asdict(task) for task in tasks]),
        "benchmarks": benchmarks.key(asked),
        "settings": asdict(settings),
        "code": sources.code_hash("evaluate"),
        "versions": files.versions("torch", "transformers", "tokenizers", "numpy"),
    }
    vocabulary = Vocabulary.read(CURATED / "tokenizer")
    return TestSet(_rows(table), quintiles.tolist(), tasks, unchecked, asked, vocabulary, key)


def run(experiments: Sequence[str], seed: int | None, skip_existing: bool) -> None:
    """Judge the models of the named experiments, `all` or some, with one seed or with all.

    Raises:
        Refusal: an unknown experiment, a model that is not trained yet, or anything that is not
            what its stage wrote.
    """
    seeds = declared_seeds() if seed is None else (seed,)
    arms = resolve(experiments)
    settings = params.load("evaluate", EvaluateConfig)
    models = {}
    for arm in arms:
        cards.read_card(SELECTED, f"winnow select {arm.name}", arm.tier_name)
        for number in seeds:
            models[arm.name, number] = cards.read_card(
                MODELS / arm.name / str(number), f"winnow train {arm.name} --seed {number}"
            )["files"]
    test, unrecorded = _test_set(settings), []
    for arm in arms:
        for number in seeds:
            with cards.lock(f"evaluate-{arm.name}-{number}"):
                try:
                    key = test.key | {"model": models[arm.name, number]}
                    _evaluate(arm, number, settings, test, key, skip_existing)
                except runs.Unrecorded as error:
                    unrecorded.append((f"{arm.name}-{number}", error))
    if unrecorded:
        cells = ", ".join(cell for cell, _ in unrecorded)
        raise Refusal(
            f"{cells}: evaluated, but not in the record ({unrecorded[-1][1]}); "
            "the same command with --skip-existing completes it"
        )


def _evaluate(
    arm: Experiment,
    seed: int,
    settings: EvaluateConfig,
    test: TestSet,
    key: dict[str, Any],
    skip_existing: bool,
) -> None:
    source, target = MODELS / arm.name / str(seed), RESULTS / arm.name / str(seed)
    note = STATE / "evaluate" / f"{arm.name}-{seed}"
    if not skip_existing or not cards.is_made_of(target, key):
        with files.atomic_file(note, "w"):
            pass  # there as long as the results are not in the record
        _judge(arm, source, target, settings, test, {"stage": "evaluate", "key": key})
    elif not note.exists():
        print(f"evaluate: {arm.name} seed {seed} is done and unchanged")
        return
    _record(f"{arm.name}-{seed}", target, note)
    note.unlink()


def _judge(
    arm: Experiment,
    source: Path,
    target: Path,
    settings: EvaluateConfig,
    test: TestSet,
    card: dict[str, Any],
) -> None:
    """Judge a model, and publish what came of it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = GPT2LMHeadModel.from_pretrained(source, trust_remote_code=False, use_safetensors=True)
    model = model.eval().to(device)
    items, metrics = _losses(model, arm, settings, test)
    prompts, completions, generated = _generate(model, arm, settings, test)
    answered, figures = _ask(model, arm, settings, test)
    with cards.publish_folder(target, card) as folder:
        for name in ("experiment_config.json", "train_results.json"):
            shutil.copyfile(source / name, folder / name)
        write = files.write_json
        write(folder / "evaluation/metrics.json", metrics)
        table = pa.Table.from_pandas(items, ITEM_SCHEMA, preserve_index=False)
        pq.write_table(table.replace_schema_metadata(None), folder / "evaluation/items.parquet")
        write(folder / "quality_analysis/strata.json", perplexity.strata(items))
        write(folder / "generation_analysis/metrics.json", generated)
        _write_samples(folder / "generation_analysis/samples.jsonl", prompts, completions)
        if test.asked:
            write(folder / "benchmarks/metrics.json", figures)
            pq.write_table(answered, folder / "benchmarks/items.parquet")
    print(
        f"evaluate: {arm.name} seed {target.name}: loss {metrics['loss']:.4f} nats a token, "
        f"perplexity {metrics['perplexity']:.2f}"
    )


def _record(cell: str, folder: Path, note: Path) -> None:
    """Tell the tracker what a folder of results holds.

    Raises:
        tracking.Unrecorded: the server is away.
    """
    numbers: dict[str, Any] = {
        "test": files.read_json(folder / "evaluation/metrics.json"),
        "generation": files.read_json(folder / "generation_analysis/metrics.json"),
    }
    for kind, parts in files.read_json(folder / "quality_analysis/strata.json").items():
        numbers[f"loss_{kind}"] = {name: part["loss"] for name, part in parts.items()}
    folders = ["evaluation", "generation_analysis"]
    if (folder / "benchmarks").exists():
        figures = files.read_json(folder / "benchmarks/metrics.json")
        numbers["benchmarks"] = {name: part | {"tasks": {}} for name, part in figures.items()}
        folders.append("benchmarks")
    description = files.read_json(folder / "experiment_config.json")
    judged_at = int(1000 * (folder / cards.CARD).stat().st_mtime)
    with runs.start("evaluate", cell, description, note):
        runs.metrics(numbers, judged_at)
        runs.artifacts([folder / name for name in folders])


def _losses(
    model: GPT2LMHeadModel, arm: Experiment, settings: EvaluateConfig, test: TestSet
) -> tuple[pd.DataFrame, dict[str, float]]:
    items = perplexity.item_losses(
        model, test.rows, test.quintiles, test.vocabulary, arm.model.context, settings.batch_size
    )
    tier = load_from_disk(str(SELECTED / arm.tier_name))["train"]
    judged_on = pa.array([row.text for row in test.rows], pa.large_string())
    baseline = perplexity.unigram_loss(texts(tier.data.table), judged_on, test.vocabulary)
    return items, perplexity.summarise(items) | {"baseline_loss": baseline}


def _generate(
    model: GPT2LMHeadModel, arm: Experiment, settings: EvaluateConfig, test: TestSet
) -> tuple[Sequence[Prompt], list[list[str]], dict[str, Any]]:
    """Complete test prompts and tasks; one that fills over half of the context is left out."""
    asked = [Prompt(row.prompt, row.response) for row in test.rows]
    room = arm.model.context // 2 - 1
    wanted = [*asked, *test.tasks]
    lengths = [len(item.ids) for item in test.vocabulary.encodings([p.text for p in wanted])]
    fitting = [prompt for prompt, length in zip(wanted, lengths, strict=True) if length <= room]
    rows = [prompt for prompt in fitting if not prompt.is_task]
    stride = max(1, len(rows) // max(1, settings.num_prompts))
    prompts = rows[::stride][: settings.num_prompts]
    prompts += [prompt for prompt in fitting if prompt.is_task]
    completions = sampling.complete(
        model,
        [prompt.text for prompt in prompts],
        test.vocabulary,
        num_samples=settings.num_samples,
        max_new_tokens=min(settings.max_new_tokens, arm.model.context),
        temperature=settings.temperature,
        top_p=settings.top_p,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    left_out = {"too_long": len(wanted) - len(fitting), "unchecked": test.unchecked}
    return prompts, completions, generation.analyse(prompts, completions) | left_out


def _ask(
    model: GPT2LMHeadModel, arm: Experiment, settings: EvaluateConfig, test: TestSet
) -> tuple[pa.Table | None, dict[str, Any]]:
    if not test.asked:
        return None, {}
    context, size = arm.model.context, settings.batch_size
    return harness.judge(model, test.asked, test.vocabulary, context, size, settings.seed)


def _write_samples(path: Path, prompts: Sequence[Prompt], completions: list[list[str]]) -> None:
    with files.atomic_file(path, "w") as file:
        for prompt, answers in zip(prompts, completions, strict=True):
            for text in answers:
                passed = passes(prompt, text) if prompt.is_task else None
                sample = {"prompt": prompt.text, "completion": text, "passed": passed}
                sample |= {"reference": prompt.reference, "answer": prompt.wanted}
                file.write(json.dumps(sample, ensure_ascii=False) + "\n")
