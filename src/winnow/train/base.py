"""The model that a training starts from where it is not fresh: a folder, or a pinned hub model."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from winnow import publish, weights
from winnow.config import Model
from winnow.errors import Refusal, at, loading
from winnow.train.model import padded
from winnow.train.params import check_init
from winnow.vocabulary import Vocabulary


def identity(init: str) -> str:
    """What a run's key says of its start: scratch, the hub id, or the hash of a folder's weights.

    Raises:
        Refusal: `init` is none of them, or a folder that is not to be trusted.
    """
    check_init(init)
    if not Path(init).is_dir():
        return init
    return publish.fingerprint(
        [publish.file_hash(p) for p in sorted(_folder(init).glob("*.safetensors"))]
    )


def _folder(init: str) -> Path:
    """Where a start is, with nothing in it that would have to be trusted."""
    name, _, revision = init.partition("@") if not Path(init).is_dir() else (init, "", "")
    with at("params.yaml: train.init"):
        return weights.folder(name, revision or None)


def folder_of(init: str, model: Model, vocabulary: Vocabulary) -> Path:
    """The folder of a start that fits the model and the vocabulary; a hub id is fetched.

    Raises:
        Refusal: it cannot be had, is not what its card says where winnow trained it, is no GPT-2,
            has another shape or another tokenizer.
    """
    folder = _folder(init)
    with at(f"params.yaml: train.init: {init}"):
        if Path(init).is_dir() and (folder / publish.CARD).exists():
            card = publish.read_sealed(folder / publish.CARD, "winnow train")
            publish.check_files(folder, card["files"], "winnow train")
        found = publish.read_json(folder / "config.json")
        if found.get("model_type") != "gpt2":
            raise Refusal(f"it is a {found.get('model_type')}, and only gpt2 is trained here")
        with loading("its config.json cannot be read"):
            shape = GPT2Config.from_pretrained(folder)
        _check_shape(shape, model, vocabulary)
        _check_tokenizer(folder, vocabulary)
    return folder


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


def load(folder: Path, model: Model, vocabulary: Vocabulary) -> GPT2LMHeadModel:
    """The model of a folder in fp32, with the dropout of `model` and the padded vocabulary.

    Raises:
        Refusal: weights are missing.
    """
    settings: dict[str, Any] = dict.fromkeys(
        ("resid_pdrop", "embd_pdrop", "attn_pdrop"), model.dropout
    )
    with loading(f"params.yaml: train.init: {folder} cannot be loaded"):
        if GPT2Config.from_pretrained(folder).activation_function == "gelu_new":
            settings["activation_function"] = "gelu_pytorch_tanh"  # the same, see model.build
        loaded, about = GPT2LMHeadModel.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **settings
        )
    if about["missing_keys"]:
        names = ", ".join(sorted(about["missing_keys"])[:3])
        raise Refusal(f"params.yaml: train.init: {folder} has no weights for {names}")
    rows = loaded.config.vocab_size
    if rows < padded(vocabulary.size):
        loaded.resize_token_embeddings(padded(vocabulary.size), mean_resizing=False)
        words = loaded.get_input_embeddings().weight
        with torch.no_grad():  # no target ever; their mean takes no more of the softmax than others
            words[rows:] = words[:rows].mean(dim=0)
    return loaded
