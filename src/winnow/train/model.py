"""The GPT-2 models, and what training one costs in FLOPs, memory and time."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from winnow.config import Model, Recipe

EFFICIENCY = 0.35
"""Share of the measured matrix rate that a training step is expected to reach: an assumption."""


def build(model: Model, vocab_size: int, end_of_text: int) -> GPT2LMHeadModel:
    """A GPT-2 with fresh weights from torch's current seed.

    The vocabulary is padded to a multiple of 64, which the matrix units like; the padding is never
    a target.
    """
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=-(-vocab_size // 64) * 64,
            n_positions=model.context,
            n_embd=model.hidden_size,
            n_layer=model.num_layers,
            n_head=model.num_heads,
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
    embeddings = (-(-vocab_size // 64) * 64 + model.context) * width
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


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take, known before its first step."""

    num_parameters: int
    tokens: int
    flops: float
    seconds: float
    memory_gb: float

    def __str__(self) -> str:
        hours = f"{self.seconds / 3600:.1f} h" if self.seconds > 5400 else f"{self.seconds:.0f} s"
        return (
            f"{self.num_parameters / 1e6:.2f}M parameters, {self.tokens / 1e6:.2f}M tokens, "
            f"{self.flops:.2e} FLOPs: about {hours} and {self.memory_gb:.1f} GB"
        )


def estimate(
    model: Model, recipe: Recipe, vocab_size: int, tokens: int, device: torch.device, kind: str
) -> Estimate:
    """Estimate a run.

    FLOPs a token are 6N + 12LdT (Chowdhery et al. 2022, appendix B); the time is those over a
    measured matrix rate and an assumed efficiency. Memory is 16 bytes a parameter (weights,
    gradients, two moments in fp32), activations of 34 bytes a token, layer and unit of width
    (Korthikanti et al. 2022; 2 with checkpointing), and logits with their gradient.

    Args:
        model: the architecture.
        recipe: batch size and checkpointing.
        vocab_size: of the tokenizer.
        tokens: to be trained on, over all epochs.
        device: where.
        kind: bf16 or fp32.
    """
    parameters = num_parameters(model, vocab_size)
    shape = model.num_layers * model.hidden_size
    flops = tokens * (6.0 * parameters + 12.0 * shape * model.context)
    rate = _matrix_rate(device, torch.bfloat16 if kind == "bf16" else torch.float32)
    batch = recipe.per_device_train_batch_size * model.context
    activations = batch * shape * (2 if recipe.gradient_checkpointing else 34)
    memory = 16 * parameters + activations + batch * vocab_size * 10
    return Estimate(parameters, tokens, flops, flops / (rate * EFFICIENCY), memory / 1e9)


def environment() -> str:
    """The machine in words, for the record of a measurement."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"cpu, {os.cpu_count()} cores"
