"""The one tokenizer of a project: trained on the kept rows, or copied from a folder or the hub."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from winnow import publish
from winnow.errors import Refusal, loading
from winnow.progress import progress

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

    Returns whether they do: whether tokenizer.json has the end-of-text token of the configuration.
    """
    try:
        config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
        found = Tokenizer.from_file(str(source / "tokenizer.json"))
        if found.token_to_id(config["eos_token"]) is None:
            return False
    except Exception:  # tokenizers raises bare Exception
        return False
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)
    return True


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
        names = {"eos_token": END_OF_TEXT, "bos_token": END_OF_TEXT}
        publish.write_json(
            folder / "tokenizer_config.json",
            {"tokenizer_class": "PreTrainedTokenizerFast", **names},
        )
        return
    if _copy(Path(source), folder):
        return
    from transformers import AutoTokenizer

    with loading(
        f"params.yaml: curate.tokenizer: no tokenizer {source!r} here or on the hub: use bpe, or "
        "name a folder that holds tokenizer.json"
    ):
        found = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if found.eos_token_id is None:
        raise Refusal(f"the tokenizer {source!r} has no end-of-text token")
    found.save_pretrained(folder)
