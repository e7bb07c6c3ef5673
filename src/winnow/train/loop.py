"""The training loop: packed sequences, AdamW, warm-up and linear decay, on Accelerate."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedType

from winnow.core.errors import Stopped
from winnow.core.experiments import Recipe
from winnow.core.progress import progress
from winnow.models import sequences
from winnow.models.sequences import Units
from winnow.train import checkpoint, interrupt
from winnow.train.objectives import Objective, Tokens, Worker, batches

MAX_GRADIENT_NORM = 1.0
"""The default of Hugging Face's Trainer, which the documented recipes leave as it is."""
LOOK = 10
"""Steps after which losses are read and processes ask each other for signals: a GPU has to finish
what it was given first, which at every step would cost time. One process on a CPU looks at every
step."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides a run."""

    model: torch.nn.Module
    recipe: Recipe
    train: Units
    validation: Units
    seed: int
    precision: str
    state: Path
    """Folder of the checkpoints."""
    key: dict[str, Any]
    """What the run is made of; see checkpoint.save."""
    max_steps: int | None = None
    """Optimizer steps, instead of the recipe's epochs."""
    objective: Objective[Any] = field(default_factory=Tokens)
    """What the loss is, and of what."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch; the last one may be short."""
        return -(-len(self.train) // self.recipe.sequences_per_step)

    @property
    def num_steps(self) -> int:
        """Optimizer steps in all."""
        return self.max_steps or self.steps_per_epoch * self.recipe.num_train_epochs

    @property
    def point_steps(self) -> int:
        """Optimizer steps between two points of the curve: a tenth of all, or less."""
        return min(self.recipe.eval_steps, max(1, self.num_steps // 10))


def learning_rate(step: int, num_steps: int, recipe: Recipe) -> float:
    """Linear warm-up over min(warmup_steps, a tenth of the steps), then linear decay to zero."""
    warmup = max(1, min(recipe.warmup_steps, num_steps // 10))
    rise, fall = (step + 1) / warmup, (num_steps - step) / max(1, num_steps - warmup)
    return recipe.learning_rate * min(1.0, rise, fall)


def optimizer(model: torch.nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; matrices decay, biases and norms do not."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices, vectors = (
        [p for p in trained if (p.dim() >= 2) == is_matrix] for is_matrix in (True, False)
    )
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


class Run:
    """One training in progress, in one process of it, whose steps may be taken one by one."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.accelerator = Accelerator()
        if plan.recipe.gradient_checkpointing is True:
            plan.model.gradient_checkpointing_enable()  # type: ignore[operator]
        self.model, self.optimizer = self.accelerator.prepare(
            plan.objective.module(plan.model), optimizer(plan.model, plan.recipe)
        )
        self.worker = Worker(self.accelerator, self.model, plan.precision)
        units = {"train": plan.train, "validation": plan.validation}
        size = self.validation_size
        seconds = plan.objective.begin(self.worker, units, size, plan.state, plan.key)
        # The first process may set aside what it cannot use; the others read what it leaves.
        with self.accelerator.main_process_first():
            self.position = checkpoint.load(plan.state, plan.model, self._inner, plan.key)
        if self.position.step == 0:
            self.position.seconds = seconds
        alone = self.accelerator.num_processes == 1 and self.accelerator.device.type == "cpu"
        self.look_steps = 1 if alone else LOOK
        self.unread: list[tuple[list[torch.Tensor], torch.Tensor]] = []
        """Of every step since the last look: its micro-batches' losses, its gradient's norm."""
        self.grad_norm = 0.0

    @property
    def _inner(self) -> torch.optim.Optimizer:
        inner: torch.optim.Optimizer = self.optimizer.optimizer
        return inner

    @property
    def validation_size(self) -> int:
        """Sequences, or pairs, that are computed at a time where nothing is learned."""
        return 2 * self.plan.recipe.per_device_train_batch_size

    def step(self, batch: Units) -> None:
        """One optimizer step: every token, or pair, weighs the same, however the step is cut."""
        plan, position = self.plan, self.position
        for group in self._inner.param_groups:
            group["lr"] = learning_rate(position.step, plan.num_steps, plan.recipe)
        # Dropout's numbers are those of the step and the process: a resume needs no other state.
        dice = np.random.default_rng([plan.seed, position.step, self.accelerator.process_index])
        torch.manual_seed(int(dice.integers(2**63)))
        targets, counted = batch.num_targets, plan.objective.count(batch)
        plan.objective.prepare(self.worker, batch, plan.recipe.per_device_train_batch_size)
        order = np.arange(len(batch))
        parts = list(batches(batch, order, plan.recipe.per_device_train_batch_size))
        losses = []
        for part in parts:
            is_last = part is parts[-1]
            with nullcontext() if is_last else self.accelerator.no_sync(self.model):
                loss = plan.objective.loss(self.worker, part)
                # The gradients of several processes are averaged, and should be added.
                self.accelerator.backward(loss * (self.accelerator.num_processes / counted))
            losses.append(loss.detach())
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
        self.unread.append((losses, norm))
        self.optimizer.step()
        self.optimizer.zero_grad()
        position.step += 1
        position.tokens += targets
        position.loss_count += counted

    def look(self) -> None:
        """Wait for the steps so far, and add their losses to the position.

        Raises:
            FloatingPointError: a loss or a gradient's norm is not finite; the first one's step.
        """
        position = self.position
        losses = iter(self.worker.added([loss for parts, _ in self.unread for loss in parts]))
        for step, (parts, norm) in enumerate(self.unread, position.step - len(self.unread) + 1):
            for _ in parts:  # one by one: the same bits wherever a run was cut
                position.loss_sum += self._finite("loss", next(losses), step)
            self.grad_norm = self._finite("gradient's norm", float(checkpoint.whole(norm)), step)
        self.unread.clear()

    def _finite(self, name: str, value: float, step: int) -> float:
        if not math.isfinite(value):
            raise FloatingPointError(
                f"step {step} of {self.plan.num_steps}: the {name} is not finite ({value})"
            )
        return value

    def agreed(self, number: int) -> int:
        """The number of the signal that some process has had; 0 where none has."""
        numbers = self.accelerator.gather(torch.tensor([number], device=self.accelerator.device))
        return int(numbers.max())

    @torch.no_grad()
    def _validated(self) -> dict[str, float]:
        """What the objective says of the validation rows."""
        self.model.eval()
        size = self.validation_size
        found = self.plan.objective.validate(self.worker, self.plan.validation, size)
        self.model.train()
        name = "validation loss"
        self._finite(name, found["validation_loss"], self.position.step)
        return found

    def measure(self) -> dict[str, float]:
        """Add a point to the curve: training loss since the last one, validation loss now.

        The learning rate and the gradient's norm, before it is clipped, are the last step's.

        Raises:
            FloatingPointError: the validation loss is not finite.
        """
        position = self.position
        point = {
            "step": position.step,
            "tokens": position.tokens,
            "seconds": position.seconds,
            "train_loss": position.loss_sum / position.loss_count,
            "learning_rate": self._inner.param_groups[0]["lr"],
            "grad_norm": self.grad_norm,
        } | self._validated()
        position.curve.append(point)
        position.loss_sum, position.loss_count = 0.0, 0
        return point

    def save(self) -> None:
        """Write a checkpoint; all processes wait until it is durable."""
        plan = self.plan
        checkpoint.save(plan.state, plan.model, self._inner, self.position, plan.key)
        self.accelerator.wait_for_everyone()

    def gather(self) -> None:
        """Give the plan's model its whole weights, where processes share them (FSDP)."""
        self.model.reshard()
        whole = {p: torch.nn.Parameter(checkpoint.whole(p)) for p in self.plan.model.parameters()}
        for module in self.plan.model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, whole[parameter])


def train(plan: Plan, on_point: Callable[[dict[str, float]], None]) -> checkpoint.Position:
    """Train to the end, from the newest checkpoint if there is one.

    Args:
        plan: what to train; its model is changed in place.
        on_point: called with every new point of the curve.

    Returns:
        The final position, with the whole curve.

    Raises:
        Stopped: a signal came; a checkpoint of where the run ended is written.
        FloatingPointError: a loss or a gradient's norm is not finite; what was computed with it is
            in no checkpoint.
    """
    run = Run(plan)
    with interrupt.noted() as signal:
        _steps(run, on_point, signal)
    if run.accelerator.distributed_type == DistributedType.FSDP:
        run.gather()
    return run.position


def _begin(run: Run, on_point: Callable[[dict[str, float]], None]) -> Any:
    """Say where the run begins; returns the progress bar."""
    plan, position, accelerator = run.plan, run.position, run.accelerator
    if position.step:
        accelerator.print(
            f"train: {plan.state.name} goes on from step {position.step} of {plan.num_steps}",
            flush=True,
        )
    for point in position.curve:
        on_point(point)
    total = plan.num_steps * plan.train.num_targets // plan.steps_per_epoch
    shown = accelerator.is_main_process
    bar = progress(None, f"train {plan.state.name}", "tokens", total, shown=shown)
    bar.update(position.tokens)
    run.model.train()
    return bar


def _remaining(plan: Plan, position: checkpoint.Position) -> Iterator[Units]:
    """The batches of the steps that are still to be done."""
    while position.step < plan.num_steps:
        epoch, done = divmod(position.step, plan.steps_per_epoch)
        in_order = plan.recipe.is_ordered
        order = sequences.epoch_order(len(plan.train), plan.seed, epoch, in_order)
        size = plan.recipe.sequences_per_step
        rest = order[done * size :][: (plan.num_steps - position.step) * size]
        yield from batches(plan.train, rest, size)


def _steps(
    run: Run, on_point: Callable[[dict[str, float]], None], signal: Callable[[], int]
) -> None:
    """All steps that are left, with their points and checkpoints."""
    plan, position = run.plan, run.position
    bar = _begin(run, on_point)
    for batch in _remaining(plan, position):
        before, began = position.tokens, time.perf_counter()
        run.step(batch)
        is_last = position.step == plan.num_steps
        is_point = is_last or position.step % plan.point_steps == 0
        is_save = is_last or position.step % plan.recipe.save_steps == 0
        is_look = is_point or is_save or position.step % run.look_steps == 0
        if is_look:
            run.look()
        position.seconds += time.perf_counter() - began
        bar.update(position.tokens - before)
        if is_point:
            on_point(run.measure())
        number = run.agreed(signal()) if is_look else 0
        if is_save or number:
            run.save()
        if number:
            raise Stopped(
                f"stopped at step {position.step} of {plan.num_steps}: the same command goes on "
                "from there",
                number,
            )
    bar.close()
