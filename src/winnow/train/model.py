"""The GPT-2 models, and what training one costs in FLOPs, memory and time."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from winnow.config import Model, Recipe
from winnow.train.loss import LOGITS, LOGITS_CPU

# A bar for each file of weights that is read or written says nothing beside the training's own.
logging.disable_progress_bar()

EFFICIENCY = 0.35
"""Share of the measured matrix rate that a training step is expected to reach: an assumption."""
ACTIVATIONS = {"fp32": 66, "bf16": 44}
"""Bytes that a layer keeps for its backward pass, a position and unit of width, without dropout:
counted in the tensors that transformers' GPT-2 saves."""


def padded(vocab_size: int) -> int:
    """The next multiple of 64, which the matrix units like; the padding is never a target."""
    return -(-vocab_size // 64) * 64


def build(model: Model, vocab_size: int, end_of_text: int) -> GPT2LMHeadModel:
    """A GPT-2 with fresh weights from torch's current seed and a padded vocabulary."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=padded(vocab_size),
            n_positions=model.context,
            n_embd=model.hidden_size,
            n_layer=model.num_layers,
            n_head=model.num_heads,
            # GPT-2's own function, as one kernel: its default name is nine steps through memory.
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=model.dropout,
            embd_pdrop=model.dropout,
            attn_pdrop=model.dropout,
            bos_token_id=end_of_text,
            eos_token_id=end_of_text,
            loss_type="ForCausalLM",
        )
    )


def num_parameters(model: Model, vocab_size: int) -> int:
    """Parameters of the model, output embeddings tied (counted once), position table included."""
    width = model.hidden_size
    per_layer = 12 * width**2 + 13 * width
    embeddings = (padded(vocab_size) + model.context) * width
    return model.num_layers * per_layer + embeddings + 2 * width


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(name in flags.read_text() for name in ("amx_bf16", "avx512_bf16"))


def precision(wanted: str, device: torch.device) -> str:
    """Resolve `auto` to bf16 or fp32 for the device."""
    if wanted == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return wanted


def _matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measured FLOP/s of square matrix products on the device; takes a fraction of a second."""
    size, repeats = (4096, 20) if device.type == "cuda" else (768, 8)
    left = torch.randn(size, size, device=device, dtype=dtype)
    left @ left
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(repeats):
        left @ left
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 2 * size**3 * repeats / (time.perf_counter() - began)


def device_memory(device: torch.device) -> int:
    """Bytes that the device has: a GPU's own, else the machine's, or what its container may use."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    words = limit.read_text().strip() if limit.exists() else ""
    return min(machine, int(words)) if words.isdigit() else machine


def watch_memory(device: torch.device) -> Callable[[], float | None]:
    """Watch the memory from now on.

    Returns:
        A function that says the peak since then, in GB: of a GPU what torch held, else what the
        process held beyond now (None where Linux's /proc does not say it).
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device) / 1e9
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now
    except OSError:
        return lambda: None

    def kilobytes(name: str) -> int:
        (line,) = [line for line in status.read_text().splitlines() if line.startswith(name)]
        return int(line.split()[1])

    before = kilobytes("VmRSS")
    return lambda: (kilobytes("VmHWM") - before) * 1024 / 1e9


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
    rate = _matrix_rate(state.device, torch.bfloat16 if kind == "bf16" else torch.float32)
    return Estimate(
        num_parameters=num_parameters(model, vocab_size),
        tokens=round(epochs * targets),
        flops=flops,
        seconds=flops * (4 / 3 if again else 1) / (rate * EFFICIENCY * state.num_processes),
        memory_gb=memory_needed(model, recipe, vocab_size, kind, again, on_cpu) / 1e9,
        device_gb=room / 1e9,
        gradient_checkpointing=again,
    )


def environment() -> str:
    """The machine in words, and the processes if several, for the record of a measurement."""
    cpu = f"cpu, {os.cpu_count()} cores"
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    processes = PartialState().num_processes
    return name if processes == 1 else f"{name}, {processes} processes"
