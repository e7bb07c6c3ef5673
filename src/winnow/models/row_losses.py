"""Losses of whole rows, summed, so that models can be compared row by row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from winnow.core.progress import progress
from winnow.models.loss import WithTokenLosses
from winnow.models.sequences import IGNORED


@dataclass(frozen=True, slots=True)
class RowLosses:
    """Sums over each row's targets; each array is (rows,)."""

    loss: NDArray[np.float64]
    """In nats."""
    num_tokens: NDArray[np.int64]
    """Targets."""
    num_bytes: NDArray[np.int64]
    """Of the text that the targets stand for, in UTF-8."""
    response_loss: NDArray[np.float64]
    """In nats, of the response and the end alone."""
    response_tokens: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a row that the model sees at once."""

    row: int
    inputs: list[int]
    targets: list[int]
    num_prompt: int
    """Targets before the response."""


def windows(row: int, stream: list[int], num_prompt: int, context: int) -> Iterator[Window]:
    """Cut a row into windows of the context.

    Args:
        row: its place.
        stream: the token that every document starts behind, then all its tokens; each but the
            first is a target once. Past the context a window starts with the last token alone.
        num_prompt: targets before the response.
        context: the model's positions.
    """
    for start in range(0, len(stream) - 1, context):
        inputs = stream[start : start + context]
        targets = stream[start + 1 : start + 1 + context]
        before = min(max(num_prompt - start, 0), len(targets))
        yield Window(row, inputs[: len(targets)], targets, before)


def padded(sequences: Sequence[Sequence[int]], value: int, device: torch.device) -> torch.Tensor:
    """Token ids as (sequences, longest), with `value` on the right."""
    width = max(map(len, sequences))
    rows = [[*ids, *[value] * (width - len(ids))] for ids in sequences]
    return torch.tensor(rows, device=device)


TokenLosses = Callable[[Any, list[Window]], torch.Tensor]
"""A model and some windows to the loss of each target, (windows, longest), zero at padding."""


def causal(model: Any, batch: list[Window]) -> torch.Tensor:
    """Losses under a decoder-only model. Causal attention cannot see padding on the right."""
    inputs = padded([window.inputs for window in batch], 0, model.device)
    targets = padded([window.targets for window in batch], IGNORED, model.device)
    losses: torch.Tensor = WithTokenLosses(model, packs=False)(inputs, inputs, targets)
    return losses


def seq2seq(model: Any, batch: list[Window]) -> torch.Tensor:
    """Losses under an encoder-decoder model, which reads the inputs and predicts the targets."""
    inputs = padded([window.inputs for window in batch], 0, model.device)
    mask = padded([[1] * len(window.inputs) for window in batch], 0, model.device)
    starts = [[model.config.decoder_start_token_id, *window.targets[:-1]] for window in batch]
    decoded = padded(starts, 0, model.device)
    logits = model(input_ids=inputs, attention_mask=mask, decoder_input_ids=decoded).logits
    targets = padded([window.targets for window in batch], IGNORED, model.device)
    # Where the words are the last dimension, this takes a third of the time.
    losses = functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return losses.view_as(targets)


@torch.no_grad()
def row_losses(
    model: Any,
    windows: list[Window],
    num_bytes: list[int],
    token_losses: TokenLosses,
    batch_size: int,
) -> RowLosses:
    """Summed losses of rows, whatever the batch size.

    Args:
        model: in evaluation mode and fp32.
        windows: of all rows.
        num_bytes: of each row's targets, in UTF-8.
        token_losses: how the model's family computes them.
        batch_size: windows a forward pass.
    """
    size = len(num_bytes)
    loss, response_loss = np.zeros(size), np.zeros(size)
    num_tokens, response_tokens = np.zeros(size, np.int64), np.zeros(size, np.int64)
    windows = sorted(windows, key=lambda window: len(window.inputs))
    for start in progress(range(0, len(windows), batch_size), "perplexity", "batches"):
        batch = windows[start : start + batch_size]
        for window, losses in zip(batch, token_losses(model, batch).double().cpu(), strict=True):
            place, length = window.row, len(window.targets)
            loss[place] += float(losses[:length].sum())
            response_loss[place] += float(losses[window.num_prompt : length].sum())
            num_tokens[place] += length
            response_tokens[place] += length - window.num_prompt
    return RowLosses(
        loss, num_tokens, np.array(num_bytes, np.int64), response_loss, response_tokens
    )
