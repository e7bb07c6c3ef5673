"""Weighted sums, and the documented composite with phi whose ranges are stated.

pytest tests/score/test_composite.py
"""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tiny import TINY, write_params

from winnow.core import params
from winnow.core.errors import Refusal
from winnow.score.corpus import Corpus
from winnow.score.params import ScoreConfig
from winnow.score.scorers.composite import Composite

TABLE = pa.table({"a": [1.0, 2.0, 2.0, 9.0], "b": [0.5, None, 1.0, 0.0], "c": [5, 0, 4, 5]})
CORPUS = Corpus(Path("none"), {"train": TABLE})
(ROWS,) = TABLE.to_batches()


def test_weights_are_of_ranks_in_the_pool_or_of_numbers() -> None:
    ranked = Composite(weights={"a": 2.0, "c": -1.0}).prepare(CORPUS)(ROWS)
    a, c = (1 / 8, 4 / 8, 4 / 8, 7 / 8), (6 / 8, 1 / 8, 3 / 8, 6 / 8)
    assert ranked == pytest.approx([2 * x - y for x, y in zip(a, c, strict=True)])
    plain = Composite(weights={"a": 2.0, "b": -1.0}, scale="none").prepare(CORPUS)(ROWS)
    assert plain == [1.5, "no b", 3.0, 18.0]


def test_phi_meets_its_target_only_on_a_longer_scale() -> None:
    phi, parts = 1.618033988749895, {"data": ("c", "b"), "instruction": ("b",), "other": ("b", "b")}
    declared: Any = {"parts": parts, "ranges": {"c": (0.0, 5.0)}}
    ready = Composite(**declared).prepare(CORPUS)
    assert ready(ROWS) == [
        pytest.approx(phi * (0.5 + 0.5 + 0.25) / 3),
        "no b",
        pytest.approx(phi * (0.8 + 1 + 1) / 3),
        0.0,
    ]
    notes = ready.notes()
    assert notes["maximum"] == pytest.approx(phi) and not notes["target_can_be_met"]
    assert notes["target"] == pytest.approx(phi**2) == pytest.approx(2.618, abs=1e-3)
    literal = Composite(**declared, literal=True).prepare(CORPUS)
    assert literal(ROWS)[2] == pytest.approx(phi * (4 + 1 + 1) / 3)
    notes = literal.notes()
    assert notes["maximum"] == pytest.approx(phi * 7 / 3) and notes["target_can_be_met"]
    assert notes["rows_above_target"] == 1 and notes["ranges"] == {"c": [0, 5], "b": [0, 1]}
    with pytest.raises(Refusal, match=r"ranges.c: c is said to be in \[0, 1\], found 5: state its"):
        Composite(parts=parts).prepare(CORPUS)(ROWS)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "[0] composite.weights: expected weights or parts, one of them"),
        (
            {"weights": {"x": 1}},
            "[0] composite: no scorer before it makes a column 'x', but clarity",
        ),
        ({"weights": {"clarity": "much"}}, "[0] composite.weights.clarity: expected a number"),
        ({"parts": {"d": []}}, "[0] composite.parts: expected columns of every part"),
        (
            {"parts": {"d": ["clarity"]}, "ranges": {"clarity": [1, 0]}},
            "[0] composite.ranges.clarity: expected [lowest, highest], found [1.0, 0.0]",
        ),
    ],
)
def test_a_composite_of_nothing_is_refused(project: Path, keys: Any, message: str) -> None:
    write_params(project, TINY | {"score": {"scorers": [{"name": "composite", **keys}]}})
    with pytest.raises(Refusal, match=re.escape(f"params.yaml: score.scorers{message}")):
        params.load("score", ScoreConfig).check()
