"""Any causal language model of transformers, with its weights, tokenizer and chat template."""

import inspect
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM
from transformers.integrations import sdpa_attention

from winnow.core.objectives import Objective
from winnow.models import attention
from winnow.models.loaded import Loaded
from winnow.models.loss import WithLoss, WithTokenLosses, has_plain_head
from winnow.models.sequences import Document
from winnow.models.tokenizer import Tokens

PROBE = [9, 6, 12]
"""Tokens of the documents by which a model shows whether it keeps them apart."""
POSITIONS = torch.cat([torch.arange(size) for size in PROBE])[None]
NOISE = 1e-3
"""Of the largest logit: what rounding may move one by."""

_may_share = sdpa_attention.use_gqa_in_sdpa


def _share(mask: torch.Tensor | None, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether heads of one key go into attention together, or each with a copy of it.

    transformers copies where there is a mask, as CUDA's fast kernels know no groups with one. The
    CPU's does, gives the same bits, and takes a fifth of the time for a token behind 500 others.
    """
    return (key.device.type == "cpu" and not key.requires_grad) or _may_share(mask, key, value)


sdpa_attention.use_gqa_in_sdpa = _share


class Causal(Loaded):
    """A decoder such as Llama, Qwen or SmolLM; see Family."""

    auto = AutoModelForCausalLM

    @cached_property
    def packs(self) -> bool:
        """Whether documents that share a sequence cannot see each other.

        Not every architecture takes positions that start again for a border. Measured on a few
        tokens: their logits together and apart.
        """
        if "position_ids" not in inspect.signature(self.network.forward).parameters:
            return False
        apart = [self._logits(one) for one in torch.split(self._probe, PROBE, dim=1)]
        return _equal(self._packed(), torch.cat(apart, 1))

    @cached_property
    def by_document(self) -> bool:
        """Whether packed documents can go through attention without a mask: by the configuration,
        which alone says of windows longer than a few tokens, and measured in the same way."""
        network = self.network
        if not (self.packs and attention.fits(network)):
            return False
        masked, usual = self._packed(), network.config._attn_implementation
        network.set_attn_implementation(attention.NAME)
        try:
            return _equal(self._packed(attention_mask=attention.borders(POSITIONS)), masked)
        except (RuntimeError, ValueError):
            return False  # it asks for more, or takes no attention but its own
        finally:
            network.set_attn_implementation(usual)

    @cached_property
    def plain_head(self) -> bool:
        """Whether logits are a plain product, with no scale or cap; measured in the same way."""
        network = self.network.eval()
        if not has_plain_head(network):
            return False
        with torch.no_grad():
            hidden = network.base_model(input_ids=self._probe, use_cache=False)[0]
            product = network.get_output_embeddings()(hidden)
        return _equal(product, self._logits(self._probe))

    @cached_property
    def _probe(self) -> torch.Tensor:
        rng = np.random.default_rng(0)
        return torch.from_numpy(rng.integers(0, self.vocabulary.size, (1, sum(PROBE))))

    def _packed(self, **given: torch.Tensor) -> torch.Tensor:
        return self._logits(self._probe, position_ids=POSITIONS, **given)

    @torch.no_grad()
    def _logits(self, ids: torch.Tensor, **given: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network.eval()(input_ids=ids, use_cache=False, **given).logits
        return logits

    def documents(self, rows: pa.Table, objective: Objective) -> list[Document]:
        """Each row in the chat template's frame, the response with its end as targets or all."""
        before, between, behind = (np.array(part, np.int32) for part in self.frame)
        found = []
        for question, response in zip(*self.encoded(rows), strict=True):
            ids = np.concatenate([before, question, between, response, behind])
            first = len(before) + len(question) + len(between)
            found.append(Document.of(ids, first) if objective == "response" else Document(ids, ids))
        return found

    def next_turn(self, closing: Tokens, asked: Tokens) -> Tokens:
        """In the chat template's words where it has several turns; see Family."""
        if self.again is None:
            return super().next_turn(closing, asked)
        return np.array([*self.again, *asked[len(self.frame[0]) :]], np.int32)

    def with_loss(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network as a module whose output is the summed loss."""
        return WithLoss(network, plain_head=self.plain_head, **self.kept_apart)

    def with_token_losses(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network as a module whose output is the loss of each token."""
        return WithTokenLosses(network, plain_head=self.plain_head, **self.kept_apart)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return float((one - other).abs().max()) <= NOISE * float(other.abs().max())
