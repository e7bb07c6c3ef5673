"""The audits against plain counts, and a score whose faults are planted."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.analyze.audits.length_audit import LengthAudit, length_audit, title
from winnow.analyze.audits.planted_truth import auc
from winnow.analyze.audits.score_audit import score_audit
from winnow.analyze.audits.script_audit import script_audit
from winnow.analyze.ranks import rank_correlation
from winnow.analyze.report import figures
from winnow.analyze.report.values import plain
from winnow.core.records import DIMENSIONS


def test_the_audit_finds_a_score_that_is_only_length() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 5000, 500)
    clarity = np.log1p(lengths) / 10
    columns = {name: generator.random(500) for name in DIMENSIONS} | {"clarity": clarity}
    pool = pa.table(
        columns
        | {
            "score": clarity,
            "num_tokens": lengths,
            "hash": [f"{i:04}" for i in generator.permutation(500)],
            "source": ["short" if length < 2500 else "long" for length in lengths],
        }
    )
    length = plain(length_audit(pool))
    assert length["top_among_longest"] == 1 and length["explained"] == pytest.approx(1)
    assert length["top_that_stays_without_length"] is None
    assert length["reasons"]["rank_correlation_without_length"] == "length explains all of it"
    found = plain(score_audit(pool))
    assert found["score"]["variance_between_sources"] > 0.3
    assert found["diversity"]["variance_between_sources"] < 0.05
    assert found["score"]["rank_correlation_with_length"] == pytest.approx(1)
    # The score here is clarity alone, so without a dimension that it lacks its top is another.
    assert found["diversity"]["top_that_changes_without_it"] > 0
    assert found["score"]["top_that_changes_without_it"] is None
    shuffled = pool.take(generator.permutation(500))
    again = plain(length_audit(shuffled))
    assert again.pop("reasons") == length.pop("reasons")
    assert again == pytest.approx(length)


def test_the_audit_finds_what_is_left_of_a_score_without_length() -> None:
    generator = np.random.default_rng(0)
    lengths, merit = generator.integers(1, 5000, 2000), generator.random(2000)
    pool = {"num_tokens": lengths, "hash": [f"{i:04}" for i in generator.permutation(2000)]}
    found = [
        plain(length_audit(pa.table(pool | {"score": merit + weight * np.log1p(lengths)})))
        for weight in (0, 0.1, 1)
    ]
    stays = [row["top_that_stays_without_length"] for row in found]
    agrees = [row["rank_correlation_without_length"] for row in found]
    assert stays[0] > 0.95 and stays[0] > stays[1] > stays[2] > 0.1
    assert agrees[0] > 0.999 and agrees[0] > agrees[1] > agrees[2] > 0
    residual = merit + np.polyval(np.polyfit(np.log1p(lengths), -merit, 1), np.log1p(lengths))
    wanted = rank_correlation(residual, merit + np.log1p(lengths))
    assert agrees[2] == pytest.approx(wanted)
    same = plain(length_audit(pa.table(pool | {"score": np.ones(2000)})))
    assert same["rank_correlation_without_length"] is None and len(same["reasons"]) == 3


def test_rows_in_other_scripts_are_counted() -> None:
    rows = {
        "instruction": ["Say it", "说", "Скажи", "Sag’s — “bitte”", "Translate 说"],
        "response": ["naïve café", "好", "да", "1 + 1 = 2", "to speak"],
    }
    assert script_audit(pa.table(rows)) == {"share_not_latin": 2 / 5}
    assert script_audit(pa.table(rows).slice(0, 1)) == {"share_not_latin": 0}


def test_the_audit_is_drawn_with_what_is_not_defined(tmp_path: Path) -> None:
    row = dict.fromkeys(figures.AUDITED, 0.25) | {"rank_correlation_with_length": -0.5}
    found = {"score": row | {"top_that_changes_without_it": None}, "clarity": row}
    length = LengthAudit(
        share=0.1,
        top_among_longest=0.4,
        explained=0.2,
        top_that_stays_without_length=0.0,
        rank_correlation_without_length=0.1,
    )
    drawing = figures.score_audit(found, title(length))
    assert drawing.title == (
        "40% of the score's top tenth are among the longest tenth (by chance 10%); length explains "
        "20% of its variance, and without it 0% stay on top"
    )
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawing.svg())
    assert texts.count("25%") == 5 and texts.count("–") == 1 and texts.count("−0.50") == 2
    assert {"score", "clarity", "Rank correlation"} <= set(texts)
    drawing.save_png(tmp_path / "audit.png", "of nothing")


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_auc_counts_pairs(rows: list[tuple[int, bool]]) -> None:
    values = np.array([value for value, _ in rows], dtype=float)
    positive = np.array([flag for _, flag in rows])
    pairs = [(a > b) + (a == b) / 2 for a in values[positive] for b in values[~positive]]
    found = auc(values, positive)
    assert found == pytest.approx(sum(pairs) / len(pairs)) if pairs else found is None


def test_rank_correlation() -> None:
    values = np.array([1.0, 2, 3, 4])
    assert rank_correlation(values, values**3) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)
    assert rank_correlation(values, np.ones(4)) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=60))
def test_the_rank_correlation_is_that_of_centred_ranks(pairs: list[tuple[int, int]]) -> None:
    def centred(values: tuple[int, ...]) -> np.ndarray:
        below = [sum(other < value for other in values) for value in values]
        equal = [sum(other == value for other in values) for value in values]
        return np.array(below) + np.array(equal) / 2 - len(values) / 2

    a, b = map(centred, zip(*pairs, strict=True))
    one, other = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    found = rank_correlation(one, other)
    if not a.any() or not b.any():
        assert found is None
    else:
        np.testing.assert_allclose(found, a @ b / np.sqrt((a @ a) * (b @ b)), rtol=0, atol=1e-12)
