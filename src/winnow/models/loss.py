"""The loss of a GPT-2 without its logits: a few rows of them at a time, with their gradient.

At GPT-2's vocabulary the logits of 8 sequences of 1024 tokens, with what a loss makes of them, are
several GB. The gradient of a sum of losses is known as soon as the logits are: both are computed
together and the logits forgotten, which costs no product more than keeping them.
"""

from typing import Any

import torch
from torch.nn import functional

from winnow.models.sequences import IGNORED

LOGITS, LOGITS_CPU = 2**27, 2**18
"""Logits at a time: 0.5 GB in fp32, which fills a GPU, and 1 MB, which a core's cache holds."""


class _SummedLoss(torch.autograd.Function):
    """Cross-entropy of hidden @ weight.T against the labels, summed, in nats."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, train: bool
    ) -> torch.Tensor:
        kind = hidden.dtype
        if torch.is_autocast_enabled(hidden.device.type):
            kind = torch.get_autocast_dtype(hidden.device.type)
        cast, total = weight.to(kind), torch.zeros((), device=hidden.device)
        slope, weight_slope = torch.empty_like(hidden), torch.zeros_like(weight)
        logits = LOGITS_CPU if hidden.device.type == "cpu" else LOGITS
        size = max(1, logits // len(weight))
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), size):
                rows, wanted = hidden[start : start + size].to(kind), labels[start : start + size]
                logs = functional.log_softmax(functional.linear(rows, cast).float(), -1)
                total += functional.nll_loss(logs, wanted, ignore_index=IGNORED, reduction="sum")
                if not train:
                    continue
                is_target = (wanted != IGNORED)[:, None]
                at = wanted.clamp(min=0)[:, None]
                logits_slope = logs.exp_().scatter_add_(1, at, -torch.ones_like(logs[:, :1]))
                logits_slope = logits_slope.mul_(is_target).to(kind)
                slope[start : start + size] = logits_slope @ cast
                weight_slope += logits_slope.T @ rows
        if train:
            ctx.save_for_backward(slope, weight_slope)
        return total

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[Any, ...]:
        slope, weight_slope = ctx.saved_tensors
        return slope * scale, weight_slope * scale, None, None


class WithLoss(torch.nn.Module):
    """A causal language model whose output is its loss, so that what wraps it (DDP, FSDP) sees all
    of the step."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, inputs: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Summed next-token loss in nats of (sequences, length); the labels are already shifted."""
        # Without a mask or a cache, positions that start again keep documents apart.
        hidden = self.model.base_model(  # type: ignore[operator]
            input_ids=inputs, position_ids=positions, use_cache=False
        ).last_hidden_state
        weight = self.model.get_output_embeddings().weight  # type: ignore[operator]
        loss: torch.Tensor = _SummedLoss.apply(  # type: ignore[no-untyped-call]
            hidden.flatten(0, 1), weight, labels.flatten(), torch.is_grad_enabled()
        )
        return loss
