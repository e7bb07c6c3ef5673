"""All trainings of the truth test: every one is done once, kept in a file, and found again.

Tiers are cut, packed, trained on and evaluated by the program's own functions; only the MLflow
record, which would take longer than a training, is left out.
"""

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.corpora import NOISE, ROWS, VOCABULARY, Corpus, corpus
from winnow.core import files
from winnow.core.experiments import Model, Recipe, Tier, quantity
from winnow.core.progress import progress
from winnow.models.tokenizer import Tokens

SHARES = ("10pct", "25pct", "50pct", "100pct")
TIERS = {f"top_{share}": Tier(rule="top", share=quantity(share), recipe="") for share in SHARES} | {
    f"matched_{share}": Tier(rule="matched", of=f"top_{share}", recipe="") for share in SHARES[:-1]
}
PART = 8
"""A replica has this part of the rows and of the batch, and about this part of the weights."""
REPLICAS = {
    f"part_{name}": Tier(
        rule="part",
        of=name,
        count=round((quantity(name.rpartition("_")[2]) or 0) * ROWS / PART),
        recipe="",
    )
    for name in TIERS
}
CONTEXT, BATCH = 64, 8
MODELS = {
    "larger": Model(num_layers=2, hidden_size=48, num_heads=2, context=CONTEXT),
    "replica": Model(num_layers=2, hidden_size=16, num_heads=2, context=CONTEXT),
}
RATE = 4e-3
STEPS = (50, 200, 800)
"""Optimizer steps of the larger model, and of its replica."""
REPLICA_SEEDS = 3
BETWEEN = 400
"""Steps that only the truth is known of: the program must answer from those on both sides."""


@dataclass(frozen=True, order=True, slots=True)
class Training:
    """One model to train."""

    kind: str
    tier: str
    model: str
    steps: int
    seed: int

    @property
    def file(self) -> str:
        """Where its losses are kept."""
        return (
            "-".join(map(str, (self.kind, self.tier, self.model, self.steps, self.seed))) + ".npy"
        )


@cache
def _corpus(kind: str) -> Corpus:
    return corpus(kind)


@cache
def _rows(kind: str, tier: str, seed: int) -> list[int]:
    from winnow.select.tiers import Cuts

    cuts = Cuts(TIERS | REPLICAS, _corpus(kind).scores, 0)
    return [int(row) for row in cuts.rows(tier, seed)]


def _losses(model: Any, documents: list[Tokens]) -> NDArray[np.float64]:
    """Summed loss of every document, in nats."""
    import torch
    from torch.nn import functional

    from winnow.models import sequences

    padded = sequences.pad(documents, CONTEXT, 0)
    found = []
    for start in range(0, len(padded), 200):
        part = padded[start : start + 200]
        with torch.no_grad():
            logits = model(torch.from_numpy(part.inputs).long()).logits
        labels = torch.from_numpy(part.labels).long()
        losses = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        found.append(losses.double().sum(1).numpy())
    return np.concatenate(found)


def _trained(training: Training, state: Path) -> NDArray[np.float64]:
    """Train, and judge on the test rows."""
    import torch

    from winnow.models import sequences
    from winnow.models.gpt2 import build
    from winnow.train import loop

    torch.set_num_threads(1)
    planted, is_replica = _corpus(training.kind), training.model == "replica"
    tier = f"part_{training.tier}" if is_replica else training.tier
    documents = [planted.documents[row] for row in _rows(training.kind, tier, training.seed)]
    packed = sequences.pack(sequences.shuffled(documents, training.seed), CONTEXT, 0)
    steps = training.steps
    torch.manual_seed(training.seed)
    plan = loop.Plan(
        model=build(MODELS[training.model], VOCABULARY, 0),
        recipe=Recipe(
            learning_rate=RATE,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH // PART if is_replica else BATCH,
            gradient_accumulation_steps=1,
            eval_steps=steps + 1,
            save_steps=steps + 1,
            gradient_checkpointing=False,
        ),
        train=packed,
        validation=packed[:1],
        seed=training.seed,
        precision="fp32",
        state=state,
        key={},
        max_steps=steps,
    )
    loop.train(plan, lambda point: None)
    return _losses(plan.model.eval(), planted.test)


def _keep(training: Training, folder: Path) -> None:
    """Train in a process of a pool, and keep what came of it."""
    with tempfile.TemporaryDirectory() as state:
        losses = _trained(training, Path(state) / "state")
    with files.atomic_file(folder / training.file, "wb") as file:
        np.save(file, losses)


def grid(seeds: int) -> list[Training]:
    """All trainings, seed by seed; the replicas', and half of the seeds in between, at the end."""
    rounds = [(seed, [(steps, "larger") for steps in STEPS]) for seed in range(seeds)]
    rounds += [(seed, [(steps, "replica") for steps in STEPS]) for seed in range(REPLICA_SEEDS)]
    rounds += [(seed, [(BETWEEN, "larger")]) for seed in range(seeds // 2)]
    return [
        Training(kind, tier, model, steps, seed)
        for seed, cells in rounds
        for kind in NOISE
        for steps, model in cells
        for tier in TIERS
    ]


def train_all(trainings: list[Training], folder: Path) -> None:
    """Train what is not there yet, on all cores."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [training for training in trainings if not (folder / training.file).exists()]
    os.environ["TQDM_DISABLE"] = "1"  # of the trainings, which are many and short
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        futures = [pool.submit(_keep, training, folder) for training in missing]
        for future in progress(as_completed(futures), "truth", "trainings", len(futures)):
            future.result()


def read(training: Training, folder: Path) -> NDArray[np.float64]:
    """The losses of a training's test rows."""
    losses: NDArray[np.float64] = np.load(folder / training.file)
    return losses
