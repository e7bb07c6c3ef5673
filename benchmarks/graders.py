"""Does the score agree with graders, does it beat length?    python -m benchmarks.graders

Alpaca's rows that a Claude grader liked (AlpaGasus) and those of the highest instruction-following
difficulty (Cherry LLM), each against 9,229 random ones ($WINNOW_DATA/instructions): the chance that
a chosen row has the higher value (AUC), with a 90% bootstrap interval over rows. Rows that both
files hold are left out of the random ones. Beside the score a linear model that was fitted to the
choice itself: on four fifths of the rows, cut by content hash, for the fifth that it did not see.
"""

import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.analyze.audits.planted_truth import auc
from winnow.analyze.audits.score_audit import MEASURES
from winnow.core.records import content_hash
from winnow.curate.linear import fit, probabilities
from winnow.score import QualityScorer

DATA = Path(os.environ["WINNOW_DATA"])
CHOSEN = {"claude_t45": "a Claude grader", "cherry_5pct": "difficulty (IFD)"}
RESAMPLES = 500
FOLDS = 5


def read(name: str) -> dict[str, dict[str, str]]:
    """Rows by content hash."""
    rows = pq.read_table(DATA / f"instructions/alpaca_{name}.parquet").to_pylist()
    parts = ("instruction", "input", "response")
    return {content_hash(*(row[part] for part in parts)): row for row in rows}


def out_of_fold(table: pa.Table, keys: list[str], positive: np.ndarray) -> np.ndarray:
    """Each row's probability by the linear model that did not see its fold."""
    folds = np.array([int(key[:8], 16) % FOLDS for key in keys])
    by_hash, found = np.argsort(keys), np.empty(len(keys))
    for fold in range(FOLDS):
        seen, held_out = by_hash[folds[by_hash] != fold], np.flatnonzero(folds == fold)
        found[held_out] = probabilities(fit(table.take(seen), positive[seen]), table, held_out)
    return found


def main() -> None:
    """Print a table a choice, and the rows a second of the linear model."""
    scorer, dice = QualityScorer(DATA / "tokenizers/gpt2"), np.random.default_rng(0)
    for name, grader in CHOSEN.items():
        chosen, random = read(name), read("random_9k")
        keys = [*chosen, *(key for key in random if key not in chosen)]
        table = pa.Table.from_pylist([chosen.get(key) or random[key] for key in keys])
        positive = np.arange(len(keys)) < len(chosen)
        scored = scorer.score_rows(table.combine_chunks().to_batches()[0])
        columns = {measure: scored[measure].to_numpy() for measure in (*MEASURES, "num_tokens")}
        columns["linear, held out"] = out_of_fold(table, keys, positive)
        draws = [dice.integers(0, len(keys), len(keys)) for _ in range(RESAMPLES)]
        print(f"{grader}: {positive.sum():,} chosen, {(~positive).sum():,} random")
        for measure, column in columns.items():
            values = column.astype(np.float64)
            found = [auc(values[draw], positive[draw]) for draw in draws]
            low, high = np.quantile(np.array(found, np.float64), (0.05, 0.95))
            print(f"  {measure:18}{auc(values, positive):.3f}  ({low:.3f} to {high:.3f})")
    began = time.process_time()
    model = fit(table, positive)
    fitted = time.process_time()
    probabilities(model, table, np.arange(len(table)))
    rates = len(table) / np.diff([began, fitted, time.process_time()])
    print(f"linear: rows a second of one core: {rates[0]:,.0f} fitted, {rates[1]:,.0f} judged")


if __name__ == "__main__":
    main()
