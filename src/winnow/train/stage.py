"""Train experiments.    winnow train <experiment> ...|all [--seed N] [--init scratch]

Writes models/<experiment>/<seed>: the model and tokenizer in Hugging Face's format,
experiment_config.json, train_results.json (with the validation curve) and card.json. Unfinished
work is in .winnow/train; the same command goes on from its last checkpoint. Under `accelerate
launch` with several processes the first one holds the lock, speaks and writes; all of them train.
"""

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from types import FunctionType
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from winnow.core import cards, extensions, files, layout, params, sources
from winnow.core.checks import CHECKS
from winnow.core.errors import Refusal, Stopped, at
from winnow.core.experiments import Experiment, declared_seeds, resolve
from winnow.core.layout import (
    MODELS,
    SCORING_METRICS,
    SELECTED,
    TEST_ROWS,
    TOKENIZER,
    scores_name,
)
from winnow.core.objectives import Policy, Reward, name_of
from winnow.core.records import ExperimentConfig, TrainResults
from winnow.models import family as families
from winnow.models import pretrained, rewards
from winnow.models.cost import (
    Estimate,
    Work,
    estimate,
    flops_per_position,
    policy_work,
    preference_work,
)
from winnow.models.device import environment, precision, watch_memory
from winnow.models.family import Shape
from winnow.models.pairs import Pairs
from winnow.models.prompts import Prompts
from winnow.models.sequences import Units, steps_to
from winnow.record import NOTES, Unrecorded, record
from winnow.record.live import Live
from winnow.train import checkpoint, loop, objectives
from winnow.train.draws import Draw
from winnow.train.params import TrainConfig

STATE = layout.STATE / "train"
MORE_SECONDS = "name a larger budget of seconds"


def run(experiments: Sequence[str], seed: int | None, skip_existing: bool, init: str = "") -> None:
    """Train the named experiments with one seed or with all.

    Args:
        experiments: declared ones; `all` stands for those of params.yaml.
        seed: one, or None for all.
        skip_existing: leave alone what is done and unchanged.
        init: the start, where it is not params.yaml's.

    Raises:
        Refusal: an unknown experiment, a tier that is not cut yet, a start that does not fit, a
            run past max_hours or the device's memory, unfinished work of another recipe, a loss
            that is not finite; or, after the last run, a record that is not complete.
        Stopped: SIGINT or SIGTERM came; a checkpoint is written, and the same call goes on.
    """
    arms = resolve(experiments)
    settings = params.load("train", TrainConfig)
    settings = replace(settings, init=init or settings.init)
    seeds = declared_seeds() if seed is None else (seed,)
    hashes = {(arm.name, number): _data_hashes(arm, number) for arm in arms for number in seeds}
    # Accelerate itself looks for GPUs alone: without one, processes meet on the CPU over gloo.
    state = PartialState(cpu="LOCAL_RANK" in os.environ and not torch.cuda.is_available())
    unrecorded = []
    for arm in arms:
        for number in seeds:
            is_main = state.is_main_process
            with cards.lock(f"train-{arm.name}-{number}") if is_main else nullcontext():
                try:
                    _train(arm, number, settings, hashes[arm.name, number], skip_existing)
                except Unrecorded as error:
                    unrecorded.append(str(error))
                except Stopped:
                    # A launcher ends all when one has ended, and the first has a record to finish.
                    state.wait_for_everyone()
                    raise
            state.wait_for_everyone()
    if unrecorded:
        raise Refusal("; ".join(unrecorded))


def _data_hashes(arm: Experiment, seed: int) -> dict[str, str]:
    """What a cell is trained on, by hash, after checking that it is what was written."""
    draw, scores = arm.draw(seed), scores_name(arm.draw(seed))
    rows = [draw, scores] if arm.order_scorer else [draw]
    tier = cards.read_card(SELECTED, f"winnow select {arm.name}", *rows)["files"]
    # The test rows are read for the record: they name the grid.
    names = (TOKENIZER.name, TEST_ROWS.name)
    curated = cards.read_card(TOKENIZER.parent, "winnow curate", *names)["files"]
    return {
        "data": files.fingerprint(
            [tier[name]["sha256"] for name in sorted(tier) if name.endswith(".arrow")]
        ),
        "tokenizer": curated[f"{TOKENIZER.name}/tokenizer.json"]["sha256"],
    } | ({"scores": tier[scores]["sha256"]} if arm.order_scorer else {})


