"""Does IFD by a small model find the rows that IFD by a large one chose?

    WINNOW_DATA=<folder> python -m benchmarks.difficulty <model> [--rows 500]

Alpaca's rows of the highest instruction-following difficulty by a 7B model (Cherry LLM, the
published 5%), against as many other rows of Alpaca ($WINNOW_DATA/instructions), both the first
ones in the order of content hashes: the chance that a chosen row has the higher value (AUC), with a
90% bootstrap interval over rows; at one length, over pairs within a tenth of the responses' bytes.
The model is a folder in Hugging Face's format, such as `python tests/real.py <folder>` writes.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.analyze.audits.planted_truth import auc
from winnow.core.records import ROW_SCHEMA, content_hash
from winnow.models.device import environment
from winnow.score.corpus import Corpus
from winnow.score.scorers import Scores
from winnow.score.scorers.ifd import Ifd

DATA = Path(os.environ["WINNOW_DATA"])
RESAMPLES = 500


def read(name: str) -> dict[str, dict[str, str]]:
    """Rows by content hash."""
    rows = pq.read_table(DATA / f"instructions/alpaca_{name}.parquet").to_pylist()
    parts = ("instruction", "input", "response")
    return {content_hash(*(row[part] for part in parts)): row for row in rows}


def within(strata: np.ndarray, values: np.ndarray, positive: np.ndarray) -> float:
    """The chance over pairs of rows of one stratum."""
    found, pairs = 0.0, 0
    for stratum in np.unique(strata):
        chosen = strata == stratum
        number = int(positive[chosen].sum() * (~positive[chosen]).sum())
        if number:
            found, pairs = found + number * auc(values[chosen], positive[chosen]), pairs + number
    return found / pairs


def report(name: str, values: np.ndarray, positive: np.ndarray, strata: np.ndarray) -> None:
    """Print an AUC with its interval, and that of rows of about one length."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(values), len(values)) for _ in range(RESAMPLES)]
    for said, groups in ((name, np.zeros(len(values))), (f"{name}, at one length", strata)):
        chances = [within(groups[draw], values[draw], positive[draw]) for draw in draws]
        low, high = np.quantile(chances, (0.05, 0.95))
        print(f"{said:40} {within(groups, values, positive):.3f} ({low:.3f} to {high:.3f})")


def numbers(scores: Scores, instead: float) -> np.ndarray:
    """The scores, with a number in place of a reason."""
    return np.array([instead if isinstance(score, str) else score for score in scores])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    arguments = parser.parse_args()
    chosen, others = read("cherry_5pct"), read("random_9k")
    others = {key: others[key] for key in others.keys() - chosen.keys()}
    drawn = [sorted(part)[: arguments.rows] for part in (chosen, others)]
    positive = np.arange(len(drawn[0]) + len(drawn[1])) < len(drawn[0])
    table = pa.Table.from_pylist([(chosen | others)[key] for part in drawn for key in part])
    rows = table.select(ROW_SCHEMA.names).combine_chunks().to_batches()[0]
    began, nothing = time.perf_counter(), Corpus(Path("."), {})
    difficulty = Ifd(
        model=arguments.model, context=512, maximum=1000, precision=arguments.precision
    ).prepare(nothing)
    values = numbers(difficulty(rows), 0.0)
    seconds = time.perf_counter() - began
    print(f"{len(rows)} rows, {seconds:.0f} s, {difficulty.flops:.2e} FLOPs, {environment()}")
    above = [int((values[part] >= 1).sum()) for part in (positive, ~positive)]
    print(f"1 or more: {above[0]} chosen and {above[1]} other rows")
    lengths = pc.binary_length(rows["response"]).to_numpy().astype(float)
    tenths = np.searchsorted(np.quantile(lengths, np.arange(1, 10) / 10), lengths)
    report("IFD", values, positive, tenths)
    report("IFD, 1 and more as lowest", np.where(values < 1, values, 0), positive, tenths)
    report("bytes of the response", lengths, positive, tenths)


if __name__ == "__main__":
    main()
