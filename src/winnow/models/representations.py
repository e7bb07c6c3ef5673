"""Rows as vectors: a decoder's hidden states, pooled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from winnow.core.errors import Refusal
from winnow.models.row_losses import padded


@torch.no_grad()
def pooled(
    network: Any, sequences: Sequence[Sequence[int]], batch_size: int
) -> NDArray[np.float64]:
    """The mean of the last hidden states of each sequence, weighted by position, at length one.

    The n-th of N tokens weighs n / (1 + 2 + ... + N): a decoder's later states have read more
    (Muennighoff 2022, arXiv 2202.08904, SGPT).

    Args:
        network: a decoder of transformers; causal attention cannot see padding on the right.
        sequences: token ids, none of them empty.
        batch_size: sequences a forward pass; vectors differ by the rounding of a sum.

    Returns:
        (sequences, hidden size).
    """
    order = sorted(range(len(sequences)), key=lambda place: -len(sequences[place]))
    found = np.empty((len(sequences), network.get_input_embeddings().embedding_dim))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        inputs = padded([sequences[place] for place in places], 0, network.device)
        states = network.base_model(input_ids=inputs, use_cache=False).last_hidden_state.float()
        for place, state in zip(places, states, strict=True):
            length = len(sequences[place])
            weights = torch.arange(1, length + 1, device=state.device, dtype=state.dtype)
            mean = (weights @ state[:length] / weights.sum()).double().cpu().numpy()
            found[place] = mean / np.linalg.norm(mean)
    if not np.isfinite(found).all():
        raise Refusal("model: it gives vectors that are no numbers")
    return found
