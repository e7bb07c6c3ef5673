"""What training a model costs in FLOPs, memory and time."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from accelerate import PartialState

from winnow.core.experiments import Recipe
from winnow.core.objectives import REFERENCED, Policy
from winnow.models.device import device_memory, matrix_rate
from winnow.models.family import Shape
from winnow.models.loss import LOGITS, LOGITS_CPU, ROWS

EFFICIENCY = 0.35
"""Share of the measured matrix rate that a training step is expected to reach: an assumption."""
ACTIVATIONS = {"fp32": (34, 8), "bf16": (28, 4)}
"""Bytes that a layer keeps for its backward pass, a position and unit of width, without dropout,
and those for each of Shape.inner: counted in what transformers' GPT-2 and Llama save."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a training computes that is not on full sequences."""

    epoch: float
    """FLOPs of an epoch."""
    once: float
    """FLOPs before the first step."""
    peak: int
    """Positions of a micro-batch, at most."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take, known before its first step."""

    num_parameters: int
    tokens: int
    """Targets, over all steps."""
    flops: float
    """Of the model, for every position, padding too; none that are computed twice."""
    seconds: float
    """Of the training steps."""
    memory_gb: float
    """The peak on one device."""
    device_gb: float
    gradient_checkpointing: bool

    def __str__(self) -> str:
        hours = f"{self.seconds / 3600:.1f} h" if self.seconds > 5400 else f"{self.seconds:.0f} s"
        again = ", with gradient checkpointing" if self.gradient_checkpointing else ""
        return (
            f"{self.num_parameters / 1e6:.2f}M parameters, {self.tokens / 1e6:.2f}M tokens, "
            f"{self.flops:.2e} FLOPs: about {hours} and {self.memory_gb:.1f} of "
            f"{self.device_gb:.1f} GB{again}"
        )


def flops_per_position(shape: Shape) -> float:
    """FLOPs to train on one position: 6N + 12LdT (Chowdhery et al. 2022, appendix B), without the
    2 of each parameter that is frozen, whose own gradient nobody needs."""
    attention = 12.0 * shape.num_layers * shape.hidden_size * shape.context
    return 4.0 * shape.num_parameters + 2.0 * shape.num_trained + attention


def forward_flops(shape: Shape, lengths: Iterable[int]) -> float:
    """FLOPs to read sequences of some lengths once, a third of what training on them takes where
    all parameters are trained: 2N + 4LdT a position."""
    attention = 4.0 * shape.num_layers * shape.hidden_size
    return sum(length * (2.0 * shape.num_parameters + attention * length) for length in lengths)


def kept_bytes(shape: Shape, kind: str) -> float:
    """Bytes that a layer keeps of a position for its backward pass, without dropout."""
    fixed, inner = ACTIVATIONS[kind]
    return shape.hidden_size * (fixed + inner * shape.inner)


def preference_work(shape: Shape, objective: str, positions: int, peak: int) -> Work:
    """What it takes to learn from pairs: each of the two answers is trained on with its question.
    A reference reads them once, before the first step, and of KTO a third answer, which the model
    itself reads in each epoch.

    Args:
        shape: of the model.
        objective: its name.
        positions: of both answers of all pairs, with their questions.
        peak: of those, what a micro-batch holds at most.
    """
    read = 2.0 * shape.num_parameters + 4.0 * shape.num_layers * shape.hidden_size * shape.context
    others = positions / 2 if objective == "kto" else 0.0
    return Work(
        epoch=positions * flops_per_position(shape) + others * read,
        once=(positions + others) * read if objective in REFERENCED else 0.0,
        peak=peak,
    )


def policy_work(shape: Shape, objective: Policy, positions: int, peak: int) -> Work:
    """What it takes to learn from one's own answers, at most: each is sampled, read by a reference,
    by RLOO once more, and trained on, with its question.

    Args:
        shape: of the model.
        objective: its numbers; what a reward model reads is not counted.
        positions: of all answers to all prompts, with their questions.
        peak: of those, what a micro-batch holds at most.
    """
    read = 2.0 * shape.num_parameters + 4.0 * shape.num_layers * shape.hidden_size * shape.context
    readings = 1 + (2 if objective.name == "rloo" else 1) * bool(objective.beta)
    return Work(
        epoch=positions * (flops_per_position(shape) + readings * read), once=0.0, peak=peak
    )


def memory_needed(
    shape: Shape, recipe: Recipe, kind: str, checkpointing: bool, on_cpu: bool, positions: int = 0
) -> float:
    """Bytes at the peak of a step, of so many positions at a time or of full sequences.

    A parameter takes 4 in fp32, one that is trained 12 more (gradient and AdamW's two moments), and
    in bf16 either 2 more for its copy. Activations are counted a position, layer and unit of width:
    4 with checkpointing, plus one layer that is computed again. Logits, with gradient, take 12
    each, of as many as are there at a time, and the words' second gradient 4. On a CPU, attention
    that drops out keeps 12 for every head and pair of positions.
    """
    positions = positions or recipe.per_device_train_batch_size * shape.context
    layer = positions * kept_bytes(shape, kind)
    if on_cpu and shape.dropout:
        layer += positions * shape.num_heads * shape.context * 12
    kept = positions * shape.hidden_size * shape.num_layers * 4 + layer
    parameters = shape.num_parameters * (6 if kind == "bf16" else 4) + shape.num_trained * 12
    activations = kept if checkpointing else layer * shape.num_layers
    logits = positions * shape.vocab_size
    if not shape.whole_logits:
        at_once = LOGITS_CPU if on_cpu else LOGITS
        logits = min(logits, max(at_once, ROWS * shape.vocab_size))
    return parameters + activations + 12.0 * logits + 4.0 * shape.vocab_size * shape.hidden_size


def estimate(
    shape: Shape,
    recipe: Recipe,
    sequences: int,
    targets: int,
    steps: int,
    kind: str,
    work: Work | None = None,
) -> Estimate:
    """Estimate a run: its FLOPs over the measured matrix rate and an assumed efficiency.

    Gradient checkpointing, which computes the forward pass twice, is on where the recipe says so,
    or says `auto` and the memory without it exceeds the device's.

    Args:
        shape: of the model.
        recipe: batch size and checkpointing.
        sequences: of an epoch, each of `shape.context` positions; or pairs.
        targets: tokens of an epoch that a loss counts.
        steps: optimizer steps.
        kind: bf16 or fp32.
        work: of pairs.
    """
    peak = work.peak if work else recipe.per_device_train_batch_size * shape.context
    state = PartialState()
    room, on_cpu = device_memory(state.device), state.device.type == "cpu"
    again = recipe.gradient_checkpointing
    if again == "auto":
        again = memory_needed(shape, recipe, kind, False, on_cpu, peak) > room
    epochs = steps / -(-sequences // recipe.sequences_per_step)
    flops = (
        epochs * work.epoch + work.once
        if work
        else epochs * sequences * shape.context * flops_per_position(shape)
    )
    rate = matrix_rate(state.device, torch.bfloat16 if kind == "bf16" else torch.float32)
    return Estimate(
        num_parameters=shape.num_parameters,
        tokens=round(epochs * targets),
        flops=flops,
        seconds=flops * (4 / 3 if again else 1) / (rate * EFFICIENCY * state.num_processes),
        memory_gb=memory_needed(shape, recipe, kind, again, on_cpu, peak) / 1e9,
        device_gb=room / 1e9,
        gradient_checkpointing=again,
    )
