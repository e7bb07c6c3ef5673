"""Text to ids: a fast engine where it can be had, and the tokenizer as the model stages use it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Encoding, Tokenizer

Tokens = npt.NDArray[np.int32]

Encode = Callable[[pa.Array], tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]
"""Texts (large strings) to the ids of all of them in a row, and where each text's start and end."""

PROBE = (
    "",
    " a  b\n\n\tc ",
    "I'll 'Ve it's",
    "1234 5.6",
    "\xa0\u3000Straße 日本語 🙂\u200d",
    "\x00\r\n_",
)


def encoder(tokenizer: Tokenizer) -> Encode:
    """The fastest engine that gives a tokenizer's own ids, without adding special tokens.

    gigatoken (a cache of words, some hundred times faster) where it is installed, knows the kind of
    tokenizer and agrees with it on PROBE; else the tokenizer itself.
    """

    def slow(texts: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        found = tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        ids = [np.array(encoding.ids, np.uint32) for encoding in found]
        return np.concatenate([np.zeros(0, np.uint32), *ids]), np.cumsum([0, *map(len, ids)])

    try:
        fast = _gigatoken(tokenizer)
        probe = pa.array(PROBE, pa.large_string())
        agrees = all(map(np.array_equal, fast(probe), slow(probe)))
    except Exception:  # not installed, or whatever it raises at a tokenizer that it does not know
        return slow
    return fast if agrees else slow


def _gigatoken(tokenizer: Tokenizer) -> Encode:
    import awkward
    import gigatoken

    description = json.loads(tokenizer.to_str())
    if tokenizer.encode_special_tokens:
        description["added_tokens"] = []
    engine = gigatoken.Tokenizer.from_json(json.dumps(description))

    def fast(texts: pa.Array) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        found = engine.encode_batch(awkward.from_arrow(texts), parallel=False).layout
        return found.content.data, found.offsets.data

    return fast


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer, its size and its end-of-text token."""

    tokenizer: Tokenizer
    size: int
    end_of_text: int
    engine: Encode

    @classmethod
    def read(cls, folder: Path) -> "Vocabulary":
        """Read a folder in Hugging Face's format; text that spells a special token stays text."""
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.encode_special_tokens = True
        # Not by transformers, which takes seconds to import.
        named = json.loads((folder / "tokenizer_config.json").read_bytes())["eos_token"]
        end = tokenizer.token_to_id(named if isinstance(named, str) else named["content"])
        assert end is not None, "curate makes no tokenizer without one"
        return cls(tokenizer, tokenizer.get_vocab_size(), end, encoder(tokenizer))

    def encodings(self, texts: list[str]) -> list[Encoding]:
        """Each text's encoding, with offsets, without end-of-text."""
        found: list[Encoding] = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return found

    def joined(self, texts: pa.Array) -> tuple[Tokens, npt.NDArray[np.int64]]:
        """The ids of all texts (large strings) in a row, each with end-of-text behind it, and where
        each ends."""
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        ids, offsets = self.engine(texts)
        ends = offsets[1:] + np.arange(1, len(texts) + 1)
        tokens = np.full(len(ids) + len(texts), self.end_of_text, np.int32)
        is_text = np.ones(len(tokens), bool)
        is_text[ends - 1] = False
        tokens[is_text] = ids
        return tokens, ends

    def encode(self, texts: pa.Array) -> list[Tokens]:
        """Each text's ids (large strings), with end-of-text behind it."""
        tokens, ends = self.joined(texts)
        return np.split(tokens, ends[:-1])
