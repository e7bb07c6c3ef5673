"""Does the score agree with graders, and does it beat length?    python -m benchmarks.graders

Alpaca's rows that a Claude grader liked (AlpaGasus) and those of the highest instruction-following
difficulty (Cherry LLM), each against 9,229 random ones ($WINNOW_DATA/instructions): the chance that
a chosen row has the higher value (AUC), with a 90% bootstrap interval over rows. Rows that both
files hold are left out of the random ones.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.analyze.audit import MEASURES, auc
from winnow.records import content_hash
from winnow.score import QualityScorer

DATA = Path(os.environ["WINNOW_DATA"])
CHOSEN = {"claude_t45": "a Claude grader", "cherry_5pct": "difficulty (IFD)"}
RESAMPLES = 500


def read(name: str) -> dict[str, dict[str, str]]:
    """Rows by content hash."""
    rows = pq.read_table(DATA / f"instructions/alpaca_{name}.parquet").to_pylist()
    parts = ("instruction", "input", "response")
    return {content_hash(*(row[part] for part in parts)): row for row in rows}


def main() -> None:
    """Print a table a choice."""
    scorer, dice = QualityScorer(DATA / "tokenizers/gpt2"), np.random.default_rng(0)
    for name, grader in CHOSEN.items():
        chosen, random = read(name), read("random_9k")
        rest = [row for key, row in random.items() if key not in chosen]
        rows = [*chosen.values(), *rest]
        scored = scorer.score_batch(pa.RecordBatch.from_pylist(rows))
        positive = np.arange(len(rows)) < len(chosen)
        draws = [dice.integers(0, len(rows), len(rows)) for _ in range(RESAMPLES)]
        print(f"{grader}: {len(chosen):,} chosen, {len(rest):,} random")
        for measure in (*MEASURES, "num_tokens"):
            values = scored[measure].to_numpy().astype(np.float64)
            found = [auc(values[draw], positive[draw]) for draw in draws]
            low, high = np.quantile(np.array(found, np.float64), (0.05, 0.95))
            print(f"  {measure:18}{auc(values, positive):.3f}  ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
