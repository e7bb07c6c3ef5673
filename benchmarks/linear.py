"""Does a linear model of a grader's choices find more of them?    python -m benchmarks.linear

The rows and graders of benchmarks.graders. The linear model is fitted on four fifths of the rows
and judges the fifth that it did not see, fifth by fifth, cut by content hash: the chance that a
chosen row has the higher value (AUC), with a 90% bootstrap interval over rows, beside that of the
documented score and of the length on the same rows.
"""

import time

import numpy as np
import pyarrow as pa

from benchmarks.graders import CHOSEN, DATA, RESAMPLES, read
from winnow.analyze.audit import auc
from winnow.curate.linear import fit, probabilities
from winnow.curate.texts import PARTS
from winnow.score import QualityScorer

FOLDS = 5


def out_of_fold(table: pa.Table, positive: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Each row's probability by the model that did not see its fold."""
    found = np.empty(len(table))
    for fold in range(FOLDS):
        seen, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        found[held_out] = probabilities(fit(table.take(seen), positive[seen]), table, held_out)
    return found


def main() -> None:
    """Print a table a grader, and rows a second."""
    scorer, dice = QualityScorer(DATA / "tokenizers/gpt2"), np.random.default_rng(0)
    for name, grader in CHOSEN.items():
        chosen, random = read(name), read("random_9k")
        keys = sorted({*chosen, *random})
        table = pa.Table.from_pylist([chosen.get(key) or random[key] for key in keys])
        positive = np.array([key in chosen for key in keys])
        folds = np.array([int(key[:8], 16) % FOLDS for key in keys])
        scored = scorer.score_batch(table.combine_chunks().to_batches()[0])
        values = {
            "linear, held out": out_of_fold(table, positive, folds),
            "documented score": scored["score"].to_numpy(),
            "length": scored["num_tokens"].to_numpy().astype(np.float64),
        }
        values["shortness"] = -values["length"]
        draws = [dice.integers(0, len(keys), len(keys)) for _ in range(RESAMPLES)]
        print(f"{grader}: {positive.sum():,} chosen, {(~positive).sum():,} random")
        for measure, value in values.items():
            found = [auc(value[draw], positive[draw]) for draw in draws]
            low, high = np.quantile(np.array(found, np.float64), (0.05, 0.95))
            print(f"  {measure:18}{auc(value, positive):.3f}  ({low:.3f} to {high:.3f})")
    table = table.select(PARTS)
    began = time.process_time()
    model = fit(table, positive)
    fitted = time.process_time()
    probabilities(model, table, np.arange(len(table)))
    judged = time.process_time()
    print(f"rows a second of one core: {len(table) / (fitted - began):,.0f} fitted, "
          f"{len(table) / (judged - fitted):,.0f} judged")  # fmt: skip


if __name__ == "__main__":
    main()
