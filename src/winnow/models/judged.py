"""A trained model as an evaluation uses it: losses of rows, completions of questions."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from transformers import PreTrainedTokenizerFast

from winnow.core import cards
from winnow.core.experiments import Pretrained
from winnow.core.records import ROW_SCHEMA, texts
from winnow.models import cost, loaded, pretrained, row_losses, sampling
from winnow.models import family as families
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
        self.family = family

    token_losses = staticmethod(row_losses.causal)
    """How the losses of windows are computed."""

    def parts(self, rows: pa.Table) -> list[Parts]:
        """Rows (ROW_SCHEMA) in the form that the model was trained on."""
        documents = self.family.documents(rows, "response")
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

    def response_windows(self, rows: pa.Table, is_alone: bool = False) -> list[Window]:
        """Each row's response without its end, behind its question or by itself.

        A row is read as far as the context goes, in both cases to the same token; one whose
        question fills the context has no window.

        Args:
            rows: ROW_SCHEMA.
            is_alone: whether the model is not shown the question, nor any frame around it.
        """
        found = []
        for place, (prompt, answer) in enumerate(self.parts(rows)):
            before = prompt.tolist()
            read = answer[: len(answer) - self._num_closing][: max(0, self.context - len(before))]
            shown = [] if is_alone else before
            stream = [self.begin, *shown, *read.tolist()]
            if len(read):
                found.append(Window(place, stream[:-1], stream[1:], len(shown)))
        return found

    @cached_property
    def _num_closing(self) -> int:
        """Tokens behind a response, which are the frame's and not its own."""
        ((_, answer),) = self.parts(_unanswered([""]))
        return len(answer)

    def window_losses(self, windows: list[Window], num_rows: int, batch_size: int) -> RowLosses:
        """Summed losses of the rows that windows are of."""
        none = [0] * num_rows
        return row_losses.row_losses(self.network, windows, none, self.token_losses, batch_size)

    def flops(self, windows: Iterable[Window]) -> float:
        """Floating-point operations to read windows once, without padding."""
        sizes = (len(window.inputs) + self.num_decoded(window) for window in windows)
        return cost.forward_flops(self._shape, sizes)

    @cached_property
    def _shape(self) -> families.Shape:
        return families.shape(self.family.spec, self.vocabulary.size)

    @staticmethod
    def num_decoded(window: Window) -> int:
        """Positions of a window beside its inputs."""
        return 0

    def prompt_ids(self, questions: Sequence[str]) -> list[list[int]]:
        """What the model reads before it answers each question."""
        prompts = [prompt.tolist() for prompt, _ in self.parts(_unanswered(questions))]
        return [[self.begin, *prompt] for prompt in prompts]

    def next_turn_ids(self, read: list[int], answer: str, question: str) -> list[int]:
        """What the model reads before it answers the next question of a conversation.

        Args:
            read: what it read before it gave the last answer.
            answer: the last one.
            question: the next one.

        Raises:
            Refusal: it reads one question alone.
        """
        ((asked, closing),) = self.parts(_unanswered([question]))
        (said,) = self.vocabulary.encodings([answer])
        return [*read, *said.ids, *self.family.next_turn(closing, asked).tolist()]

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

    token_losses = staticmethod(row_losses.seq2seq)

    def response_windows(self, rows: pa.Table, is_alone: bool = False) -> list[Window]:
        """Each row's response without its end; alone, it is the answer to an empty question."""
        ((nothing, closing),) = self.parts(_unanswered([""]))
        found = []
        for place, (prompt, answer) in enumerate(self.parts(rows)):
            read = answer[: len(answer) - len(closing)][: self.context].tolist()
            if read:
                shown = (nothing if is_alone else prompt).tolist()
                found.append(Window(place, shown, read, 0))
        return found

    @staticmethod
    def num_decoded(window: Window) -> int:
        """Positions that the decoder reads."""
        return len(window.targets)

    def parts(self, rows: pa.Table) -> list[Parts]:
        """Questions and responses of rows (ROW_SCHEMA), with their ends; a question is cut at the
        context, as in training."""
        documents = self.family.documents(rows, "seq2seq")
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


def find(weights: str, family: Literal["causal", "seq2seq"], context: int) -> Judged:
    """A model that winnow trained, or somebody else's, on a GPU where there is one.

    Args:
        weights: a folder models/<experiment>/<seed> that a training published, a folder in Hugging
            Face's format, or org/name@<40 hex digits> of the hub.
        family: of somebody else's.
        context: tokens that somebody else's reads at once, at most; no more than its positions.

    Raises:
        Refusal: it cannot be had, is not to be trusted, or is not what its card says.
    """
    if (Path(weights) / "experiment_config.json").is_file():
        cards.read_card(Path(weights), "winnow train")
        return load(Path(weights))
    folder = pretrained.located(weights)
    config = loaded.configuration(folder).get_text_config()
    room = getattr(config, "max_position_embeddings", None) or context
    spec = Pretrained(family=family, weights=weights, context=min(context, room))
    found = families.of_weights(spec)
    found.network = found.start()
    found.network.eval()
    return _on_device(found)


def load(folder: Path) -> Judged:
    """What a training published, on a GPU where there is one.

    Args:
        folder: models/<experiment>/<seed>; the caller checks it against its card.

    Raises:
        Refusal: it is an adapter, and the weights beside it are not there or others.
    """
    return _on_device(families.load(folder))


def _on_device(family: Family) -> Judged:
    family.network.to("cuda" if torch.cuda.is_available() else "cpu")
    return (JudgedSeq2Seq if family.spec.family == "seq2seq" else Judged)(family)
