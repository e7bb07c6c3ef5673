"""Any encoder-decoder of transformers such as T5 (Raffel et al. 2020), with its weights and
tokenizer: the question is the source, the response the target."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForSeq2SeqLM

from winnow.core.errors import Refusal
from winnow.core.objectives import Objective
from winnow.models.loaded import Loaded
from winnow.models.loss import summed
from winnow.models.sequences import IGNORED, Document, Documents, Sequences, Units
from winnow.models.tokenizer import Tokens


class Seq2Seq(Loaded):
    """An encoder that reads the question and a decoder that answers; see Family."""

    auto = AutoModelForSeq2SeqLM
    task = "SEQ_2_SEQ_LM"

    def documents(self, rows: pa.Table, objective: Objective) -> list[Document]:
        """Each row's question as ids and its response as labels, both with their end."""
        end = np.array([self.vocabulary.end_of_text], np.int32)
        return [
            Document(np.append(question, end), np.append(response, end))
            for question, response in zip(*self.encoded(rows), strict=True)
        ]

    def next_turn(self, closing: Tokens, asked: Tokens) -> Tokens:
        """Refuse: an encoder was trained on one question; see Family."""
        raise Refusal(
            f"params.yaml: evaluate.conversations: {self.base} is an encoder-decoder, which reads "
            "one question: leave them out, or take the model out of experiments"
        )

    def sequences(
        self, documents: Documents | list[Document], packing: bool, in_order: bool = False
    ) -> Sequences:
        """A row a document, whatever the recipe says: an encoder sees all of its input. Source and
        target are cut at the context, and padded to the longest."""
        sources, targets = zip(*documents, strict=True)
        inputs, labels = self._padded(sources, 0), self._padded(targets, IGNORED)
        lengths = np.array([len(source) for source in sources])[:, None]
        places = np.arange(inputs.shape[1], dtype=np.int32)
        return Sequences(inputs, labels, np.where(places < lengths, places, np.int32(-1)))

    def _padded(self, documents: tuple[Tokens, ...], value: int) -> Tokens:
        width = min(self.spec.context, max(map(len, documents)))
        rows = np.full((len(documents), width), value, np.int32)
        for row, ids in zip(rows, documents, strict=True):
            row[: len(ids)] = ids[:width]
        return rows

    def num_cut(self, documents: Documents | list[Document], made: Units) -> int:
        """Tokens of sources and targets that are beyond the context."""
        tokens = sum(len(document.ids) + document.num_targets for document in documents)
        return tokens - made.num_targets - int((made[:].positions >= 0).sum())

    def with_loss(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network as a module whose output is the summed loss."""
        return WithLoss(network)


class WithLoss(torch.nn.Module):
    """An encoder-decoder whose output is its loss, so that DDP or FSDP sees all of the step."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.first = model.config.decoder_start_token_id
        if self.first is None:
            raise Refusal(f"{model.name_or_path} declares no decoder_start_token_id")
        # By these FSDP cuts a model into parts.
        self._no_split_modules = model._no_split_modules

    def forward(
        self, inputs: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Summed loss in nats of labels (sequences, target length), given inputs (sequences,
        source length); padding has the position -1, and the label IGNORED."""
        start = torch.full_like(labels[:, :1], self.first)
        # What stands behind a target is seen by no token of it.
        decoded = torch.cat([start, labels[:, :-1].clamp(min=0)], dim=1)
        logits = self.model(
            input_ids=inputs,
            attention_mask=(positions >= 0).long(),
            decoder_input_ids=decoded,
            use_cache=False,
        ).logits
        return summed(logits, labels)
