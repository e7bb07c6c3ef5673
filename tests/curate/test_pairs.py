"""Pairs that do not say which answer is better are dropped, and why is counted."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import make_until, write_pairs, write_params

from winnow.core import files
from winnow.core.errors import Refusal
from winnow.core.layout import CURATED
from winnow.core.records import KEPT, REJECTED
from winnow.curate.pairs import pairs

LONG = "the river runs north of the small house with the green paper lamp and a garden"
CASES = {
    ("yes it is", "", "1", "2"): None,
    ("yes it is", "no never", "2", "1"): None,
    ("Yes,  it is", "yes, IT is", "2", "1"): "tie: both answers are the same",
    (LONG, f"{LONG} now", "2", "1"): "both answers are nearly the same",
    ("yes", "no", "1", "1.0"): "tie: both answers have one score",
    ("yes", "no", "1", "2"): "the rejected answer is better",
    ("yes", "no", "", "2"): "an answer has no score",
    ("yes", "no", "nan", "2"): "an answer has no score",
}


def table() -> pa.Table:
    names = ("response", REJECTED, f"{KEPT}good", f"{KEPT}bad")
    return pa.table(dict(zip(names, zip(*CASES, strict=True), strict=True)))


def test_every_reason() -> None:
    rows = np.arange(len(CASES))
    verdict = pairs(table(), rows, threshold=0.8, scores=("good", "bad"))
    assert verdict.gone.tolist() == [at for at, why in enumerate(CASES.values()) if why]
    assert verdict.reasons == [why for why in CASES.values() if why]
    without = pairs(table(), rows[1:3], threshold=0.8)
    assert without.gone.tolist() == [2], "rows that are gone are not judged again"


def test_columns_that_are_not_there() -> None:
    for numbers, why in (
        ({"scores": ("good", "worst")}, "pairs: ingest kept no column 'worst'"),
        ({"scores": ("good",)}, "pairs.scores: expected two columns, found 1"),
    ):
        with pytest.raises(Refusal, match=why):
            pairs(table(), np.arange(3), threshold=0.8, **numbers)


def test_a_tier_of_pairs_takes_no_other_row(project: Path) -> None:
    params = write_pairs(project, every=3)
    params["select"]["tiers"]["pairs_40"] = {"rule": "pairs", "share": 0.5, "recipe": "quick"}
    params["select"]["tiers"]["pairs_50pct"] = params["select"]["tiers"].pop("pairs_40")
    params["experiments"] = ["pairs_50pct_tiny"]
    write_params(project, params)
    with (project / "data/a.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "Why?", "chosen": "So  it is.", "rejected": "so it is."}))
    make_until("select")
    dropped = pq.read_table(CURATED / "dropped.parquet").to_pylist()
    assert [row["reason"] for row in dropped] == ["tie: both answers are the same"]
    held = pq.read_table(CURATED / "train.parquet")[REJECTED].to_pylist()
    for seed in (0, 1):
        drawn = files.read_split(project / f"artifacts/select/pairs_50pct/{seed}/train")
        assert len(drawn) == round(sum(map(bool, held)) / 2) < len(held) / 4
        assert all(drawn[REJECTED].to_pylist())
