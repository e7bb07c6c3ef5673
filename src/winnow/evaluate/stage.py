"""Judge the models of experiments.    winnow evaluate <experiment> ...|all [--seed N]

Writes results/<experiment>/<seed>: experiment_config.json and train_results.json (the training's
own), evaluation/ (metrics.json, items.parquet), quality_analysis/strata.json,
generation_analysis/ (metrics.json, samples.jsonl), benchmarks/ (metrics.json, items.parquet) where
evaluate.benchmarks asks for any, answers/ (the same) where evaluate.answers does,
conversations/answers.jsonl where evaluate.conversations does, card.json.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core import cards, files, params
from winnow.core.errors import Refusal
from winnow.core.experiments import Experiment, declared_seeds, resolve
from winnow.core.layout import MODELS, RESULTS, SELECTED
from winnow.core.records import ITEM_SCHEMA, Row, Sample, TestLosses
from winnow.evaluate import answers, conversations, generation, harness, losses, test_set
from winnow.evaluate.params import EvaluateConfig
from winnow.evaluate.tasks import Prompt, passes
from winnow.evaluate.test_set import TestSet
from winnow.models import judged as judging
from winnow.models.judged import Judged
from winnow.models.sampling import Sampling
from winnow.record import NOTES, Unrecorded, record


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
        for number in seeds:
            cards.read_card(SELECTED, f"winnow select {arm.name}", arm.draw(number))
            models[arm.name, number] = cards.read_card(
                MODELS / arm.name / str(number), f"winnow train {arm.name} --seed {number}"
            )["files"]
    test, unrecorded = test_set.read(settings), []
    for arm in arms:
        for number in seeds:
            with cards.lock(f"evaluate-{arm.name}-{number}"):
                try:
                    _evaluate(arm, number, test, models[arm.name, number], skip_existing)
                except Unrecorded as error:
                    unrecorded.append(str(error))
    if unrecorded:
        raise Refusal("; ".join(unrecorded))


def _evaluate(
    arm: Experiment, seed: int, test: TestSet, model: dict[str, Any], skip_existing: bool
) -> None:
    """Judge a cell, and record it; `model` holds its files' entries on the training's card."""
    source, target = MODELS / arm.name / str(seed), RESULTS / arm.name / str(seed)
    key, note = test.key | {"model": model}, NOTES / f"evaluate-{arm.name}-{seed}"
    if (skip_existing or note.exists()) and cards.is_made_of(target, key):
        print(f"evaluate: {arm.name} seed {seed} is done and unchanged")
        if not note.exists():
            return
    else:
        with files.atomic_file(note, "w"):
            pass  # there as long as the results are not in the record
        with cards.publish_folder(target, {"stage": "evaluate", "key": key}) as folder:
            figures = _judge(judging.load(source), arm.draw(seed), test, folder)
            for name in ("experiment_config.json", "train_results.json"):
                shutil.copyfile(source / name, folder / name)
        print(
            f"evaluate: {arm.name} seed {seed}: loss {figures.loss:.4f} nats a token, "
            f"perplexity {figures.perplexity:.2f}"
        )
    record(target, note)


def _judge(judged: Judged, draw: str, test: TestSet, folder: Path) -> TestLosses:
    """Write what a model that learned a draw does on the test set into a folder."""
    settings = test.settings
    items = losses.table(
        test.rows, test.quintiles, judged.row_losses(test.rows, settings.batch_size)
    )
    figures = TestLosses(
        **asdict(losses.summarise(items)), baseline_loss=_baseline(judged, draw, test)
    )
    files.write_json(folder / "evaluation/metrics.json", figures)
    files.write_json(folder / "quality_analysis/strata.json", losses.strata(items))
    table = pa.Table.from_pandas(items, ITEM_SCHEMA, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), folder / "evaluation/items.parquet")
    _generate(judged, test, folder / "generation_analysis")
    if test.conversations:
        _converse(judged, test, folder / conversations.FILE)
    if test.benchmarks:
        asked, by_name = harness.ask(judged, test.benchmarks, settings.batch_size, settings.seed)
        files.write_json(folder / "benchmarks/metrics.json", by_name)
        pq.write_table(asked, folder / "benchmarks/items.parquet")
    if settings.answers:
        found, means = answers.ask(
            judged, test.rows, test.rights, settings.answers, settings.batch_size
        )
        files.write_json(folder / "answers/metrics.json", means)
        pq.write_table(found, folder / "answers/items.parquet")
    return figures


def _baseline(judged: Judged, draw: str, test: TestSet) -> float:
    train = files.read_split(SELECTED / draw / "train")
    targets = judged.targets(train), judged.targets(test.rows)
    return losses.unigram_loss(*targets, judged.vocabulary.size)


def _generate(judged: Judged, test: TestSet, folder: Path) -> None:
    """Complete test prompts and tasks; one that fills over half of the context is left out."""
    settings = test.settings
    rows = (Row(**row) for row in test.rows.to_pylist())
    prompts = [*(Prompt(row.question, row.response) for row in rows), *test.tasks]
    ids = judged.prompt_ids([prompt.question for prompt in prompts])
    room = judged.context // 2
    fitting = [place for place in range(len(prompts)) if len(ids[place]) <= room]
    untasked = [place for place in fitting if not prompts[place].is_task]
    stride = max(1, len(untasked) // max(1, settings.num_prompts))
    chosen = untasked[::stride][: settings.num_prompts]
    chosen += [place for place in fitting if prompts[place].is_task]
    sampling = _sampling(judged, settings, settings.num_samples)
    completions = judged.complete([ids[place] for place in chosen], sampling)
    completed = [prompts[place] for place in chosen]
    too_long = len(prompts) - len(fitting)
    figures = generation.analyse(completed, completions, too_long, test.unchecked)
    files.write_json(folder / "metrics.json", figures)
    with files.atomic_file(folder / "samples.jsonl", "w") as file:
        for prompt, texts in zip(completed, completions, strict=True):
            for text in texts:
                file.write(json.dumps(asdict(_sample(prompt, text)), ensure_ascii=False) + "\n")


def _sampling(judged: Judged, settings: EvaluateConfig, num_samples: int) -> Sampling:
    return Sampling(
        num_samples=num_samples,
        max_new_tokens=min(settings.max_new_tokens, judged.context),
        temperature=settings.temperature,
        top_p=settings.top_p,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )


def _converse(judged: Judged, test: TestSet, path: Path) -> None:
    """Write the answers to all turns of the conversations."""
    sampling = _sampling(judged, test.settings, 1)
    said = conversations.answer(judged, test.conversations, sampling)
    with files.atomic_file(path, "w") as file:
        for one, answered in zip(test.conversations, said, strict=True):
            line = asdict(one) | {"answers": answered}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    pairs = zip(test.conversations, said, strict=True)
    if broken := sum(len(answered) < len(one.turns) for one, answered in pairs):
        print(
            f"evaluate: {broken} of {len(said)} conversations broke off: their next turn would "
            "fill over half of the context"
        )


def _sample(prompt: Prompt, completion: str) -> Sample:
    return Sample(
        prompt=prompt.text,
        completion=completion,
        passed=passes(prompt, completion) if prompt.is_task else None,
        reference=prompt.reference,
        answer=prompt.criterion,
    )
