"""Attention by documents beside a mask: how far losses and gradients are apart.

PYTHONPATH=src:tests python -m attention_cases

Prints a line for each model and fails where one is too far; on CUDA by FlashAttention, in bf16. The
tests import it; alone it needs no more than torch, transformers and numpy.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from winnow.core.experiments import Model
from winnow.models import attention, gpt2
from winnow.models.loss import WithLoss, WithTokenLosses
from winnow.models.sequences import IGNORED, Sequences, pack

LENGTH, WORDS = 40, 64
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "head_dim": 8,
    "vocab_size": WORDS,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def batch() -> Sequences:
    """Several sequences of several documents, with padding."""
    rng = np.random.default_rng(0)
    sizes = (9, 12, 5, 20, 3, 30, 7, 8)
    documents = [np.append(rng.integers(1, WORDS, size), 0).astype(np.int32) for size in sizes]
    packed = pack(documents, LENGTH, 0)[:]
    assert len(packed) > 2 and ((packed.positions == 0).sum(1) > 1).all()
    assert (packed.labels == IGNORED).any()
    return packed


def network(kind: str, dropout: float = 0.0) -> Any:
    """A tiny model that looks at its context: GPT-2, or a decoder whose heads share their keys."""
    torch.manual_seed(0)
    if kind == "gpt2":
        declared = Model(num_layers=2, hidden_size=32, num_heads=4, context=LENGTH, dropout=dropout)
        made: Any = gpt2.build(declared, WORDS, 0)
    else:
        made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE))
    for parameter in made.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.2)
    return made


def tensors(packed: Sequences, device: str = "cpu") -> list[torch.Tensor]:
    """Inputs, positions and labels."""
    arrays = (packed.inputs, packed.positions, packed.labels)
    return [torch.from_numpy(array).long().to(device) for array in arrays]


def learned(
    model: Any, packed: Sequences, by_document: bool, device: str = "cpu", half: bool = False
) -> tuple[float, torch.Tensor]:
    """The summed loss and all gradients, in one vector, of a copy of a model."""
    module = WithLoss(copy.deepcopy(model).to(device), by_document=by_document)
    with torch.autocast(device, torch.bfloat16, enabled=half):
        loss = module(*tensors(packed, device))
    loss.backward()
    slopes = [p.grad.flatten().double() for p in module.parameters() if p.grad is not None]
    return loss.item(), torch.cat(slopes).cpu()


def token_losses(model: Any, packed: Sequences, device: str = "cpu") -> torch.Tensor:
    """The loss of each token by documents, (sequences, length), on CUDA in bf16."""
    module = WithTokenLosses(copy.deepcopy(model).to(device), by_document=True)
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        return module(*tensors(packed, device)).float().cpu()


def one_changed(packed: Sequences) -> tuple[Sequences, torch.Tensor]:
    """The same sequences with other tokens in one document, between two others; and where it is."""
    changed = copy.deepcopy(packed)
    row = int((packed.positions == 0).sum(1).argmax())
    start, end = np.flatnonzero(packed.positions[row] == 0)[1:3]
    changed.inputs[row, start:end] = (packed.inputs[row, start:end] + 1) % WORDS
    is_own = torch.zeros(packed.inputs.shape, dtype=torch.bool)
    is_own[row, start:end] = True
    return changed, is_own


def dropped(dropout: float, device: str, dtype: torch.dtype) -> tuple[float, float, float]:
    """Attention with dropout, of grouped heads, with a fixed seed.

    Returns:
        The mean weight that is left; how far forward and backward, which is the same matrix turned
        round, are apart; and how much another seed changes.
    """
    layer = torch.nn.Module()
    starts = torch.tensor([0, 60, 64, 128], dtype=torch.int32, device=device)[None, None, None]
    query, key = (torch.randn(2, heads, 64, 8, dtype=dtype, device=device) for heads in (4, 2))

    def of(value: torch.Tensor, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return attention._attend(layer, query, key, value, starts, dropout=dropout)[0]

    value = torch.randn(2, 2, 64, 8, dtype=dtype, device=device, requires_grad=True)
    found = of(value, 1)
    slope = torch.randn_like(found)
    found.backward(slope)
    assert value.grad is not None
    forward, backward = (found.double() * slope).sum(), (value.grad.double() * value).sum()
    scale = (found.double() * slope).norm()
    mean = of(torch.ones_like(value), 1).double().mean()
    other = (of(value, 2) - found).double().norm() / found.double().norm()
    return mean.item(), ((forward - backward).abs() / scale).item(), other.item()


def on_cuda() -> Iterator[str]:
    """By FlashAttention in bf16 on CUDA: no further from fp32 than a mask in bf16 is, but for
    half of that; documents do not see each other; and dropout is the same both ways."""
    packed = batch()
    for kind in ("gpt2", "llama", "qwen3"):
        model = network(kind)
        truth, slope = learned(model, packed, False, "cuda")
        far = []
        for by_document in (False, True):
            loss, found = learned(model, packed, by_document, "cuda", half=True)
            far.append((abs(loss / truth - 1), float((found - slope).norm() / slope.norm())))
        said = "; ".join(f"loss {one:.1e}, gradients {other:.1e}" for one, other in far)
        yield f"{kind}, bf16 from fp32: by mask {said.replace('; ', ', by document ')}"
        assert far[1][1] <= 1.5 * far[0][1] and far[1][0] <= 2e-3, far
        changed, is_own = one_changed(packed)
        before, after = (token_losses(model, one, "cuda") for one in (packed, changed))
        assert torch.equal(before[~is_own], after[~is_own])
        assert not torch.equal(before[is_own], after[is_own])
        yield f"{kind}: another document changes no loss"
    mean, apart, other = dropped(0.2, "cuda", torch.bfloat16)
    yield f"dropout 0.2: mean weight {mean:.3f}, forward and backward {apart:.1e} apart"
    assert abs(mean - 1) < 0.05 and apart < 2e-2 and other > 0.1


def on_cpu() -> Iterator[str]:
    """One document after the other in fp32: the loss and the gradients of a mask."""
    packed = batch()
    for kind in ("gpt2", "llama", "qwen3"):
        model = network(kind)
        (truth, slope), (loss, found) = (learned(model, packed, by) for by in (False, True))
        far = abs(loss / truth - 1), float((found - slope).norm() / slope.norm())
        yield f"{kind}, fp32: loss {far[0]:.1e}, gradients {far[1]:.1e} from those by mask"
        assert max(far) < 1e-5, far


if __name__ == "__main__":
    cases: Callable[[], Iterator[str]] = on_cuda if torch.cuda.is_available() else on_cpu
    for line in cases():
        print(line, flush=True)
