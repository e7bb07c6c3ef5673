"""The scorer against the plain loop of the documented formulas, one core, from Parquet.

    WINNOW_DATA=<folder> python -m benchmarks.score [--every 50]

Every batch of the corpus is scored by both sides, one after the other: ours scores all of its rows,
the plain loop every N-th one, and where both did they are compared. `--every 1` compares all rows.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import textstat
from tokenizers import Tokenizer

from winnow.core.records import WEIGHTS
from winnow.score.flesch import flesch_reading_ease
from winnow.score.scorers.documented import QualityScorer

sys.path.append(str(Path(__file__).parents[1] / "tests/score"))
from oracle import score as oracle  # noqa: E402

DATA = Path(os.environ["WINNOW_DATA"])
TOKENIZER = DATA / "tokenizers/gpt2"
BATCH = 10_000


def mix(path: Path) -> None:
    """Write the whole corpus in a random order, in row groups as curate writes them."""
    files = sorted((DATA / "instructions").glob("*.parquet"))
    table = pa.concat_tables(pq.read_table(file) for file in files)
    order = np.random.default_rng(0).permutation(len(table))
    pq.write_table(table.take(order), path, row_group_size=BATCH, compression="zstd")


def batches(path: Path, limit: int = sys.maxsize):
    """The rows of a file, batch by batch, up to a number of rows."""
    for number, batch in enumerate(pq.ParquetFile(path).iter_batches(BATCH)):
        if number * BATCH < limit:
            yield batch


def plain(batch: pa.RecordBatch, tokenizer: Tokenizer) -> np.ndarray:
    """The five figures of every row by the plain formulas."""
    found = []
    for row in batch.to_pylist():
        question = row["instruction"] + ("\n" + row["input"] if row["input"] else "")
        total, parts = oracle(question, row["response"], lambda text: tokenizer.encode(text).tokens)
        found.append([total, *parts.values()])
    return np.array(found)


def compare(path: Path, every: int) -> float:
    """Print microseconds a row of both sides and their largest difference; returns the ratio."""
    tokenizer, scorer = (
        Tokenizer.from_file(str(TOKENIZER / "tokenizer.json")),
        QualityScorer(TOKENIZER),
    )
    first = next(batches(path))
    scorer.score_rows(first.slice(0, 10)), plain(first.slice(0, 10), tokenizer)  # warm both
    ours, theirs, rows, sampled, worst, ratios = 0.0, 0.0, 0, 0, 0.0, []
    source = batches(path)
    while True:
        began = time.process_time()
        batch = next(source, None)
        if batch is None:
            break
        scored = scorer.score_rows(batch)
        one = time.process_time() - began
        chosen = batch.take(pa.array(range(0, batch.num_rows, every)))
        began = time.process_time()
        wanted = plain(chosen, tokenizer)
        two = time.process_time() - began
        found = np.column_stack([scored[name] for name in ("score", *WEIGHTS)])[::every]
        worst = max(worst, np.abs(found - wanted).max())
        ours, theirs, rows = ours + one, theirs + two, rows + batch.num_rows
        sampled += chosen.num_rows
        ratios.append(two / chosen.num_rows / (one / batch.num_rows))
    print(f"plain loop      {theirs / sampled * 1e6:8.1f} us a row, {sampled} rows")
    print(f"scorer          {ours / rows * 1e6:8.1f} us a row, {rows} rows")
    print(f"largest difference of the five figures on {sampled} rows: {worst:.1e}")
    print(f"median ratio of {len(ratios)} batches: {np.median(ratios):.1f}x")
    return theirs / sampled / (ours / rows)


def readability(path: Path) -> float:
    """textstat against ours on texts of 20 words; returns the ratio, asserts equality."""
    words = " ".join(
        batch_text
        for batch in batches(path, 30_000)
        for batch_text in batch["response"].to_pylist()
    ).split()
    texts = [" ".join(words[at : at + 20]) for at in range(0, 20 * 20_000, 20)]
    table = pa.array(texts)
    flesch_reading_ease(table.slice(0, 1))
    ours, theirs = [], []
    for _ in range(3):
        began = time.process_time()
        found = flesch_reading_ease(table)
        ours.append(time.process_time() - began)
        began = time.process_time()
        wanted = np.array([textstat.flesch_reading_ease(text) for text in texts])
        theirs.append(time.process_time() - began)
        assert (found == wanted).all()
    one, two = np.median(ours), np.median(theirs)
    each = 1e6 / len(texts)
    print(
        f"Flesch on texts of 20 words, equal to the last bit: textstat {two * each:.1f} us, "
        f"ours {one * each:.1f} us"
    )
    return two / one


def memory(path: Path, rows: int) -> float:
    """The peak memory in MB of a process that scores so many rows."""
    command = [sys.executable, "-m", "benchmarks.score", "--rows", str(rows), str(path)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--rows", type=int)
    parser.add_argument("path", type=Path, nargs="?")
    arguments = parser.parse_args()
    if arguments.rows:
        scorer = QualityScorer(TOKENIZER)
        for batch in batches(arguments.path, arguments.rows):
            scorer.score_rows(batch)
        status = Path("/proc/self/status").read_text()  # ru_maxrss would be the parent's
        print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1e3)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "corpus.parquet")
        mix(path)
        small, large = memory(path, 100_000), memory(path, 1_000_000)
        print(
            f"peak memory: {small:.0f} MB at 100k rows, {large:.0f} MB at 1M: {large / small:.2f}x"
        )
        print(f"Flesch: {readability(path):.1f}x")
        print(f"scorer: {compare(path, arguments.every):.1f}x")


if __name__ == "__main__":
    main()
