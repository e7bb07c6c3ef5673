"""The GPT-2 family (Radford et al. 2019): fresh weights, or a start that is a GPT-2 as well."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from winnow.core import cards, engine, files
from winnow.core.errors import Refusal, at, loading
from winnow.core.experiments import Model
from winnow.core.mapped import on_disk
from winnow.core.objectives import Objective
from winnow.core.records import ROW_SCHEMA, Row, texts
from winnow.models import attention, lora, pretrained
from winnow.models.family import Family, Shape
from winnow.models.pretrained import check_init
from winnow.models.sequences import Document, Documents
from winnow.models.tokenizer import Tokens, Vocabulary

IDENTITY = ("config.json", "*.safetensors", pretrained.INDEX)
"""What of a folder decides what a training from it becomes."""
SHAPE = (
    "n_layer",
    "n_embd",
    "n_head",
    "n_positions",
    "n_inner",
    "vocab_size",
    "layer_norm_epsilon",
    "activation_function",
    "scale_attn_weights",
    "scale_attn_by_inverse_layer_idx",
    "reorder_and_upcast_attn",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
)
"""What is taken of a start's config.json: what the model computes, and nothing else."""

PART_ROWS = 5000
"""Rows whose texts are encoded at once: a matter of memory, not of results."""

# A bar for each file of weights that is read or written says nothing beside the training's own.
logging.disable_progress_bar()


