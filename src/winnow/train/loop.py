"""The training loop: packed sequences, AdamW, warm-up and linear decay, on Accelerate."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn import functional

from winnow.config import Recipe
from winnow.progress import progress
from winnow.train import checkpoint, data

MAX_GRADIENT_NORM = 1.0
"""The default of Hugging Face's Trainer, which the documented recipes leave as it is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides a run."""

    model: torch.nn.Module
    recipe: Recipe
    train: data.Sequences
    validation: data.Sequences
    seed: int
    precision: str
    state: Path
    """Folder of the checkpoints."""
    key: dict[str, Any]
    """What the run is made of; see checkpoint.save."""
    max_steps: int | None = None
    """Optimizer steps, instead of the recipe's epochs."""

    @property
    def sequences_per_step(self) -> int:
        """Sequences that one optimizer step sees."""
        return self.recipe.sequences_per_step

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch; the last one may be short."""
        return -(-len(self.train) // self.sequences_per_step)

    @property
    def num_steps(self) -> int:
        """Optimizer steps in all."""
        return self.max_steps or self.steps_per_epoch * self.recipe.num_train_epochs


def learning_rate(step: int, num_steps: int, recipe: Recipe) -> float:
    """Linear warm-up over min(warmup_steps, a tenth of the steps), then linear decay to zero."""
    warmup = max(1, min(recipe.warmup_steps, num_steps // 10))
    rise, fall = (step + 1) / warmup, (num_steps - step) / max(1, num_steps - warmup)
    return recipe.learning_rate * min(1.0, rise, fall)


def _optimizer(model: torch.nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; matrices decay, biases and norms do not."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def _loss_sum(model: torch.nn.Module, batch: data.Sequences, precision: str) -> torch.Tensor:
    """Summed next-token loss of a batch, in nats; the labels are already shifted."""
    device = next(model.parameters()).device
    inputs, labels, positions = (
        torch.from_numpy(array).long().to(device)
        for array in (batch.inputs, batch.labels, batch.positions)
    )
    # Not Accelerate's own autocast: its precision is set once a process, here it is the plan's.
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        # Without a mask or a cache, positions that start again keep documents apart.
        logits = model(input_ids=inputs, position_ids=positions, use_cache=False).logits
    return functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=data.IGNORED, reduction="sum"
    )


def _batches(sequences: data.Sequences, order: Any, size: int) -> Iterator[data.Sequences]:
    for start in range(0, len(order), size):
        yield sequences[order[start : start + size]]


@torch.no_grad()
def _validation_loss(model: torch.nn.Module, plan: Plan) -> float:
    """Loss per token on the validation rows, in nats."""
    model.eval()
    order = np.arange(len(plan.validation))
    size = 2 * plan.recipe.per_device_train_batch_size
    batches = _batches(plan.validation, order, size)
    total = sum(_loss_sum(model, batch, plan.precision).item() for batch in batches)
    model.train()
    return total / plan.validation.num_targets


class _Run:
    """One training in progress: what the loop's parts share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.accelerator = Accelerator()
        if plan.recipe.gradient_checkpointing is True:
            plan.model.gradient_checkpointing_enable()  # type: ignore[operator]
        self.model, self.optimizer = self.accelerator.prepare(
            plan.model, _optimizer(plan.model, plan.recipe)
        )
        self.position = checkpoint.load(plan.state, self._bare, self._inner, plan.key)

    @property
    def _bare(self) -> torch.nn.Module:
        model: torch.nn.Module = self.accelerator.unwrap_model(self.model)
        return model

    @property
    def _inner(self) -> torch.optim.Optimizer:
        inner: torch.optim.Optimizer = self.optimizer.optimizer
        return inner

    def step(self, batch: data.Sequences) -> None:
        """One optimizer step: every token of the step weighs the same, however it is cut."""
        plan, position = self.plan, self.position
        for group in self._inner.param_groups:
            group["lr"] = learning_rate(position.step, plan.num_steps, plan.recipe)
        targets = batch.num_targets
        order = np.arange(len(batch))
        for part in _batches(batch, order, plan.recipe.per_device_train_batch_size):
            loss = _loss_sum(self.model, part, plan.precision)
            self.accelerator.backward(loss / targets)
            position.loss_sum += loss.item()
        self.accelerator.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        position.step += 1
        position.tokens += targets
        position.loss_tokens += targets

    def measure(self) -> dict[str, float]:
        """Add a point to the curve: training loss since the last one, validation loss now."""
        position = self.position
        point = {
            "step": position.step,
            "tokens": position.tokens,
            "seconds": position.seconds,
            "train_loss": position.loss_sum / position.loss_tokens,
            "validation_loss": _validation_loss(self.model, self.plan),
        }
        position.curve.append(point)
        position.loss_sum, position.loss_tokens = 0.0, 0
        return point

    def save(self) -> None:
        """Write a checkpoint."""
        checkpoint.save(self.plan.state, self._bare, self._inner, self.position, self.plan.key)


def train(plan: Plan, on_point: Callable[[dict[str, float]], None]) -> checkpoint.Position:
    """Train to the end, from the newest checkpoint if there is one.

    Args:
        plan: what to train; its model is changed in place.
        on_point: called with every new point of the curve.

    Returns:
        The final position, with the whole curve.
    """
    run = _Run(plan)
    position, recipe = run.position, plan.recipe
    for point in position.curve:
        on_point(point)
    bar = progress(None, f"train {plan.state.name}", "tokens")
    bar.total = plan.num_steps * plan.train.num_targets // plan.steps_per_epoch
    bar.update(position.tokens)
    run.model.train()
    while position.step < plan.num_steps:
        epoch, done = divmod(position.step, plan.steps_per_epoch)
        order = data.epoch_order(len(plan.train), plan.seed, epoch)
        rest = order[done * plan.sequences_per_step :]
        for batch in _batches(plan.train, rest, plan.sequences_per_step):
            before, began = position.tokens, time.perf_counter()
            run.step(batch)
            position.seconds += time.perf_counter() - began
            bar.update(position.tokens - before)
            last = position.step == plan.num_steps
            if last or position.step % recipe.eval_steps == 0:
                on_point(run.measure())
            if last or position.step % recipe.save_steps == 0:
                run.save()
            if last:
                break
    bar.close()
    return position
