"""What a classifier of FineWeb-Edu's size costs.    python -m benchmarks.classifier [--rows N]

A BERT of twelve layers and 109 million weights as that one is, the weights of chance, on random
rows of Alpaca ($WINNOW_DATA/instructions): rows a second of one core, or of the GPU where there is
one, and what sorting by length saves over batches in the order of the rows.
"""

import argparse
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from benchmarks.graders import DATA
from winnow.core.texts import plain
from winnow.models.classifier import Classifier

BATCH = 32


def model(folder: str, texts: list[str]) -> None:
    """Save the model, with a tokenizer of as many words that is trained on the texts."""
    words = BertWordPieceTokenizer()
    words.train_from_iterator(texts, vocab_size=30522, show_progress=False)
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words._tokenizer, **names)
    tokenizer.save_pretrained(folder)
    BertForSequenceClassification(BertConfig(num_labels=1)).save_pretrained(folder)


def main() -> None:
    """Print a small table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=128)
    number = parser.parse_args().rows
    torch.set_num_threads(1)
    table = pq.read_table(DATA / "instructions/alpaca_random_9k.parquet")
    rows = np.random.default_rng(0).permutation(len(table))
    texts = plain(table, rows)
    with tempfile.TemporaryDirectory() as folder:
        model(folder, texts.to_pylist())
        judge = Classifier.load(folder, None)
    texts = texts.take(pa.array(np.arange(number) % len(texts)))
    judge.scores(texts[:BATCH], BATCH)
    began = time.perf_counter(), time.process_time()
    sorted_scores = judge.scores(texts, BATCH)
    seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    plainly = [judge.scores(texts[at : at + BATCH], BATCH) for at in range(0, number, BATCH)]
    unsorted = time.process_time() - began[1] - seconds[1]
    apart = np.abs(np.concatenate(plainly) - sorted_scores).max()
    weights = sum(weight.numel() for weight in judge.model.parameters()) / 1e6
    print(f"{weights:.0f} million weights on {judge.model.device}, {number:,} rows")
    print(
        f"rows a second: {number / seconds[0]:.1f}, of a core's time {number / seconds[1]:.1f}; "
        f"in the order of the rows {number / unsorted:.1f}"
    )
    print(f"largest difference of a row's two scores: {apart:.1e}")


if __name__ == "__main__":
    main()
