"""What a family of models can do; `declare` and `load` alone choose one by its name.

A family is what trains, scores and completes one model that params.yaml declares. Only the modules
of families import transformers' models, and only once one of them is chosen.
"""

from __future__ import annotations

import abc
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from winnow.core import files, params
from winnow.core.experiments import Model
from winnow.core.records import texts
from winnow.models.loss import WithLoss
from winnow.models.sequences import Document, Sequences, pack, pad
from winnow.models.tokenizer import Vocabulary

if TYPE_CHECKING:
    import torch


class Family(abc.ABC):
    """One declared model: its tokenizer at once, its weights after `build` or `read`."""

    network: Any
    """A PreTrainedModel of transformers; there after `build` or `read`."""

    def __init__(self, spec: Model, tokenizer: Path, init: str = "scratch") -> None:
        """Read the tokenizer; no weight is read yet.

        Args:
            spec: the model as params.yaml declares it.
            tokenizer: folder of the corpus's tokenizer, in Hugging Face's format.
            init: the start where it is not fresh, see `train.init`.
        """
        self.spec, self.init, self.tokenizer = spec, init, tokenizer
        self.vocabulary = Vocabulary.read(tokenizer)

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
    def build(self, seed: int) -> None:
        """Make the network as it is before its first step.

        Args:
            seed: of the weights that are fresh.
        """

    @abc.abstractmethod
    def read(self, folder: Path) -> None:
        """Make the network of what `save` wrote."""

    def documents(self, rows: pa.Table) -> list[Document]:
        """Rows (ROW_SCHEMA) as token ids, each with its end, and which of them are targets."""
        return [Document(ids, ids) for ids in self.vocabulary.encode(texts(rows))]

    def sequences(self, documents: list[Document], packing: bool) -> Sequences:
        """What a step is made of, in the order of the documents where they are not packed.

        Args:
            documents: of `documents`.
            packing: whole documents share a sequence; else a row a document.
        """
        fill = pack if packing else pad
        ids, labels = ([*part] for part in zip(*documents, strict=True))
        return fill(ids, self.spec.context, self.vocabulary.end_of_text, labels)

    def with_loss(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network as a module whose output is the summed loss, for DDP or FSDP to wrap."""
        return WithLoss(network)

    def save(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer in Hugging Face's format."""
        self.network.save_pretrained(folder)
        for path in self.tokenizer.iterdir():
            shutil.copyfile(path, folder / path.name)


def _class(spec: Model) -> type[Family]:
    """Where a family is: one that is not chosen is not imported, nor what it takes."""
    from winnow.models.gpt2 import GPT2

    return GPT2


def declare(spec: Model, tokenizer: Path, init: str = "scratch") -> Family:
    """The family of a model that params.yaml declares, without weights."""
    return _class(spec)(spec, tokenizer, init)


def load(folder: Path) -> Family:
    """What a training published, ready to score and to complete, on the CPU.

    Args:
        folder: models/<experiment>/<seed>; the caller checks it against its card.
    """
    description = files.read_json(folder / "experiment_config.json")
    spec = params.build(Model, description["model"], str(folder / "experiment_config.json"))
    family = _class(spec)(spec, folder)
    family.read(folder)
    family.network.eval()
    return family
