"""A tiny T5 with fresh weights, and a tokenizer of a file's rows.    python fresh.py ROWS FOLDER

Its output is tied to its input as the first T5's are (Raffel et al. 2020): untied at random it
starts far beyond the loss of guessing.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from winnow.curate.tokenizer import END_OF_TEXT, train_bpe

SIZES = {"d_model": 64, "d_kv": 16, "d_ff": 256, "num_layers": 2, "num_heads": 4}
VOCAB_SIZE = 1024

rows, folder = Path(sys.argv[1]), Path(sys.argv[2])
records = map(json.loads, rows.read_text(encoding="utf-8").splitlines())
texts = (f"{row['instruction']}\n{row['response']}" for row in records)
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=train_bpe(texts, VOCAB_SIZE), eos_token=END_OF_TEXT, bos_token=END_OF_TEXT
)
end = tokenizer.eos_token_id
torch.manual_seed(0)
config = T5Config(
    vocab_size=len(tokenizer),
    eos_token_id=end,
    pad_token_id=end,
    decoder_start_token_id=end,
    dropout_rate=0.0,
    **SIZES,
)
T5ForConditionalGeneration(config).save_pretrained(folder)
tokenizer.save_pretrained(folder)
