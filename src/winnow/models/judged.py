"""A trained model as an evaluation uses it: losses of rows, completions of questions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from winnow.core.records import Row
from winnow.models import row_losses, sampling
from winnow.models.row_losses import RowLosses, Window
from winnow.models.sampling import Sampling
from winnow.models.tokenizer import Tokens, Vocabulary


class Judged:
    """A GPT-2 in evaluation mode and fp32, with its tokenizer."""

    def __init__(self, model: Any, vocabulary: Vocabulary, context: int) -> None:
        self.model, self.vocabulary, self.context = model, vocabulary, context

    @classmethod
    def load(cls, folder: Path, context: int) -> "Judged":
        """Read what a training published."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = GPT2LMHeadModel.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True
        )
        return cls(model.eval().to(device), Vocabulary.read(folder), context)

    def row_losses(self, rows: Sequence[Row], batch_size: int) -> RowLosses:
        """Summed losses of each row. It stands behind an end-of-text, as in training, and ends
        with one."""
        encodings = self.vocabulary.encodings([row.text for row in rows])
        end = self.vocabulary.end_of_text
        windows: list[Window] = []
        for place, (row, encoding) in enumerate(zip(rows, encodings, strict=True)):
            border = len(row.prompt)
            num_prompt = sum(start < border for start, _ in encoding.offsets)
            stream = [end, *encoding.ids, end]
            windows += row_losses.windows(place, stream, num_prompt, self.context)
        num_bytes = [len(row.text.encode()) for row in rows]
        return row_losses.row_losses(self.model, windows, num_bytes, row_losses.causal, batch_size)

    def targets(self, texts: pa.Array) -> Tokens:
        """All tokens that a loss counts, one row's behind another's."""
        return np.concatenate(self.vocabulary.encode(texts))

    def prompt_ids(self, questions: Sequence[str]) -> list[list[int]]:
        """What the model reads before it answers each question."""
        prompts = [Row("", "", question, "", "").prompt for question in questions]
        end = self.vocabulary.end_of_text
        return [[end, *encoding.ids] for encoding in self.vocabulary.encodings(prompts)]

    def complete(self, prompts: list[list[int]], settings: Sampling) -> list[list[str]]:
        """Completions of prompts of `prompt_ids`, in their order."""
        end = self.vocabulary.end_of_text
        layers = self.model.config.n_layer
        decoder = sampling.CausalDecoder(
            self.model, self.context, end, lambda size: sampling.reserved(layers, size)
        )
        samples = sampling.complete(decoder, prompts, [end], self.vocabulary.size, settings)
        decode = self.vocabulary.tokenizer.decode_batch
        return [decode(ids.tolist(), skip_special_tokens=True) for ids in samples]

    def hf_tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer as transformers has it; text that spells a special token stays text."""
        return PreTrainedTokenizerFast(
            tokenizer_object=self.vocabulary.tokenizer,
            eos_token=self.vocabulary.tokenizer.id_to_token(self.vocabulary.end_of_text),
            split_special_tokens=True,
        )
