"""A model with weights and a tokenizer of somebody else's, read as its folder declares it."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

from winnow.core.errors import Refusal, loading
from winnow.core.experiments import Pretrained
from winnow.core.records import questions
from winnow.models import lora, pretrained
from winnow.models.family import Family, Shape
from winnow.models.tokenizer import Tokens, Vocabulary, encoder

logging.disable_progress_bar()

QUESTION, RESPONSE = "\ue000question\ue000", "\ue000response\ue000"
"""What stands in a rendered chat for the contents of a row."""
PLAIN = ("### Instruction:\n", "\n\n### Response:\n", "")
"""The project's form, for a model without a chat template; see `Row.prompt`."""
TODAY = datetime(2026, 1, 1)
"""For templates that name the date: the same rows give the same tokens on any day."""


class Loaded(Family):
    """A family whose members come with weights; the classes of transformers differ."""

    spec: Pretrained
    auto: Any
    """The class of transformers that loads the network."""

    def __init__(self, spec: Pretrained, tokenizer: Path, base: str) -> None:
        """Read the tokenizer and the configuration; see Family.

        Raises:
            Refusal: one of them cannot be read, or has no end-of-text token.
        """
        self.spec, self.tokenizer, self.base = spec, tokenizer, base
        with loading(f"the tokenizer in {tokenizer} cannot be read"):
            fast = AutoTokenizer.from_pretrained(
                tokenizer, trust_remote_code=False, local_files_only=True
            )
        if not isinstance(fast, PreTrainedTokenizerFast) or fast.eos_token_id is None:
            raise Refusal(f"the tokenizer in {tokenizer} is not a fast one with an end-of-text")
        self.frame = [self._ids(fast, text) for text in _frame(fast)]
        """Token ids before the question, between it and the response, and behind the response."""
        again = _again(fast)
        self.again = None if again is None else self._ids(fast, again)
        """Token ids between a response and the next question; None of no chat template, or of one
        for a single turn."""
        engine = fast.backend_tokenizer
        # Text that spells a special token stays text.
        engine.encode_special_tokens = True
        self.vocabulary = Vocabulary(engine, len(fast), int(fast.eos_token_id), encoder(engine))
        begin = fast.bos_token_id
        self.begin = self.vocabulary.end_of_text if begin is None else int(begin)
        self._close()

    @staticmethod
    def _ids(fast: PreTrainedTokenizerFast, text: str) -> list[int]:
        return list(fast.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    def _close(self) -> None:
        """Let a document begin behind `begin`, and end with its end-of-text."""
        before, _, behind = self.frame
        end = self.vocabulary.end_of_text
        if before[:1] == [self.begin]:
            del before[0]
        behind[:] = [*behind[: behind.index(end)], end] if end in behind else [*behind, end]

    @classmethod
    def shape(cls, spec: Pretrained, vocab_size: int) -> Shape:
        """What the cost follows from; no weight is read. Of an encoder-decoder a position of the
        source and one of the target go through a part of the parameters each, and count as one."""
        config = configuration(pretrained.located(spec.weights))
        with loading(f"{spec.weights} declares no {spec.family} model"), torch.device("meta"):
            network = cls.auto.from_config(config, trust_remote_code=False)
        parameters = sum(p.numel() for p in network.parameters())
        if spec.adapter:
            lora.add(network, spec.adapter, spec.weights, cls.task)
        text = config.get_text_config()
        return Shape(
            num_parameters=parameters,
            num_trained=sum(p.numel() for p in network.parameters() if p.requires_grad),
            num_layers=text.num_hidden_layers,
            hidden_size=text.hidden_size,
            num_heads=text.num_attention_heads,
            context=spec.context,
            vocab_size=len(network.get_output_embeddings().weight),
            whole_logits=spec.family == "seq2seq",
            inner=_inner(network, text),
            dropout=0.0,
        )

    def identity(self) -> str:
        """The hub id and commit, or the hash of the folder's files."""
        return pretrained.identity(self.base)

    def check(self) -> None:
        """Refuse weights of another kind than this family's, or a context beyond theirs."""
        config = configuration(pretrained.located(self.base))
        room = getattr(config.get_text_config(), "max_position_embeddings", None)
        if room is not None and room < self.spec.context:
            raise Refusal(
                f"params.yaml: train.models: context: {self.base} has {room} positions, found "
                f"{self.spec.context}"
            )

    def start(self) -> Any:
        """The weights of the folder or hub id that params.yaml names, in fp32."""
        return self.published(pretrained.located(self.base))

    def published(self, folder: Path) -> Any:
        """The weights of a folder, in fp32.

        Raises:
            Refusal: they cannot be loaded, some are missing or not finite, or the tokenizer has
                more words than the model.
        """
        configuration(folder)
        with loading(f"{folder} cannot be loaded"):
            network, info = self.auto.from_pretrained(
                folder,
                dtype=torch.float32,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        if missing := sorted(info["missing_keys"]):
            raise Refusal(f"{folder} has no weights for {missing[0]}")
        for name, tensor in network.named_parameters():
            if not torch.stack(tensor.detach().aminmax()).isfinite().all():
                raise Refusal(f"{folder}: {name} holds numbers that are not finite")
        rows = len(network.get_input_embeddings().weight)
        if rows < self.vocabulary.size:
            raise Refusal(f"{folder} knows {rows} tokens, its tokenizer {self.vocabulary.size}")
        return network

    def encoded(self, rows: pa.Table) -> tuple[list[Tokens], list[Tokens]]:
        """The ids of each row's question and of its response, without their frame."""
        batch = rows.combine_chunks().to_batches()[0] if len(rows) else rows
        texts = (questions(batch), batch["response"].cast(pa.large_string()))
        asked, answered = ([ids[:-1] for ids in self.vocabulary.encode(text)] for text in texts)
        return asked, answered


def _inner(network: torch.nn.Module, text: Any) -> float:
    """Outputs of the matrices as wide as the feed-forward part, or twice that where one
    holds the gate too; GPT-2's where the configuration names no such width."""
    width = getattr(text, "intermediate_size", None) or getattr(text, "d_ff", None)
    outputs = [m.out_features for m in network.modules() if isinstance(m, torch.nn.Linear)]
    found = sum(size for size in outputs if width and size in (width, 2 * width))
    return found / (text.num_hidden_layers * text.hidden_size) or 4.0


def _rendered(fast: PreTrainedTokenizerFast, number: int) -> str:
    """So many contents in the chat template, a user's and the model's in turn.

    Raises:
        Refusal: it cannot be rendered.
    """
    said = {"role": "user", "content": QUESTION}, {"role": "assistant", "content": RESPONSE}
    chat, is_asked = [said[at % 2] for at in range(number)], number % 2 == 1
    settings: Any = {"tokenize": False, "strftime_now": TODAY.strftime, "date_string": "1 Jan 2026"}
    with loading(f"the chat template in {fast.name_or_path} cannot be rendered"):
        text: str = fast.apply_chat_template(chat, add_generation_prompt=is_asked, **settings)
    return text


def _frame(fast: PreTrainedTokenizerFast) -> tuple[str, str, str]:
    """The text before a question, between it and its response, and behind the response: of the
    chat template if there is one, which is rendered once and not for each row.

    Raises:
        Refusal: the template cannot be rendered, or does not hold what is said.
    """
    if not fast.chat_template:
        return PLAIN
    before, asked, between = _rendered(fast, 1).partition(QUESTION)
    _, answered, behind = _rendered(fast, 2).partition(RESPONSE)
    if not (asked and answered):
        raise Refusal(f"the chat template in {fast.name_or_path} leaves out what is said")
    return before, between, behind


def _again(fast: PreTrainedTokenizerFast) -> str | None:
    """The text between a response and the next question, where the chat template has one."""
    if not fast.chat_template:
        return None
    try:
        text = _rendered(fast, 3)
    except Refusal:
        return None
    again, asked, _ = text.partition(RESPONSE)[2].partition(QUESTION)
    return again if asked else None


def configuration(folder: Path) -> Any:
    """The model that a folder declares.

    Raises:
        Refusal: transformers does not know it, or it is an adapter or quantized.
    """
    if (folder / lora.CONFIG).exists():
        raise Refusal(f"{folder} holds an adapter: name the weights that it is trained beside")
    declared = pretrained.read_json(folder / "config.json")
    if declared.get("quantization_config"):
        raise Refusal(f"{folder} is quantized: name its weights in bf16 or fp32")
    with loading(f"{folder / 'config.json'} declares no model that transformers knows"):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
