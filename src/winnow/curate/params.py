"""The section `curate` of params.yaml."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class CurateConfig:
    """What is cleaned away, what is held out, and which tokenizer everything uses."""

    steps: tuple[Any, ...]
    """The recipe: a list of steps by name, each with its numbers; see curate/steps.py."""
    validation: int
    """Rows that decide during training."""
    test: int
    """Rows that every arm is judged on, once."""
    seed: int = 0
    tokenizer: str = "bpe"
    """bpe (trained on kept rows), a folder, or a hub id such as gpt2."""
    vocab_size: int = 1024
    """Of bpe."""
    tokenizer_rows: int = 20000
    """Kept rows that bpe is trained on, at most; they are drawn by hash."""
