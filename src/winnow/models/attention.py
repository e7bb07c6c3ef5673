"""Attention of documents that share sequences: each by itself, without a mask.

transformers makes a mask of (sequences, 1, length, length) of positions that start again, which
keeps PyTorch from FlashAttention; its own `flash_attention_2` reads such positions of one sequence
alone, and in a batch of several lets documents see each other. Here the places where documents
begin go to every layer in the mask's place. `torch.nn.attention.varlen` would take them too, but
has no dropout (torch 2.13), so it is the operator below it that is called, which has a gradient.
"""

from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "by_document"
"""Of this attention, among those that a model of transformers can be set to."""
KNOWN = ("position_ids", "is_causal")
"""What a layer may say of its attention beside dropout and scale: that changes nothing of it."""
WIDEST = 256
"""Numbers of a head that FlashAttention takes, in steps of 8."""


def fits(network: Any) -> bool:
    """Whether a configuration asks of every layer to see all of a document up to its token, and
    FlashAttention takes its heads: no sliding windows, no chunks, no layers of another kind.

    Args:
        network: a PreTrainedModel.
    """
    config = network.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    limits = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return kinds == {"full_attention"} and not any(limits) and width % 8 == 0 and width <= WIDEST


def runs(device: torch.device) -> bool:
    """Whether the device can attend by documents now: FlashAttention needs half precision, of a GPU
    of the Ampere generation or newer."""
    if device.type == "cpu":
        return True
    is_half = torch.is_autocast_enabled(device.type)
    return is_half and torch.cuda.get_device_capability(device)[0] >= 8


def borders(positions: torch.Tensor) -> torch.Tensor:
    """Where documents begin among the tokens of all sequences, and where the last one ends, in the
    form in which transformers hands a mask of somebody else's to all layers. Made once a forward;
    a GPU is waited for, as their number is not known before.

    Args:
        positions: (sequences, length), counted from 0 in every document.

    Returns:
        (1, 1, 1, documents + 1), int32, by which `_attend` tells it from a mask.
    """
    starts = (positions.flatten() == 0).nonzero()[:, 0]
    return functional.pad(starts, (0, 1), value=positions.numel()).int()[None, None, None]


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """A layer's attention, as transformers asks for it; by SDPA where it is given no borders.

    Args:
        module: the layer.
        query: (sequences, heads, length, width).
        key: as the query, of as many heads or a part of them.
        value: as the key.
        attention_mask: of `borders`.
        dropout: the share of weights that are dropped.
        scaling: of the products; None is 1 / sqrt(width).
        others: what SDPA can and this cannot do.

    Returns:
        (sequences, length, heads, width), and no weights.

    Raises:
        ValueError: the layer asks for more: a window, a cap, a bias.
    """
    if attention_mask is None or attention_mask.dtype != torch.int32:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
        return found
    asked = {name for name, what in others.items() if what is not None and what is not False}
    more = sorted(asked.difference(KNOWN))
    causal = others.get("is_causal")
    if more or not (getattr(module, "is_causal", True) if causal is None else causal):
        raise ValueError(f"attention by documents is plain and causal: {', '.join(more)}")
    shape, device = query.shape, query.device
    tokens = [part.transpose(1, 2).flatten(0, 1) for part in (query, key, value)]
    if torch.is_autocast_enabled(device.type):
        # Rotated queries and keys come in fp32, and no autocast knows the operator.
        tokens = [part.to(torch.get_autocast_dtype(device.type)) for part in tokens]
    (query, key, value), starts = tokens, attention_mask.flatten()
    one = _flash if device.type == "cuda" else _one_by_one
    attended = one(query, key, value, starts, shape[2], dropout, scaling)
    return attended.view(shape[0], shape[2], shape[1], shape[3]), None


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """All documents in one kernel; tensors are (tokens, heads, width), in half precision."""
    attended: torch.Tensor = torch.ops.aten._flash_attention_forward(
        *(query, key, value, starts, starts, longest, longest),
        *(dropout, True, False),
        scale=scaling,
    )[0]
    return attended


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    """A call of SDPA for each document, on a CPU; see `_flash`."""
    sizes = starts.diff().tolist()
    parts = (torch.split(tokens.transpose(0, 1), sizes, dim=1) for tokens in (query, key, value))
    attended = [
        functional.scaled_dot_product_attention(
            asked[None],
            known[None],
            held[None],
            dropout_p=dropout,
            is_causal=True,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )[0]
        for asked, known, held in zip(*parts, strict=True)
    ]
    return torch.cat(attended, dim=1).transpose(0, 1).contiguous()


AttentionInterface.register(NAME, _attend)
# For what the same network does without borders: transformers makes no mask beside them.
AttentionMaskInterface.register(NAME, sdpa_mask)
