"""Pretrained models for tests: tiny, of any architecture, with fresh weights."""

import copy
from pathlib import Path
from typing import Any

import torch
from tiny import TINY, write_params
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from winnow.core.layout import TOKENIZER

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "head_dim": 8,
}
OTHERS: dict[str, dict[str, Any]] = {
    "granite": {"logits_scaling": 8.0},
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 64},
    "mamba": {"state_size": 4},
    "mistral": {"sliding_window": 4},
}
"""What an architecture needs beside SHAPE."""


def write_model(folder: Path, kind: str = "llama", chat: str | None = None) -> Path:
    """A tiny model with fresh weights of a kind, and the corpus's tokenizer."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
    if chat:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im|>"]})
        tokenizer.add_special_tokens({"eos_token": "<|end|>", "bos_token": "<|im|>"})
        tokenizer.chat_template = chat
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    others = OTHERS.get(kind, {}) | ends | {"vocab_size": len(tokenizer), "pad_token_id": 0}
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE | others))
    for parameter in network.parameters():
        if parameter.dim() > 1:  # at their own scale tiny models hardly look at the context
            torch.nn.init.normal_(parameter, 0, 0.2)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_t5(folder: Path, dropout: float = 0.1) -> Path:
    """A tiny T5 with fresh weights, its output tied to its input as the first T5's are: untied at
    random it starts far beyond the loss of guessing."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
    end = tokenizer.eos_token_id
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=end,
        dropout_rate=dropout,
        **sizes,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def declare_tiny(project: Path, kind: str, dropout: float = 0.1, **recipe: Any) -> None:
    """Write TINY with its model `tiny` as another one's adapter (llama), or another one (t5)."""
    params: Any = copy.deepcopy(TINY)
    adapter = {"name": "lora", "rank": 2, "dropout": dropout}
    declared = {
        "llama": {"family": "causal", "adapter": adapter},
        "t5": {"family": "seq2seq"},
    }[kind]
    weights = project / "base"
    write_model(weights) if kind == "llama" else write_t5(weights, dropout)
    params["train"]["models"]["tiny"] = {"weights": str(weights), "context": 64, **declared}
    recipe |= {"objective": "seq2seq" if kind == "t5" else "next_token"}
    for settings in params["train"]["recipes"].values():
        settings |= recipe
    write_params(project, params)
