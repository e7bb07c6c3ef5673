"""The one tokenizer of a project: trained on the kept rows, or copied from a folder or the hub."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from winnow.core import files
from winnow.core.errors import Refusal, at, loading
from winnow.core.progress import progress
from winnow.models import pretrained

END_OF_TEXT = "<|endoftext|>"


def train_bpe(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """Train a byte-level BPE as GPT-2's (Radford et al. 2019; Sennrich et al. 2016)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(progress(texts, "tokenizer", "rows"), trainer)
    return tokenizer


def _copy(source: Path, folder: Path) -> bool:
    """Copy a folder whose files say all that a tokenizer needs, without the wait for transformers.

    Of the configuration come the special tokens and the length. All else that it may say is in
    tokenizer.json already, or would name code or other files.

    Returns whether they do: whether tokenizer.json has the end-of-text token of the configuration.
    """
    try:
        config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
        found = Tokenizer.from_file(str(source / "tokenizer.json"))
        if found.token_to_id(config["eos_token"]) is None:
            return False
    except Exception:  # tokenizers raises bare Exception
        return False
    _check_ids(found)
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    tokens = {key: config[key] for key in config if key.endswith("_token")}
    settings = {key: token for key, token in tokens.items() if isinstance(token, str | dict)}
    if "model_max_length" in config:
        settings["model_max_length"] = config["model_max_length"]
    _configure(folder, settings)
    return True


def _configure(folder: Path, settings: dict[str, Any]) -> None:
    """Write a configuration by which transformers reads tokenizer.json as it stands."""
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
    files.write_json(folder / "tokenizer_config.json", settings)


def _check_ids(tokenizer: Tokenizer) -> None:
    """Refuse ids with gaps: a model has a row for each word, and no other rows."""
    highest, size = max(tokenizer.get_vocab().values()), tokenizer.get_vocab_size()
    if highest >= size:
        raise Refusal(
            f"the tokenizer has {size} words and an id {highest}: expected ids from 0 to {size - 1}"
        )


def save(source: str, texts: Iterator[str], vocab_size: int, folder: Path) -> None:
    """Make the tokenizer that `source` names and save it to a folder in Hugging Face's format.

    Args:
        source: "bpe" to train one on `texts`, else a folder or a hub id such as "gpt2".
        texts: what to train on.
        vocab_size: of the trained one.
        folder: where it goes; it is made.

    Raises:
        Refusal: the tokenizer cannot be had, or has no end-of-text token.
    """
    folder.mkdir()
    if source == "bpe":
        train_bpe(texts, vocab_size).save(str(folder / "tokenizer.json"))
        _configure(folder, {"eos_token": END_OF_TEXT, "bos_token": END_OF_TEXT})
        return
    with at("params.yaml: curate.tokenizer"):
        if Path(source).is_dir():
            pretrained.check_files(Path(source))
        if not _copy(Path(source), folder):
            _convert(source, folder)


def _convert(source: str, folder: Path) -> None:
    """Copy what transformers makes of a tokenizer of the hub, or of files of another kind."""
    from transformers import AutoTokenizer

    with loading(
        f"no tokenizer {source!r} here or on the hub: use bpe, or name a folder that holds "
        "tokenizer.json"
    ):
        found = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if found.eos_token_id is None:
        raise Refusal(f"the tokenizer {source!r} has no end-of-text token")
    with tempfile.TemporaryDirectory() as saved:
        found.save_pretrained(saved)
        if not _copy(Path(saved), folder):
            raise Refusal(f"the tokenizer {source!r} cannot be written as tokenizer.json")
