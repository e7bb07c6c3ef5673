"""What training a GPT-2 costs in FLOPs, memory and time."""

from dataclasses import dataclass

import torch
from accelerate import PartialState

from winnow.core.experiments import Model, Recipe
from winnow.models.device import device_memory, matrix_rate
from winnow.models.gpt2 import num_parameters, padded
from winnow.models.loss import LOGITS, LOGITS_CPU

EFFICIENCY = 0.35
"""Share of the measured matrix rate that a training step is expected to reach: an assumption."""
ACTIVATIONS = {"fp32": 66, "bf16": 44}
"""Bytes that a layer keeps for its backward pass, a position and unit of width, without dropout:
counted in the tensors that transformers' GPT-2 saves."""


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


def flops_per_position(model: Model, vocab_size: int) -> float:
    """FLOPs to train on one position: 6N + 12LdT (Chowdhery et al. 2022, appendix B)."""
    attention = 12.0 * model.num_layers * model.hidden_size * model.context
    return 6.0 * num_parameters(model, vocab_size) + attention


def memory_needed(
    model: Model, recipe: Recipe, vocab_size: int, kind: str, checkpointing: bool, on_cpu: bool
) -> float:
    """Bytes at the peak of a step.

    A parameter takes 16 (weights, gradients, AdamW's two moments in fp32), and in bf16 2 more for
    its copy. Activations are counted a position, layer and unit of width: 4 with checkpointing,
    plus one layer that is computed again. Logits, with gradient, take 12 each, of as many as are
    there at a time, and the words' second gradient 4. On a CPU, attention that drops out keeps 12
    for every head and pair of positions.
    """
    positions = recipe.per_device_train_batch_size * model.context
    layer = positions * model.hidden_size * ACTIVATIONS[kind]
    if on_cpu and model.dropout:
        layer += positions * model.num_heads * model.context * 12
    kept = positions * model.hidden_size * model.num_layers * 4 + layer
    parameters = num_parameters(model, vocab_size) * (18 if kind == "bf16" else 16)
    activations = kept if checkpointing else layer * model.num_layers
    words = padded(vocab_size)
    logits = min(positions * words, LOGITS_CPU if on_cpu else LOGITS)
    return parameters + activations + 12.0 * logits + 4.0 * words * model.hidden_size


def estimate(
    model: Model,
    recipe: Recipe,
    vocab_size: int,
    sequences: int,
    targets: int,
    steps: int,
    kind: str,
) -> Estimate:
    """Estimate a run: its FLOPs over the measured matrix rate and an assumed efficiency.

    Gradient checkpointing, which computes the forward pass twice, is on where the recipe says so,
    or says `auto` and the memory without it exceeds the device's.

    Args:
        model: the architecture.
        recipe: batch size and checkpointing.
        vocab_size: of the tokenizer.
        sequences: of an epoch, each of `model.context` positions.
        targets: tokens of an epoch that a loss counts.
        steps: optimizer steps.
        kind: bf16 or fp32.
    """
    state = PartialState()
    room, on_cpu = device_memory(state.device), state.device.type == "cpu"
    again = recipe.gradient_checkpointing
    if again == "auto":
        again = memory_needed(model, recipe, vocab_size, kind, False, on_cpu) > room
    epochs = steps / -(-sequences // recipe.sequences_per_step)
    flops = epochs * sequences * model.context * flops_per_position(model, vocab_size)
    rate = matrix_rate(state.device, torch.bfloat16 if kind == "bf16" else torch.float32)
    return Estimate(
        num_parameters=num_parameters(model, vocab_size),
        tokens=round(epochs * targets),
        flops=flops,
        seconds=flops * (4 / 3 if again else 1) / (rate * EFFICIENCY * state.num_processes),
        memory_gb=memory_needed(model, recipe, vocab_size, kind, again, on_cpu) / 1e9,
        device_gb=room / 1e9,
        gradient_checkpointing=again,
    )
