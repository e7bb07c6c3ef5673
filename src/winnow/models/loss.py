"""The loss of a GPT-2 without its logits: a few rows of them at a time, with their gradient.

At GPT-2's vocabulary the logits of 8 sequences of 1024 tokens, with what a loss makes of them, are
several GB. The gradient of a sum of losses is known as soon as the logits are: both are computed
together and the logits forgotten, which costs no product more than keeping them.
"""

from typing import Any

import torch
from torch.nn import functional

from winnow.models import attention
from winnow.models.sequences import IGNORED

LOGITS, LOGITS_CPU = 2**27, 2**18
"""Logits at a time: 0.5 GB in fp32, which fills a GPU, and 1 MB, which a core's cache holds."""
ROWS = 128
"""But so many rows of them at least: all of the head's weights are read for each part."""


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
        slope = torch.empty_like(hidden)
        # Beside an adapter the output head is frozen.
        weight_slope = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        with torch.autocast(hidden.device.type, enabled=False):
            for part in _parts(hidden, weight):
                rows, wanted = hidden[part].to(kind), labels[part]
                logs = _log_probs(rows, cast)
                total += functional.nll_loss(logs, wanted, reduction="sum")
                if not train:
                    continue
                logits_slope = _less_one(logs.exp_(), wanted).to(kind)
                slope[part] = logits_slope @ cast
                if weight_slope is not None:
                    weight_slope += logits_slope.T @ rows
        if train:
            ctx.save_for_backward(slope, weight_slope)
        return total

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[Any, ...]:
        slope, weight_slope = ctx.saved_tensors
        return slope * scale, None if weight_slope is None else weight_slope * scale, None, None


class _TokenLosses(torch.autograd.Function):
    """Cross-entropy of hidden @ weight.T against each label, in nats.

    What each weighs in a sum is not known before they are: the logits are computed a second time
    for the gradient, which costs one product of five more.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        ctx.kind = hidden.dtype
        if torch.is_autocast_enabled(hidden.device.type):
            ctx.kind = torch.get_autocast_dtype(hidden.device.type)
        ctx.save_for_backward(hidden, weight, labels)
        losses = torch.empty(len(hidden), device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            cast = weight.to(ctx.kind)
            for part in _parts(hidden, weight):
                logs = _log_probs(hidden[part].to(ctx.kind), cast)
                losses[part] = functional.nll_loss(logs, labels[part], reduction="none")
        return losses

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[Any, ...]:
        hidden, weight, labels = ctx.saved_tensors
        cast, slope = weight.to(ctx.kind), torch.empty_like(hidden)
        weight_slope = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for part in _parts(hidden, weight):
            rows = hidden[part].to(ctx.kind)
            logits_slope = _less_one(_log_probs(rows, cast).exp_(), labels[part])
            logits_slope = logits_slope.mul_(scale[part][:, None]).to(ctx.kind)
            slope[part] = logits_slope @ cast
            if weight_slope is not None:
                weight_slope += logits_slope.T @ rows
        return slope, weight_slope, None


def _parts(hidden: torch.Tensor, weight: torch.Tensor) -> list[slice]:
    """The rows whose logits are there at a time."""
    logits = LOGITS_CPU if hidden.device.type == "cpu" else LOGITS
    size = max(ROWS, logits // len(weight))
    return [slice(start, start + size) for start in range(0, len(hidden), size)]


def _log_probs(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.log_softmax(functional.linear(rows, weight).float(), -1)


def _less_one(chances: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The gradient of losses by logits: chances, in place, less 1 at each label."""
    return chances.scatter_add_(1, labels[:, None], -torch.ones_like(chances[:, :1]))


def has_plain_head(model: Any) -> bool:
    """Whether a model's logits are the product of its last hidden states and one matrix."""
    head = model.get_output_embeddings()
    return type(head) is torch.nn.Linear and head.bias is None


class WithLoss(torch.nn.Module):
    """A causal language model whose output is its loss, so that what wraps it (DDP, FSDP) sees all
    of the step."""

    def __init__(
        self,
        model: Any,
        *,
        packs: bool = True,
        plain_head: bool | None = None,
        by_document: bool = False,
    ) -> None:
        """Wrap a model.

        Args:
            model: a PreTrainedModel with an output head.
            packs: whether positions that start again keep documents apart; else none are given.
            plain_head: see `has_plain_head`, which answers where this is None.
            by_document: whether packed documents go through attention without a mask where the
                device can (`attention.runs`); only for a model that `attention.fits`.
        """
        super().__init__()
        self.model, self.packs, self.by_document = model, packs, packs and by_document
        if self.by_document:
            model.set_attn_implementation(attention.NAME)
        self.plain_head = has_plain_head(model) if plain_head is None else plain_head
        # By these FSDP cuts a model into parts.
        self._no_split_modules = model._no_split_modules

    def forward(
        self, inputs: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Summed next-token loss in nats of (sequences, length); the labels are already shifted."""
        if not self.plain_head:
            return summed(self._outputs(inputs, positions), labels)
        outputs, wanted = self._targets(inputs, positions, labels)
        loss: torch.Tensor = _SummedLoss.apply(  # type: ignore[no-untyped-call]
            outputs, self.model.get_output_embeddings().weight, wanted, torch.is_grad_enabled()
        )
        return loss

    def _targets(
        self, inputs: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The outputs whose labels count, and these: no logits of questions and padding, which are
        most of some batches."""
        flat = labels.flatten()
        is_target = flat != IGNORED
        return self._outputs(inputs, positions).flatten(0, 1)[is_target], flat[is_target]

    def _outputs(self, inputs: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """The last hidden states of a model with a plain head, the logits of another one."""
        # Without a mask or a cache, positions that start again keep documents apart.
        given = {"input_ids": inputs, "use_cache": False}
        given |= {"position_ids": positions} if self.packs else {}
        if self.by_document and attention.runs(inputs.device):
            given["attention_mask"] = attention.borders(positions)
        outputs: torch.Tensor = (
            self.model.base_model(**given).last_hidden_state
            if self.plain_head
            else self.model(**given).logits
        )
        return outputs


class WithTokenLosses(WithLoss):
    """A causal language model whose output is the loss of each token, in nats, 0 where the label is
    IGNORED: (sequences, length)."""

    def forward(
        self, inputs: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Next-token losses in nats of (sequences, length); the labels are already shifted."""
        outputs, wanted = self._targets(inputs, positions, labels)
        found: torch.Tensor
        if self.plain_head:
            found = _TokenLosses.apply(  # type: ignore[no-untyped-call]
                outputs, self.model.get_output_embeddings().weight, wanted
            )
        else:
            found = functional.cross_entropy(outputs.float(), wanted, reduction="none")
        losses = found.new_zeros(labels.shape)
        return losses.masked_scatter(labels != IGNORED, found)


def summed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits (sequences, length, vocabulary), summed, some rows of them at a time
    in fp32."""
    size = max(1, LOGITS_CPU // logits.shape[-1])
    parts = zip(
        torch.split(logits.flatten(0, 1), size), torch.split(labels.flatten(), size), strict=True
    )
    losses = [
        functional.cross_entropy(part.float(), wanted, ignore_index=IGNORED, reduction="sum")
        for part, wanted in parts
    ]
    return torch.stack(losses).sum()