def padded(vocab_size: int) -> int:
    """The next multiple of 64, which the matrix units like; the padding is never a target."""
    return -(-vocab_size // 64) * 64


def build(model: Model, vocab_size: int, end_of_text: int) -> GPT2LMHeadModel:
    """A GPT-2 with fresh weights from torch's current seed and a padded vocabulary."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=padded(vocab_size),
            n_positions=model.context,
            n_embd=model.hidden_size,
            n_layer=model.num_layers,
            n_head=model.num_heads,
            # GPT-2's own function, as one kernel: its default name is nine steps through memory.
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=model.dropout,
            embd_pdrop=model.dropout,
            attn_pdrop=model.dropout,
            bos_token_id=end_of_text,
            eos_token_id=end_of_text,
            loss_type="ForCausalLM",
        )
    )


def num_parameters(model: Model, vocab_size: int) -> int:
    """Parameters of the model, output embeddings tied (counted once), position table included."""
    width = model.hidden_size
    per_layer = 12 * width**2 + 13 * width
    embeddings = (padded(vocab_size) + model.context) * width
    return model.num_layers * per_layer + embeddings + 2 * width


def identity(init: str) -> str:
    """What a run's key says of its start: scratch, the hub id, or the hash of a folder's files.

    Raises:
        Refusal: `init` is none of them, or a folder that is not to be trusted.
    """
    check_init(init)
    with at("params.yaml: train.init"):
        return pretrained.identity(init, IDENTITY)


def folder_of(init: str, model: Model, vocabulary: Vocabulary) -> Path:
    """The folder of a start that fits the model and the vocabulary; a hub id is fetched.

    Raises:
        Refusal: it cannot be had, is not what its card says where winnow trained it, is no GPT-2,
            has another shape or another tokenizer.
    """
    with at("params.yaml: train.init"):
        folder = pretrained.located(init)
    with at(f"params.yaml: train.init: {init}"):
        if Path(init).is_dir() and (folder / cards.CARD).exists():
            card = files.read_sealed(folder / cards.CARD, "winnow train")
            cards.check_files(folder, card["files"], "winnow train")
        _check_shape(_config(folder), model, vocabulary)
        _check_tokenizer(folder, vocabulary)
    return folder


def _config(folder: Path) -> GPT2Config:
    """The model that a folder declares."""
    declared = pretrained.read_json(folder / "config.json")
    if declared.get("model_type") != "gpt2":
        raise Refusal(f"it is a {declared.get('model_type')}, and only gpt2 is trained here")
    with loading("its config.json cannot be read"):
        return GPT2Config(
            **{name: declared[name] for name in SHAPE if name in declared}, loss_type="ForCausalLM"
        )


def _check_shape(found: GPT2Config, model: Model, vocabulary: Vocabulary) -> None:
    names = ("num_layers", "hidden_size", "num_heads", "context")
    shape = (found.n_layer, found.n_embd, found.n_head, found.n_positions)
    wanted = tuple(getattr(model, name) for name in names)
    if shape != wanted:
        words = ", ".join(f"{name}: {value}" for name, value in zip(names, shape, strict=True))
        raise Refusal(
            f"it has another shape than the experiment's model {wanted}: declare one under "
            f"train.models with {words}"
        )
    if found.vocab_size < vocabulary.size:
        raise Refusal(f"it knows {found.vocab_size} tokens, the tokenizer {vocabulary.size}")


def _check_tokenizer(folder: Path, vocabulary: Vocabulary) -> None:
    """Equal words with equal ids, and the same merges: else every embedding means another word."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise Refusal("it holds no tokenizer.json to compare with the corpus's")
    with loading("its tokenizer.json cannot be read"):
        own = Tokenizer.from_file(str(file))
    probe = "Why is the sky blue?\n\n1234 naïve 日本"
    used = vocabulary.tokenizer
    ids = [found.encode(probe, add_special_tokens=False).ids for found in (own, used)]
    if own.get_vocab() != used.get_vocab() or ids[0] != ids[1]:
        raise Refusal(
            f"its tokenizer ({own.get_vocab_size()} words) is not the corpus's "
            f"({used.get_vocab_size()}): set curate.tokenizer to {folder}"
        )


def _tensors(folder: Path, config: GPT2Config) -> dict[str, torch.Tensor]:
    """A folder's weights by name: all that the declared model has, finite, and of its shapes."""
    single = folder / "model.safetensors"
    tensors: dict[str, torch.Tensor] = {}
    for file in [single] if single.exists() else pretrained.shards(folder / pretrained.INDEX):
        with loading(f"{folder} cannot be loaded: {file.name}"):
            tensors |= load_file(file)
    with loading(f"{folder}: config.json declares no model"), torch.device("meta"):
        declared = GPT2LMHeadModel(config).state_dict()
    if config.tie_word_embeddings and "lm_head.weight" not in tensors:
        del declared["lm_head.weight"]
    prefix = f"{GPT2LMHeadModel.base_model_prefix}."
    for name, place in declared.items():
        tensor = tensors.get(name, tensors.get(name.removeprefix(prefix)))
        if tensor is None:
            raise Refusal(f"{folder} has no weights for {name}")
        if tensor.shape != place.shape or not tensor.is_floating_point():
            raise Refusal(
                f"{folder}: {name} holds {tensor.dtype} of shape {[*tensor.shape]}, and the model "
                f"that config.json declares floats of shape {[*place.shape]}"
            )
        if not torch.stack(tensor.float().aminmax()).isfinite().all():
            raise Refusal(f"{folder}: {name} holds numbers that are not finite")
    return tensors


def load(folder: Path, model: Model, vocabulary: Vocabulary) -> GPT2LMHeadModel:
    """The model of a folder in fp32, with the dropout of `model` and the padded vocabulary.

    Its tensors are read here, so that transformers opens no file of the folder: of what else lies
    there (an adapter, a generation configuration, kernels) nothing is used.

    Raises:
        Refusal: weights are missing, not finite, or of another shape than config.json declares.
    """
    with at("params.yaml: train.init"):
        config = _config(folder)
        tensors = _tensors(folder, config)
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = model.dropout
    if config.activation_function == "gelu_new":
        config.activation_function = "gelu_pytorch_tanh"  # the same, see model.build
    loaded = GPT2LMHeadModel.from_pretrained(
        None, config=config, state_dict=tensors, dtype=torch.float32, trust_remote_code=False
    )
    rows = loaded.config.vocab_size
    if rows < padded(vocabulary.size):
        loaded.resize_token_embeddings(padded(vocabulary.size), mean_resizing=False)
        words = loaded.get_input_embeddings().weight
        with torch.no_grad():  # no target ever; their mean takes no more of the softmax than others
            words[rows:] = words[:rows].mean(dim=0)
    return loaded


class GPT2(Family):
    """A GPT-2 with the corpus's tokenizer, from scratch or from `train.init`."""

    spec: Model

    @classmethod
    def shape(cls, spec: Model, vocab_size: int) -> Shape:
        """What the cost of a GPT-2 follows from."""
        trained = parameters = num_parameters(spec, vocab_size)
        if spec.adapter:
            with torch.device("meta"):
                network = build(spec, vocab_size, 0)
                lora.add(network, spec.adapter, "")
            trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        return Shape(
            num_parameters=parameters,
            num_trained=trained,
            num_layers=spec.num_layers,
            hidden_size=spec.hidden_size,
            num_heads=spec.num_heads,
            context=spec.context,
            vocab_size=padded(vocab_size),
            dropout=spec.dropout,
        )

    @property
    def by_document(self) -> bool:
        """Whether FlashAttention takes its heads; every layer sees all of a document."""
        return attention.fits(self.network)

    def identity(self) -> str:
        """Scratch, the hub id of the start, or the hash of its folder's files."""
        return identity(self.base)

    def check(self) -> None:
        """Fetch the start, and refuse one that does not fit."""
        if self.base != "scratch":
            folder_of(self.base, self.spec, self.vocabulary)
        elif self.spec.adapter:
            raise Refusal(
                "params.yaml: train.init: a fresh gpt2 has nothing that an adapter could be "
                "trained beside: name the weights to start from"
            )

    def start(self) -> GPT2LMHeadModel:
        """Fresh weights, or those of the start."""
        if self.base == "scratch":
            return build(self.spec, self.vocabulary.size, self.vocabulary.end_of_text)
        return load(folder_of(self.base, self.spec, self.vocabulary), self.spec, self.vocabulary)

    def published(self, folder: Path) -> GPT2LMHeadModel:
        """The weights that `save` wrote."""
        return GPT2LMHeadModel.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True
        )

    def documents(self, rows: pa.Table, objective: Objective) -> Documents | list[Document]:
        """The text of every row as one, `Row.text`; tokens that are all targets lie on the disk."""
        if objective == "next_token":
            sizes: list[NDArray[np.int64]] = []
            ids = on_disk(self._encoded(rows, sizes), np.int32)
            return Documents.cut(ids, ids, np.concatenate(sizes))
        columns = rows.select(ROW_SCHEMA.names).to_pylist()
        return [self._response(Row(**row)) for row in columns]

    def _encoded(self, rows: pa.Table, sizes: list[NDArray[np.int64]]) -> Iterator[Tokens]:
        """The tokens of rows, a part at a time; the number of each row's is appended."""

        def part(start: int) -> tuple[Tokens, NDArray[np.int64]]:
            return self.vocabulary.joined(texts(rows.slice(start, PART_ROWS).combine_chunks()))

        for ids, ends in engine.each(part, range(0, len(rows), PART_ROWS)):
            sizes.append(np.diff(ends, prepend=0))
            yield ids

    def _response(self, row: Row) -> Document:
        """A row of whose tokens those that end in the response are targets."""
        (encoding,) = self.vocabulary.encodings([row.text])
        ids = np.array([*encoding.ids, self.vocabulary.end_of_text], np.int32)
        border = len(row.prompt)
        return Document.of(ids, sum(start < border for start, _ in encoding.offsets))
