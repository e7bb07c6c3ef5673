"""What did ingest read, and what did each step of curation do?"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.analyze.study import SPLITS
from winnow.core import cards, files
from winnow.core.layout import CURATED, CURATION_METRICS, INGESTED, SCORED


def source_files() -> Mapping[str, object]:
    """What became of every file of the corpus: rows and reasons, or why it is not read."""
    card: Mapping[str, object] = files.read_json(INGESTED / cards.CARD)["source_files"]
    return card


def _totals(scores: pa.Table) -> np.ndarray:
    """The number of rows, their tokens, and the sum of their scores."""
    sums = [pc.sum(scores[name]).as_py() or 0 for name in ("num_tokens", "score")]
    return np.array([len(scores), *sums], dtype=np.float64)


def _amount(totals: np.ndarray) -> dict[str, object]:
    rows, tokens, score = totals
    mean = score / rows if rows else None
    return {"rows": int(rows), "tokens": int(tokens), "mean_score": mean}


def gains() -> list[dict[str, object]]:
    """Per step of the recipe: rows, tokens and mean score before it and after, and its seconds.

    Dropped rows are scored too.
    """
    steps = files.read_sealed(CURATION_METRICS, "winnow curate")["steps"]
    number = pq.read_table(CURATED / "dropped.parquet", columns=["step"])["step"]
    columns = ["num_tokens", "score"]
    dropped = pq.read_table(SCORED / "dropped.parquet", columns=columns)
    before = _totals(dropped)
    for split in SPLITS:
        before += _totals(pq.read_table(SCORED / f"{split}.parquet", columns=columns))
    rows = []
    for index, step in enumerate(steps):
        after = before - _totals(dropped.filter(pc.equal(number, index)))
        amounts = {"before": _amount(before), "after": _amount(after)}
        rows.append({"step": step["step"], "seconds": step["seconds"]} | amounts)
        before = after
    return rows


def warnings() -> list[str]:
    """What curation warned of."""
    sentences: list[str] = files.read_json(CURATED / cards.CARD)["warnings"]
    return sentences


def columns_not_used() -> dict[str, int]:
    """The columns of the corpus that rows have nothing of, by how many rows, the most first."""
    counts: dict[str, int] = files.read_json(INGESTED / cards.CARD)["columns_not_used"]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
