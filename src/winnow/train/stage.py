"""Train one experiment, or all.    winnow train <experiment>|all [--seed N] [--skip-existing]

Writes models/<experiment>/<seed>: the model and tokenizer in Hugging Face's format,
experiment_config.json, train_results.json (with the validation curve) and card.json. Unfinished
work is in .winnow/train; the same command goes on from its last checkpoint.
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import PartialState
from datasets import load_from_disk

from winnow import config, publish, tracking
from winnow.records import texts
from winnow.train import data, loop
from winnow.train import model as models
from winnow.vocabulary import Tokens, Vocabulary

TIERS, TOKENIZER = Path("artifacts/select"), Path("artifacts/curate/tokenizer")
FOLDER = Path("models")
STATE = publish.STATE / "train"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """What may be trained and how long that may take."""

    max_hours: float
    """A run that is estimated to take longer is refused before its first step."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    models: dict[str, config.Model]
    recipes: dict[str, config.Recipe]


def run(experiment: str, seed: int | None, skip_existing: bool) -> None:
    """Train the named experiment, or all of params.yaml, with one seed or with all.

    Raises:
        ValueError: an unknown experiment, a tier that is not cut yet, a run past max_hours.
    """
    names = config.experiment_names() if experiment == "all" else (experiment,)
    arms = [config.experiment(name) for name in names]
    settings = config.load("train", TrainConfig)
    for arm in arms:
        if not (TIERS / arm.tier_name / "dataset_dict.json").exists():
            raise ValueError(f"tier {arm.tier_name} is not cut yet: run `winnow select {arm.name}`")
    for arm in arms:
        for number in config.seeds() if seed is None else (seed,):
            with publish.lock(f"train-{arm.name}-{number}"):
                _train(arm, number, settings, skip_existing)


def _key(arm: config.Experiment, seed: int, precision: str) -> dict[str, Any]:
    """What a run is made of: two runs of equal keys give equal bytes on one machine."""
    tier = TIERS / arm.tier_name
    files = sorted(path for path in tier.rglob("*.arrow"))
    return {
        "data": publish.fingerprint([publish.file_hash(path) for path in files]),
        "tokenizer": publish.file_hash(TOKENIZER / "tokenizer.json"),
        "model": asdict(arm.model),
        "recipe": asdict(arm.recipe),
        "seed": seed,
        "precision": precision,
        "code": publish.code_hash("train", "records", "vocabulary"),
        "torch": torch.__version__,
    }


def _train(arm: config.Experiment, seed: int, settings: TrainConfig, skip_existing: bool) -> None:
    target, state = FOLDER / arm.name / str(seed), STATE / f"{arm.name}-{seed}"
    device = PartialState().device
    kind = models.precision(settings.precision, device)
    key = _key(arm, seed, kind)
    # Its state is removed last: while it is there, the run's record may not be complete.
    if skip_existing and publish.is_made_of(target, key) and not state.exists():
        print(f"train: {arm.name} seed {seed} is done and unchanged")
        return
    vocabulary, documents = _read(arm)
    epoch_tokens = sum(map(len, documents["train"]))
    tokens = epoch_tokens * arm.recipe.num_train_epochs
    cost = models.estimate(arm.model, arm.recipe, vocabulary.size, tokens, device, kind)
    print(f"train: {arm.name} seed {seed} on {models.environment()} in {kind}: {cost}", flush=True)
    if cost.seconds > settings.max_hours * 3600:
        raise ValueError(
            f"{arm.name} would take about {cost.seconds / 3600:.1f} h here, train.max_hours is "
            f"{settings.max_hours}: use a faster device or a smaller model, or raise it"
        )
    description = asdict(arm) | {
        "experiment": arm.name,
        "seed": seed,
        "num_rows": len(documents["train"]),
        "num_tokens": epoch_tokens,
        "data_sha256": key["data"],
        "device": models.environment(),
        "precision": kind,
        "git_commit": publish.git_commit(),
        "command": f"winnow train {arm.name} --seed {seed}",
    }
    state.mkdir(parents=True, exist_ok=True)
    with tracking.start("train", f"{arm.name}-{seed}", description, state) as tracked:
        plan = _plan(arm, seed, kind, vocabulary, documents, key)
        results = _fit(plan, cost, tracked)
        _publish(target, plan, key, description | {"run_id": tracked.id}, results)
        tracked.finish_training(target, results)
    publish.discard(state)


def _read(arm: config.Experiment) -> tuple[Vocabulary, dict[str, list[Tokens]]]:
    """The tokenizer, and the tier's documents as tokens by split."""
    vocabulary = Vocabulary.read(TOKENIZER)
    tier = load_from_disk(str(TIERS / arm.tier_name))
    return vocabulary, {split: vocabulary.encode(texts(tier[split].data.table)) for split in tier}


def _plan(
    arm: config.Experiment,
    seed: int,
    precision: str,
    vocabulary: Vocabulary,
    documents: dict[str, list[Tokens]],
    key: dict[str, Any],
) -> loop.Plan:
    ordered = data.shuffled(documents["train"], seed)
    end, length = vocabulary.end_of_text, arm.model.context
    torch.manual_seed(seed)
    return loop.Plan(
        model=models.build(arm.model, vocabulary.size, end),
        recipe=arm.recipe,
        train=data.pack(ordered, length, end),
        validation=data.pack(documents["validation"], length, end),
        seed=seed,
        precision=precision,
        state=STATE / f"{arm.name}-{seed}",
        key=key,
    )


def _fit(plan: loop.Plan, cost: models.Estimate, tracked: tracking.Run) -> dict[str, Any]:
    """Train, and say what came of it."""
    done = loop.train(plan, tracked.point)
    last = done.curve[-1]
    return {
        "train_time": done.seconds,
        "estimated_time": cost.seconds,
        "final_loss": last["train_loss"],
        "validation_loss": last["validation_loss"],
        "num_steps": done.step,
        "num_epochs": plan.recipe.num_train_epochs,
        "tokens_seen": done.tokens,
        "tokens_per_second": done.tokens / done.seconds,
        "num_parameters": cost.num_parameters,
        "flops": cost.flops,
        "curve": done.curve,
    }


def _publish(
    target: Path, plan: loop.Plan, key: dict[str, Any], description: Any, results: Any
) -> None:
    card = {"stage": "train", "key": key}
    with publish.publish_folder(target, card) as folder:
        plan.model.save_pretrained(folder)  # type: ignore[operator]
        for path in TOKENIZER.iterdir():
            shutil.copyfile(path, folder / path.name)
        publish.write_json(folder / "experiment_config.json", description)
        publish.write_json(folder / "train_results.json", results)
