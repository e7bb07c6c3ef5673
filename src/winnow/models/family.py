"""What a family of models can do; `declare` and `load` alone choose one by its name.

A family is what trains, scores and completes one model that params.yaml declares. Only the modules
of families import transformers' models, and only once one of them is chosen.
"""

import abc
import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from winnow.core import files, params
from winnow.core.errors import Refusal, at
from winnow.core.experiments import Model, Pretrained
from winnow.core.objectives import Objective
from winnow.models import lora, pretrained, rewards
from winnow.models.loss import WithLoss, WithTokenLosses
from winnow.models.sequences import Document, Documents, Units, pack, pad
from winnow.models.tokenizer import Tokens, Vocabulary

BASE = "base.json"
"""Of a published adapter: the weights that it was trained beside, and their identity."""
TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab.*",
    "merges.txt",
    "*.model",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What the cost of a model follows from."""

    num_parameters: int
    num_trained: int
    """All parameters, or those of the adapter."""
    num_layers: int
    hidden_size: int
    num_heads: int
    context: int
    vocab_size: int
    """Rows of the output embeddings."""
    whole_logits: bool = False
    """Whether those of a batch are there at a time."""
    inner: float = 4.0
    """Numbers that enter a layer's feed-forward activation, in units of the width, those of a gate
    too: 4 of GPT-2, 5.3 of SmolLM2."""
    dropout: float
    """Of the attention."""


class Family(abc.ABC):
    """One declared model: its tokenizer at once, its weights after `build` or `read`."""

    network: Any
    """A PreTrainedModel of transformers; there after `build` or `read`."""
    vocabulary: Vocabulary
    begin: int
    """The token before a document, which is never a target."""

    task = "CAUSAL_LM"
    """peft's name for what the network does."""

    def __init__(self, spec: Model | Pretrained, tokenizer: Path, base: str) -> None:
        """Read the tokenizer; no weight is read yet.

        Args:
            spec: the model as params.yaml declares it.
            tokenizer: folder of the tokenizer, in Hugging Face's format.
            base: the weights to start from: a folder, a hub id with its commit, or scratch.
        """
        self.spec, self.tokenizer, self.base = spec, tokenizer, base
        self.vocabulary = Vocabulary.read(tokenizer)
        self.begin = self.vocabulary.end_of_text

    @classmethod
    @abc.abstractmethod
    def shape(cls, spec: Any, vocab_size: int) -> Shape:
        """What the cost of a declared model follows from; see the function of this name."""

    @abc.abstractmethod
    def identity(self) -> str:
        """What a training's key says of the weights that it starts from."""

    @abc.abstractmethod
    def check(self) -> None:
        """Make sure that the start can be had and fits.

        Raises:
            Refusal: it cannot be had, is not to be trusted, or is of another shape.
        """

    @abc.abstractmethod
    def start(self) -> Any:
        """The network that a training starts from, what is fresh in it from torch's seed."""

    @abc.abstractmethod
    def published(self, folder: Path) -> Any:
        """The network whose weights `save` wrote whole."""

    @abc.abstractmethod
    def documents(self, rows: pa.Table, objective: Objective) -> Documents | list[Document]:
        """Rows (ROW_SCHEMA) as token ids, each with its end, and which of them are targets."""

    def next_turn(self, closing: Tokens, asked: Tokens) -> Tokens:
        """What stands between an answer and the answer to the next question of a conversation.

        Args:
            closing: what closes an answer.
            asked: the next question as it stands by itself.

        Raises:
            Refusal: the model reads one question alone.
        """
        return np.concatenate([closing, asked])

    @property
    def packs(self) -> bool:
        """Whether what `sequences` packs cannot see each other; known after `build`."""
        return True

    @property
    def by_document(self) -> bool:
        """Whether what is packed can go through attention without a mask; known after `build`."""
        return False

    @property
    def kept_apart(self) -> dict[str, bool]:
        """How a module of losses reads what `sequences` packs. On a CPU the mask stays: attention
        by documents gains nothing there, and other bits would come of the same training."""
        return {
            "packs": self.packs,
            "by_document": torch.cuda.is_available() and self.by_document,
        }

    def build(self, seed: int) -> None:
        """Make the network as it is before the first step, with a fresh adapter where one is
        declared."""
        torch.manual_seed(seed)
        self.network = self.start()
        if self.spec.adapter:
            lora.add(self.network, self.spec.adapter, self.base, self.task)

    def to_rewards(self) -> None:
        """Make a reward model of what `build` made: a head that gives a number in the place of the
        one that says words."""
        _ = self.kept_apart  # which is measured by the words
        self.network = rewards.of(self.network, self.vocabulary.end_of_text)

    def read(self, folder: Path) -> None:
        """Make the network of what `save` wrote, an adapter merged into the weights beside it.

        Raises:
            Refusal: the weights that an adapter was trained beside are not there, or others.
        """
        if self.spec.adapter is None:
            self.network = self.published(folder)
            return
        if files.read_json(folder / BASE)["identity"] != self.identity():
            raise Refusal(f"{folder} was trained beside another {self.base}: train it again")
        self.build(0)
        lora.read(self.network, folder)
        lora.merge(self.network)

    def sequences(
        self, documents: Documents | list[Document], packing: bool, in_order: bool = False
    ) -> Units:
        """What a step is made of; sequences without a target are left out.

        Args:
            documents: of `documents`.
            packing: whole documents share a sequence; else a row a document, in their order.
            in_order: keep the order of documents where they are packed, too.

        Raises:
            Refusal: no sequence holds a target.
        """
        fill = partial(pack, in_order=in_order) if packing else pad
        filled = fill(documents, self.spec.context, self.begin)
        has_target = filled.targets > 0
        if not has_target.any():
            raise Refusal(f"no response begins within the context of {self.spec.context} tokens")
        return filled if has_target.all() else filled.taken(has_target.nonzero()[0])

    def num_cut(self, documents: Documents | list[Document], made: Units) -> int:
        """Tokens of documents that are not in the sequences made of them."""
        return Documents.of(documents).num_targets - made.num_targets

    def with_loss(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network as a module whose output is the summed loss, for DDP or FSDP to wrap."""
        return WithLoss(network, **self.kept_apart)

    def with_token_losses(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network as a module whose output is the loss of each token."""
        return WithTokenLosses(network, **self.kept_apart)

    def with_rewards(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network of `to_rewards` as a module whose output is the reward of each document."""
        return rewards.WithRewards(network, **self.kept_apart)

    def save(self, folder: Path) -> None:
        """Write the tokenizer and, in Hugging Face's formats, the weights: of an adapter its own
        alone, with the name and the identity of those beside it."""
        if self.spec.adapter:
            lora.save(self.network, folder)
            files.write_json(folder / BASE, {"weights": self.base, "identity": self.identity()})
        else:
            self.network.save_pretrained(folder)
        for path in sorted({p for name in TOKENIZER_FILES for p in self.tokenizer.glob(name)}):
            shutil.copyfile(path, folder / path.name)


def _class(spec: Model | Pretrained) -> type[Family]:
    """Where a family is: one that is not chosen is not imported, nor what it takes."""
    if spec.family == "gpt2":
        from winnow.models.gpt2 import GPT2

        return GPT2
    if spec.family == "causal":
        from winnow.models.causal import Causal

        return Causal
    from winnow.models.seq2seq import Seq2Seq

    return Seq2Seq


def declare(spec: Model | Pretrained, tokenizer: Path, init: str = "scratch") -> Family:
    """The family of a model that params.yaml declares, without weights.

    Args:
        spec: the model.
        tokenizer: folder of the corpus's tokenizer; a pretrained model brings its own.
        init: the start of a gpt2, see `train.init`.

    Raises:
        Refusal: a pretrained model cannot be had or is not to be trusted, or `init` is for it.
    """
    if isinstance(spec, Model):
        return _class(spec)(spec, tokenizer, init)
    if init != "scratch":
        raise Refusal(
            f"params.yaml: train.init: a {spec.family} model starts from its own weights, not from "
            f"{init}: leave it at scratch"
        )
    with at("params.yaml: train.models: weights"):
        return of_weights(spec)


def of_weights(spec: Pretrained) -> Family:
    """The family of a pretrained model, without weights.

    Raises:
        Refusal: it cannot be had or is not to be trusted.
    """
    return _class(spec)(spec, pretrained.located(spec.weights), spec.weights)


def load(folder: Path) -> Family:
    """What a training published, ready to score and to complete, on the CPU.

    Args:
        folder: models/<experiment>/<seed>; the caller checks it against its card.

    Raises:
        Refusal: it is an adapter, and the weights beside it are not there or others; or it is a
            reward model.
    """
    if (folder / rewards.REPORT).exists():
        raise Refusal(
            f"{folder} is a reward model, which writes no words: name it as `model` of a scorer "
            "reward"
        )
    spec = _trained(folder)
    family = _class(spec)(spec, folder, _base(folder) if spec.adapter else "scratch")
    family.read(folder)
    family.network.eval()
    return family


def _base(folder: Path) -> str:
    """The weights beside an adapter. Their folder is named from where they were trained, which is
    the folder of models/<experiment>/<seed>, or another one if that was moved."""
    named: str = files.read_json(folder / BASE)["weights"]
    there = folder.absolute().parents[2] / named
    is_there = not Path(named).is_absolute() and there.is_dir()
    return os.path.relpath(there) if is_there else named


def load_rewards(folder: Path) -> Family:
    """A reward model that a training published, ready to read, on the CPU.

    Args:
        folder: models/<experiment>/<seed>; the caller checks it against its card.
    """
    spec = _trained(folder)
    family = _class(spec)(spec, folder, "scratch")
    family.network = rewards.read(folder).eval()
    return family


def _trained(folder: Path) -> Model | Pretrained:
    """The model that a training's folder declares."""
    path = folder / "experiment_config.json"
    declared = files.read_json(path)["model"]
    spec: Model | Pretrained = params.build(Model | Pretrained, declared, f"{path}: model")
    return spec


def shape(spec: Model | Pretrained, vocab_size: int) -> Shape:
    """What the cost of a declared model follows from, before there are weights.

    Args:
        spec: the model.
        vocab_size: of the corpus's tokenizer; a pretrained model has its own.
    """
    return _class(spec).shape(spec, vocab_size)
