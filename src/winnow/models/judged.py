"""A trained model as an evaluation uses it: losses of rows, completions of questions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from transformers import PreTrainedTokenizerFast

from winnow.core.records import ROW_SCHEMA, texts
from winnow.models import family as families
from winnow.models import row_losses, sampling
from winnow.models.family import Family
from winnow.models.row_losses import RowLosses, Window
from winnow.models.sampling import Decoder, Sampling
from winnow.models.tokenizer import Tokens

Parts = tuple[Tokens, Tokens]
"""The tokens of a row up to its response, and those of the response with its end."""


class Judged:
    """A decoder-only model in evaluation mode and fp32, with its tokenizer and form of a row."""

    def __init__(self, family: Family) -> None:
        self.network, self.vocabulary = family.network, family.vocabulary
        self.context: int = family.spec.context
        """Positions, as params.yaml declares them."""
        self.begin = family.begin
        self._family = family

    def parts(self, rows: pa.Table) -> list[Parts]:
        """Rows (ROW_SCHEMA) in the form that the model was trained on."""
        documents = self._family.documents(rows, "response")
        borders = (len(document.ids) - document.num_targets for document in documents)
        return [
            (document.ids[:border], document.ids[border:])
            for document, border in zip(documents, borders, strict=True)
        ]

    def targets(self, rows: pa.Table) -> Tokens:
        """All tokens that a row's loss counts, one row's behind another's."""
        return np.concatenate([ids for parts in self.parts(rows) for ids in parts])

    def num_bytes(self, rows: pa.Table) -> list[int]:
        """Bytes of each row's text, in UTF-8: of the project's form, so that models compare."""
        sizes: list[int] = pc.binary_length(texts(rows)).to_pylist()
        return sizes

    def row_losses(self, rows: pa.Table, batch_size: int) -> RowLosses:
        """Summed losses of each row, whatever the batch size.

        A row stands behind the token that documents begin with, as in training, and ends with the
        end-of-text. Past the context a new window starts with the last token.

        Args:
            rows: the test set.
            batch_size: windows a forward pass.
        """
        windows: list[Window] = []
        for place, (prompt, answer) in enumerate(self.parts(rows)):
            stream = [self.begin, *prompt.tolist(), *answer.tolist()]
            windows += row_losses.windows(place, stream, len(prompt), self.context)
        sizes = self.num_bytes(rows)
        return row_losses.row_losses(self.network, windows, sizes, row_losses.causal, batch_size)

    def prompt_ids(self, questions: Sequence[str]) -> list[list[int]]:
        """What the model reads before it answers each question."""
        prompts = [prompt.tolist() for prompt, _ in self.parts(_unanswered(questions))]
        return [[self.begin, *prompt] for prompt in prompts]

    def decoder(self) -> Decoder:
        """The model as completions are sampled from it."""
        return sampling.CausalDecoder(self.network, self.context, self.vocabulary.end_of_text)

    def complete(self, prompts: list[list[int]], settings: Sampling) -> list[list[str]]:
        """Completions of prompts of `prompt_ids`, in their order."""
        end = self.vocabulary.end_of_text
        samples = sampling.complete(self.decoder(), prompts, end, self.vocabulary.size, settings)
        decode = self.vocabulary.tokenizer.decode_batch
        return [decode(ids.tolist(), skip_special_tokens=True) for ids in samples]

    def hf_tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer as transformers has it; text that spells a special token stays text."""
        spelled = self.vocabulary.tokenizer.id_to_token
        return PreTrainedTokenizerFast(
            tokenizer_object=self.vocabulary.tokenizer,
            eos_token=spelled(self.vocabulary.end_of_text),
            bos_token=spelled(self.begin),
            split_special_tokens=True,
        )


class JudgedSeq2Seq(Judged):
    """An encoder-decoder: the encoder reads the question, and the response alone is judged."""

    def parts(self, rows: pa.Table) -> list[Parts]:
        """Questions and responses of rows (ROW_SCHEMA), with their ends; a question is cut at the
        context, as in training."""
        documents = self._family.documents(rows, "seq2seq")
        return [(document.ids[: self.context], document.labels) for document in documents]

    def targets(self, rows: pa.Table) -> Tokens:
        """The tokens of all responses with their ends."""
        return np.concatenate([answer for _, answer in self.parts(rows)])

    def num_bytes(self, rows: pa.Table) -> list[int]:
        """Bytes of each response, in UTF-8."""
        sizes: list[int] = pc.binary_length(rows["response"]).to_pylist()
        return sizes

    def row_losses(self, rows: pa.Table, batch_size: int) -> RowLosses:
        """Summed losses of each row's response; see Judged."""
        windows = [
            Window(place, prompt.tolist(), answer.tolist(), 0)
            for place, (prompt, answer) in enumerate(self.parts(rows))
        ]
        sizes = self.num_bytes(rows)
        return row_losses.row_losses(self.network, windows, sizes, row_losses.seq2seq, batch_size)

    def prompt_ids(self, questions: Sequence[str]) -> list[list[int]]:
        """What the encoder reads of each question."""
        return [prompt.tolist() for prompt, _ in self.parts(_unanswered(questions))]

    def decoder(self) -> Decoder:
        """The model as completions are sampled from it."""
        return sampling.EncoderDecoder(self.network, self.vocabulary.end_of_text)


def _unanswered(questions: Sequence[str]) -> pa.Table:
    """Questions as rows without a response."""
    empty = [""] * len(questions)
    columns = {name: empty for name in ROW_SCHEMA.names} | {"instruction": list(questions)}
    return pa.table(columns, ROW_SCHEMA)


def load(folder: Path) -> Judged:
    """What a training published, on a GPU where there is one.

    Args:
        folder: models/<experiment>/<seed>; the caller checks it against its card.

    Raises:
        Refusal: it is an adapter, and the weights beside it are not there or others.
    """
    family = families.load(folder)
    family.network.to("cuda" if torch.cuda.is_available() else "cpu")
    return (JudgedSeq2Seq if family.spec.family == "seq2seq" else Judged)(family)
