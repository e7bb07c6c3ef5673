"""The project's tokenizer as the model stages use it: text to ids, one end-of-text a document."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer, its size and its end-of-text token."""

    tokenizer: Tokenizer
    size: int
    end_of_text: int

    @classmethod
    def read(cls, folder: Path) -> "Vocabulary":
        """Read a folder in Hugging Face's format; text that spells a special token stays text."""
        from transformers import AutoTokenizer

        wrapped = AutoTokenizer.from_pretrained(folder)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.encode_special_tokens = True
        return cls(tokenizer, len(wrapped), int(wrapped.eos_token_id))

    def encodings(self, texts: list[str]) -> list[Encoding]:
        """Each text's encoding, with offsets, without end-of-text."""
        found: list[Encoding] = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return found

    def encode(self, texts: list[str]) -> list[Tokens]:
        """Each text's ids, with end-of-text behind it."""
        encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array([*item.ids, self.end_of_text], dtype=np.int32) for item in encoded]
