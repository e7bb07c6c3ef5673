"""Mixtures: weights that are declared, changed or drawn; caps; scores and controls by source.

pytest tests/select/test_mixture.py
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TINY, change, corpus, make_until, write_jsonl

from winnow.core.errors import Refusal
from winnow.core.experiments import Tier, resolve_one
from winnow.select import stage, tiers
from winnow.select.compact import compact
from winnow.select.rules.mixture import capped, quotas

SIZES = {"a": 60, "b": 30, "c": 10}
LENGTHS = {"a": 10, "b": 20, "c": 40}
BASE = {"a": 0.5, "b": 0.3, "c": 0.2}


def table() -> pd.DataFrame:
    """A hundred rows of three sources, each with a length and a level of scores of its own."""
    sources = [name for name, size in SIZES.items() for _ in range(size)]
    levels = {"a": 0.1, "b": 0.5, "c": 0.8}
    return pd.DataFrame(
        {
            "id": [f"x:{n}" for n in range(100)],
            "hash": [f"{n * 7919 % 104729:06}" for n in range(100)],
            "source": sources,
            "score": [levels[source] + n / 1000 for n, source in enumerate(sources)],
            "num_tokens": [LENGTHS[source] + n % 3 for n, source in enumerate(sources)],
            "num_response_words": 5,
        }
    )


def cuts(rows: pd.DataFrame | None = None, **named: dict[str, Any]) -> tiers.Cuts:
    base = {"base_20": {"rule": "mixture", "weights": BASE, "count": 20}}
    declared = {name: Tier(**tier, recipe="r") for name, tier in (base | named).items()}
    column = pa.Table.from_pandas(table() if rows is None else rows).column
    return tiers.Cuts(declared, compact(column, stage.COUNTS), 0)


def sources(found: tiers.Cuts, name: str, seed: int = 0) -> dict[str, int]:
    return dict(Counter(found.scores.loc[found.rows(name, seed), "source"]))


def test_a_source_is_left_out_and_another_added_at_the_same_size() -> None:
    found = cuts(
        no_a_20={"rule": "mixture", "of": "base_20", "without": "a"},
        only_a_20={"rule": "source", "sources": ("a",), "count": 20},
        a_and_c_20={"rule": "mixture", "of": "only_a_20", "plus": {"c": 0.25}},
        more_c_20={"rule": "mixture", "of": "base_20", "plus": {"c": 0.5}, "repeat": 1},
    )
    assert sources(found, "base_20") == {"a": 10, "b": 6, "c": 4}
    assert sources(found, "no_a_20") == {"b": 12, "c": 8}
    assert sources(found, "a_and_c_20") == {"a": 15, "c": 5}
    # 0.5 and half of 0.2 are 12 rows of c, which has 10: the others give two more.
    assert sources(found, "more_c_20") == {"a": 6, "b": 4, "c": 10}
    assert found.ledgers["more_c_20/0"]["c"] == {
        "weight": pytest.approx(0.6),
        "wanted": 12,
        "rows": 10,
        "different": 10,
        "tokens": table()[lambda rows: rows.source == "c"].num_tokens.sum(),
    }
    both = {*found.rows("base_20")} & {*found.rows("no_a_20")}
    assert len(both) == 10, "what both have of a source are the same rows"


def test_tokens_are_shared_where_tokens_are_meant() -> None:
    found = cuts(
        tokens_40={"rule": "mixture", "weights": BASE, "unit": "tokens", "count": 40},
    )
    said = found.rows("tokens_40").size and found.ledgers["tokens_40/0"]
    tokens = {source: one["tokens"] for source, one in said.items()}
    for source, weight in BASE.items():
        # To half a row: a source gives whole ones.
        assert abs(tokens[source] - weight * sum(tokens.values())) < LENGTHS[source]
    assert said["a"]["rows"] > 2 * said["b"]["rows"] > 4 * said["c"]["rows"]


def test_rows_repeat_up_to_the_cap_and_all_before_any_again() -> None:
    weights = {"b": 0.1, "c": 0.9}
    found = cuts(
        thrice_30={"rule": "mixture", "weights": weights, "count": 30, "repeat": 3},
        twice_30={"rule": "mixture", "weights": weights, "count": 30, "repeat": 2},
        huge_300={"rule": "mixture", "weights": BASE, "count": 300, "repeat": 2},
    )
    rows = found.rows("thrice_30")
    assert sources(found, "thrice_30") == {"b": 3, "c": 27}
    counts = Counter(rows[found.scores.loc[rows, "source"] == "c"])
    assert sorted(counts.values()) == [2] * 3 + [3] * 7
    assert rows[:13].is_unique and found.ledgers["thrice_30/0"]["c"]["different"] == 10
    assert sources(found, "twice_30") == {"b": 10, "c": 20}
    with pytest.raises(Refusal, match="tier huge_300 wants 300 rows, the curated pool has 100"):
        found.size("huge_300")


def test_weights_are_drawn_by_seed_and_number_and_cover_the_simplex() -> None:
    named = {
        f"draw{n}_30": {"rule": "mixture", "draw": n, "count": 30, "repeat": 9} for n in range(40)
    }
    found = cuts(**named)
    mixed = cuts(table().sample(frac=1, random_state=1).reset_index(drop=True), **named)
    shares = []
    for name in named:
        for seed in range(3):
            draw = f"{name}/{seed}"
            assert sources(found, name, seed) == sources(mixed, name, seed)
            shares.append([found.ledgers[draw][source]["weight"] for source in "abc"])
    drawn = np.array(shares)
    assert np.allclose(drawn.sum(axis=1), 1) and len(np.unique(drawn[:, 0])) == 120
    # A flat Dirichlet of three: each share has mean 1/3 and variance 1/18.
    assert np.allclose(drawn.mean(axis=0), 1 / 3, atol=4 * (1 / 18 / 120) ** 0.5)
    assert np.allclose(drawn.var(axis=0), 1 / 18, rtol=0.4)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50), min_size=1),
    st.integers(1, 200),
    st.lists(st.integers(0, 60), min_size=6, max_size=6),
)
def test_a_cap_is_kept_and_nothing_is_lost(
    parts: dict[str, int], number: int, most: list[int]
) -> None:
    weights = {source: part / sum(parts.values()) for source, part in parts.items()}
    limits = dict(zip("abcdef", most, strict=True))
    if sum(limits[source] for source in weights) < number:
        with pytest.raises(Refusal, match="raise repeat"):
            capped(weights, number, limits)
        return
    rows = capped(weights, number, limits)
    assert sum(rows.values()) == number and all(rows[source] <= limits[source] for source in rows)
    free = [source for source in weights if rows[source] < limits[source]]
    for one in free:  # those that are not full keep their ratio, to a row
        for other in free:
            assert abs(rows[one] - rows[other] * weights[one] / weights[other]) <= 1 + (
                weights[one] / weights[other]
            )
    if rows == quotas(weights, number):
        assert all(quotas(weights, number)[source] <= limits[source] for source in rows)


@pytest.mark.parametrize(
    ("tier", "message"),
    [
        ({"of": "base_20", "without": "z"}, "no row of base_20 is of source 'z'"),
        ({"of": "base_20", "plus": {"z": 0.5}}, "no row is of source 'z'"),
        ({"of": "only_c_5", "without": "c"}, "all rows of only_c_5 are of source 'c'"),
        ({"weights": {"c": 1.0}, "count": 20}, "wants 20 rows, it may choose from 10"),
    ],
)
def test_what_cannot_be_mixed_is_refused(tier: dict[str, Any], message: str) -> None:
    only = {"rule": "source", "sources": ("c",), "count": 5}
    with pytest.raises(Refusal, match=f"tier mine_20.*{message}"):
        cuts(mine_20={"rule": "mixture"} | tier, only_c_5=only).rows("mine_20")


def test_the_best_rows_of_each_source_and_their_control() -> None:
    named = {
        "top_20": {"rule": "top", "count": 20},
        "each_20": {"rule": "top", "count": 20, "by_source": True},
        "like_20": {"rule": "matched", "of": "top_20", "by_source": True},
        "lengths_20": {"rule": "matched", "of": "top_20"},
    }
    found = cuts(**named)
    # By score alone the top is a mixture in disguise: the best source, then the next.
    assert sources(found, "top_20") == {"c": 10, "b": 10} == sources(found, "like_20")
    assert sources(found, "each_20") == {"a": 12, "b": 6, "c": 2}
    scores = found.scores.loc[found.rows("each_20"), "score"]
    assert scores.is_monotonic_decreasing
    for _, rows in found.scores.groupby("source"):
        chosen = scores[rows.index.intersection(scores.index)]
        assert chosen.min() >= rows["score"].nlargest(len(chosen)).min()
    assert {*found.rows("like_20", 0)} != {*found.rows("like_20", 1)}


@pytest.mark.parametrize(
    ("tier", "message"),
    [
        ({"rule": "random", "count": 40, "repeat": 2}, "neither unit nor repeat"),
        ({"rule": "random", "count": 40, "by_source": True}, "by_source: expected nothing for"),
        ({"rule": "mixture", "of": "low_40"}, "without: <source>`; or .*found .of"),
        ({"rule": "mixture", "of": "low_40", "plus": {"a": 1.0}}, "add up to less than 1"),
        ({"rule": "mixture", "count": 40}, "`draw: <number>` and a count"),
    ],
)
def test_a_mixture_that_is_declared_wrong_is_refused(
    project: Path, tier: dict[str, Any], message: str
) -> None:
    low = {"low_40": {"rule": "bottom", "count": 40, "recipe": "quick"}}
    declared: Any = TINY["select"]
    change(
        project,
        "select.tiers",
        declared["tiers"] | low | {"mine_40": tier | {"recipe": "quick"}},
    )
    with pytest.raises(Refusal, match=message):
        resolve_one("mine_40_tiny")


def test_repeated_rows_are_saved_and_accounted_for(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = corpus(160)
    write_jsonl(project / "data/a.jsonl", rows[:130])
    write_jsonl(project / "data/b.jsonl", rows[130:])
    named = {
        "mix_60": {"rule": "mixture", "weights": {"a": 0.2, "b": 0.8}, "count": 60, "repeat": 2},
        "no_b_60": {"rule": "mixture", "of": "mix_60", "without": "b", "repeat": 2},
    }
    declared: Any = TINY["select"]
    tiers_ = declared["tiers"] | {name: tier | {"recipe": "quick"} for name, tier in named.items()}
    change(project, "select.tiers", tiers_)
    make_until("select", "mix_60_tiny", "no_b_60_tiny")
    told = json.loads((project / "artifacts/select/statistics.json").read_text())
    one = told["mix_60/1"]
    assert one["num_rows"] == 60 == sum(part["rows"] for part in one["components"].values())
    assert (
        one["components"]["b"]["rows"] == one["sources"]["b"] > one["components"]["b"]["different"]
    )
    assert sum(part["tokens"] for part in one["components"].values()) == one["num_tokens"]
    assert told["no_b_60/0"]["sources"] == {"a": 60}
    assert "of them different" in capsys.readouterr().out