def budget_of(arm: Experiment, settings: TrainConfig, shape: Shape) -> Any:
    """The steps or tokens that an arm is given instead of its recipe's epochs: one of them. Seconds
    are steps of full sequences, or FLOPs of an objective whose pairs have any length.

    Of seconds, scoring takes what it was measured to take, where the score chose the rows.

    Raises:
        Refusal: seconds cannot be counted yet, or are not enough.
    """
    if arm.budget is None:
        return None
    if arm.budget.unit != "seconds":
        return {arm.budget.unit: arm.budget.amount}
    if settings.flops_per_second is None:
        raise Refusal(
            f"params.yaml: train.flops_per_second: expected a number, as {arm.name} is given "
            "seconds: take flops_per_second of a finished training's train_results.json"
        )
    scoring = 0.0
    if arm.tier.is_scored:
        cost = files.read_sealed(SCORING_METRICS, "winnow score")
        scoring = arm.tier.scoring_seconds(cost) or 0.0
    flops = flops_per_position(shape)
    positions = (arm.budget.amount - scoring) * settings.flops_per_second / flops
    steps = int(positions // (arm.recipe.sequences_per_step * arm.model.context))
    is_paired = not isinstance(arm.recipe.objective, str)
    if positions < 1 or (steps < 1 and not is_paired):
        took = f"scoring alone took {scoring:.0f} s, which leaves no step"
        raise Refusal(f"{arm.name}: {took}: {MORE_SECONDS}")
    return {"flops": positions * flops} if is_paired else {"steps": steps}


class _Job:
    """One training of an arm with a seed: what it is made of, and its files."""

    def __init__(self, arm: Experiment, seed: int, settings: TrainConfig) -> None:
        """Read the tokenizer of the arm's model, and count what follows from its shape.

        Raises:
            Refusal: a pretrained model cannot be had, or a budget of seconds cannot be counted.
        """
        self.arm, self.seed, self.settings = arm, seed, settings
        self.name = f"{arm.name}-{seed}"
        self.target, self.state = MODELS / arm.name / str(seed), STATE / self.name
        self.precision = precision(settings.precision, PartialState().device)
        self.model = families.declare(arm.model, TOKENIZER, settings.init)
        self.shape = families.shape(arm.model, self.model.vocabulary.size)
        self.budget = budget_of(arm, settings, self.shape)
        self.objective = objectives.of(arm.recipe.objective, self.model)

    def key(self, hashes: dict[str, str]) -> dict[str, Any]:
        """What the run is made of: two runs of equal keys give equal bytes on one machine."""
        libraries = ("torch", "transformers", "accelerate", "tokenizers", "numpy")
        return {
            **hashes,
            "model": asdict(self.arm.model),
            "recipe": asdict(self.arm.recipe),
            "budget": self.budget,
            "init": self.model.identity(),
            **self._rewarding(),
            "seed": self.seed,
            "precision": self.precision,
            "code": sources.code_hash("train"),
            "versions": files.versions(*libraries, *(["peft"] if self.arm.model.adapter else [])),
        }

    def _rewarding(self) -> dict[str, str]:
        """The hash of a reward model or of the user's own program, where one teaches."""
        numbers = self.arm.recipe.objective
        if not isinstance(numbers, Policy) or numbers.check in CHECKS:
            return {}
        if numbers.model:
            with at("params.yaml: train.recipes: objective.model"):
                return {"reward": pretrained.identity(numbers.model)}
        with at("params.yaml: train.recipes: objective.check"):
            extensions.load(str(numbers.check), FunctionType)
            return {"reward": extensions.code_hash(str(numbers.check))}

    def prepare(self) -> tuple[int, Units, Units, Estimate]:
        """The number of rows, what to train and to validate on, and what the run will take; the
        model is built in between, and where it cannot pack, rows are padded after all.

        Raises:
            Refusal: the run would take more than max_hours, or than the device's memory.
        """
        draw = Draw(self.arm, self.seed, self.model)
        packing = self.arm.recipe.packing
        train = draw.train(packing)
        cost = self.preflight(train)
        self.model.build(self.seed)
        if isinstance(self.arm.recipe.objective, Reward):
            self.model.to_rewards()
        if packing and not self.model.packs:
            PartialState().print(
                f"train: {self.arm.model_name} lets documents in one sequence see each other: each "
                "gets a padded row of its own"
            )
            train = draw.train(packing=False)
            cost = self.preflight(train)
        return draw.num_rows, train, draw.validation(), cost

    def work(self, train: Units) -> Work | None:
        """What is computed of pairs and prompts; of full sequences their number says it."""
        micro = self.arm.recipe.per_device_train_batch_size
        if isinstance(train, Prompts):
            numbers = self.arm.recipe.objective
            assert isinstance(numbers, Policy)
            each = np.sort(train.positions * numbers.samples + train.targets_each)
            return policy_work(self.shape, numbers, int(each.sum()), int(each[-micro:].sum()))
        if not isinstance(train, Pairs):
            return None
        peak = train.peak(micro)
        positions = int(train.sizes[:, :2].sum())
        return preference_work(self.shape, name_of(self.arm.recipe.objective), positions, peak)

    def num_steps(self, train: Units) -> int:
        """Optimizer steps by the budget, else by the recipe's epochs.

        Raises:
            Refusal: the budget's seconds are not enough for a step.
        """
        recipe = self.arm.recipe
        given = self.budget or {"tokens": recipe.num_train_epochs * train.num_targets}
        per_step = recipe.sequences_per_step
        if "flops" in given:
            return self._steps_of(given["flops"], -(-len(train) // per_step), self.work(train))
        return given.get("steps") or steps_to(
            train, given["tokens"], per_step, self.seed, recipe.is_ordered
        )

    def _steps_of(self, flops: float, per_epoch: int, work: Work | None) -> int:
        assert work
        steps = int((flops - work.once) * per_epoch // work.epoch)
        if steps < 1:
            raise Refusal(f"{self.arm.name}: the reference leaves no step: {MORE_SECONDS}")
        return steps

    def preflight(self, train: Units) -> Estimate:
        """Say what the run will take.

        Raises:
            Refusal: that is more than max_hours, or than the device's memory.
        """
        arm, max_hours, steps = self.arm, self.settings.max_hours, self.num_steps(train)
        targets = train.num_targets
        work, kind = self.work(train), self.precision
        cost = estimate(self.shape, arm.recipe, len(train), targets, steps, kind, work)
        where = f"{environment()} in {self.precision}"
        PartialState().print(f"train: {arm.name} seed {self.seed} on {where}: {cost}", flush=True)
        if cost.seconds > max_hours * 3600:
            raise Refusal(
                f"{arm.name} would take about {cost.seconds / 3600:.1f} h here, train.max_hours is "
                f"{max_hours}: use a faster device or a smaller model, or raise it"
            )
        if cost.memory_gb > cost.device_gb:
            raise Refusal(
                f"{arm.name} would take about {cost.memory_gb:.1f} GB, {environment()} has "
                f"{cost.device_gb:.1f}: lower per_device_train_batch_size in its recipe and raise "
                "gradient_accumulation_steps by as much, or use a smaller model"
            )
        return cost

    def ranking(self, last: dict[str, float], pairs: int) -> dict[str, float] | None:
        """How many of the validation pairs a reward model ranks right, which is said as well; None
        of another model.

        Args:
            last: the curve's last point.
            pairs: that it was measured on.
        """
        if not isinstance(self.arm.recipe.objective, Reward):
            return None
        found = rewards.report(last["validation_accuracy"], pairs)
        print(
            f"train: {self.arm.name} seed {self.seed} ranks {found['accuracy']:.1%} of {pairs} "
            f"held-out pairs right (95% interval {found['low']:.1%} to {found['high']:.1%})"
        )
        return found

    def description(self, data: str, rows: int, tokens: int) -> dict[str, Any]:
        """experiment_config.json, but for the run's id."""
        name, seed, init = self.arm.name, self.seed, self.settings.init
        return asdict(self.arm) | {
            "experiment": name,
            "seed": seed,
            "draw": self.arm.draw(seed),
            "init": init,
            "num_rows": rows,
            "num_tokens": tokens,
            "data_sha256": data,
            "device": environment(),
            "precision": self.precision,
            "git_commit": files.git_commit(),
            "command": f"winnow train {name} --seed {seed} --init {shlex.quote(init)}",
        }


def _train(
    arm: Experiment,
    seed: int,
    settings: TrainConfig,
    hashes: dict[str, str],
    skip_existing: bool,
) -> None:
    job = _Job(arm, seed, settings)
    key, note = job.key(hashes), NOTES / f"train-{job.name}"
    is_recorded = not note.exists()
    PartialState().wait_for_everyone()  # the first process removes the note
    is_left_alone = (skip_existing or not is_recorded) and not job.state.exists()
    if is_left_alone and cards.is_made_of(job.target, key):
        PartialState().print(f"train: {arm.name} seed {seed} is done and unchanged")
        if not is_recorded and PartialState().is_main_process:
            record(job.target, note)
        return
    job.model.check()
    num_rows, train, validation, cost = job.prepare()
    if PartialState().is_main_process:
        checkpoint.claim(job.state, key)
    plan = loop.Plan(
        model=job.model.network,
        objective=job.objective,
        recipe=replace(arm.recipe, gradient_checkpointing=cost.gradient_checkpointing),
        train=train,
        validation=validation,
        seed=seed,
        precision=job.precision,
        state=job.state,
        key=key,
        max_steps=job.num_steps(train),
    )
    if not PartialState().is_main_process:
        _learn(arm, plan, lambda point: None)
        return
    _publish(job, plan, cost, job.description(hashes["data"], num_rows, train.num_targets))


def _publish(job: _Job, plan: loop.Plan, cost: Estimate, description: dict[str, Any]) -> None:
    """Train, publish what came of it, and record both."""
    peak = watch_memory(PartialState().device)
    with Live(description, job.state) as live:
        results = _fit(job.arm, plan, cost, live)
        results["peak_memory_gb"] = held = peak()
        print(
            f"train: {job.arm.name} seed {job.seed} took {results['train_time']:.0f} s, estimated "
            f"{cost.seconds:.0f}; {'unknown' if held is None else f'{held:.2f}'} GB, estimated "
            f"{cost.memory_gb:.2f}"
        )
        ranked = job.ranking(results["curve"][-1], len(plan.validation))
        _write(job, plan.key, description | {"run_id": live.close()}, results, ranked)
    note = NOTES / f"train-{job.name}"
    with files.atomic_file(note, "w") as file:
        file.write(live.token)
    cards.discard(job.state)
    record(job.target, note)


def _learn(
    arm: Experiment, plan: loop.Plan, on_point: Callable[[dict[str, float]], None]
) -> checkpoint.Position:
    """Train to the end.

    Raises:
        Refusal: a loss or a gradient's norm is not finite.
    """
    try:
        return loop.train(plan, on_point)
    except FloatingPointError as error:
        recipe = arm.recipe_name or arm.tier.recipe
        raise Refusal(
            f"{plan.state.name}: {error}: lower train.recipes.{recipe}.learning_rate or "
            f"name another train.init, and remove {plan.state} to start anew"
        ) from None


def _fit(arm: Experiment, plan: loop.Plan, cost: Estimate, live: Live) -> dict[str, Any]:
    """Train, and say what came of it, beside what was estimated."""
    done = _learn(arm, plan, live.point)
    last = done.curve[-1]
    return {
        "train_time": done.seconds,
        "estimated_time": cost.seconds,
        "estimated_memory_gb": cost.memory_gb,
        "gradient_checkpointing": cost.gradient_checkpointing,
        "final_loss": last["train_loss"],
        "validation_loss": last["validation_loss"],
        "num_steps": done.step,
        "num_epochs": done.step / plan.steps_per_epoch,
        "tokens_seen": done.tokens,
        "tokens_per_second": done.tokens / done.seconds,
        "num_parameters": cost.num_parameters,
        "flops": cost.flops,
        "flops_per_second": cost.flops / done.seconds,
        "curve": done.curve,
    }


def _write(job: _Job, key: dict[str, Any], description: Any, results: Any, ranked: Any) -> None:
    with cards.publish_folder(job.target, {"stage": "train", "key": key}) as folder:
        job.model.save(folder)
        if ranked:
            files.write_json(folder / rewards.REPORT, ranked)
        files.write_json(folder / "experiment_config.json", ExperimentConfig(**description))
        files.write_json(folder / "train_results.json", TrainResults(**results))
