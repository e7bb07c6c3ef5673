"""Tiers and controls: right rows whatever their order, refusals before work, safe spreadsheets."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import load_from_disk
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY, change, make_until, write_jsonl

from winnow.core.errors import Refusal
from winnow.core.experiments import Tier
from winnow.select import draws, stage, tiers
from winnow.select.compact import compact
from winnow.select.rules.diverse import farthest_first
from winnow.select.rules.mixture import quotas

TIERS = {
    "top_10": Tier(rule="top", count=10, recipe="r"),
    "low_10": Tier(rule="bottom", count=10, recipe="r"),
    "longest_10": Tier(rule="longest", count=10, recipe="r"),
    "random_10": Tier(rule="random", count=10, recipe="r"),
    "matched_10": Tier(rule="matched", of="top_10", recipe="r"),
    "top_50pct": Tier(rule="top", share=0.5, recipe="r"),
}


def pool(scores: list[float], lengths: list[int] | None = None) -> pd.DataFrame:
    number = len(scores)
    lengths = lengths or list(range(number))
    return pd.DataFrame(
        {
            "id": [f"x:{n}" for n in range(number)],
            "hash": [f"{n * 7919 % 104729:06}" for n in range(number)],
            "source": "x",
            "score": scores,
            "num_tokens": lengths,
            "num_response_words": lengths,
        }
    )


def cuts_of(named: dict[str, Tier], table: pd.DataFrame, seed: int) -> tiers.Cuts:
    return tiers.Cuts(named, compact(pa.Table.from_pandas(table).column, stage.COUNTS), seed)


POOLS = st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.integers(1, 40)), min_size=10, max_size=80
)


@settings(max_examples=60, deadline=None)
@given(POOLS, st.randoms(use_true_random=False))
def test_rules_hold_for_any_order_of_rows(rows, random) -> None:  # type: ignore[no-untyped-def]
    table = pool([score for score, _ in rows], [length for _, length in rows])
    order = list(range(len(rows)))
    random.shuffle(order)
    mixed = table.iloc[order].reset_index(drop=True)
    for name in TIERS:
        ids = table.loc[cuts_of(TIERS, table, 0).rows(name), "id"].tolist()
        again = mixed.loc[cuts_of(TIERS, mixed, 0).rows(name), "id"].tolist()
        assert sorted(ids) == sorted(again)
        assert len(set(ids)) == len(ids) == cuts_of(TIERS, table, 0).size(name)
    slow = sorted(table.itertuples(), key=lambda row: (-row.score, row.hash, row.id))[:10]
    assert table.loc[cuts_of(TIERS, table, 0).rows("top_10"), "id"].tolist() == [r.id for r in slow]
    low = table.loc[cuts_of(TIERS, table, 0).rows("low_10"), "score"].max()
    assert low <= table["score"].sort_values().iloc[9]


def test_a_matched_control_has_the_tiers_lengths_but_not_its_scores() -> None:
    dice = np.random.default_rng(0)
    lengths = dice.integers(5, 400, 5000)
    scores = lengths / 400 + dice.normal(0, 0.2, 5000)
    table = pool(scores.tolist(), lengths.tolist())
    named = {
        "top_500": Tier(rule="top", count=500, recipe="r"),
        "matched_500": Tier(rule="matched", of="top_500", recipe="r"),
    }
    top, matched = (table.loc[cuts_of(named, table, 0).rows(name)] for name in named)
    assert abs(top["num_tokens"].mean() / matched["num_tokens"].mean() - 1) < 0.01
    quantiles = np.linspace(0.05, 0.95, 10)
    gap = top["num_tokens"].quantile(quantiles) - matched["num_tokens"].quantile(quantiles)
    assert gap.abs().max() < 8
    assert matched["score"].mean() < top["score"].mean() - 0.1


SOURCES = st.lists(st.sampled_from("abc"), min_size=30, max_size=90).filter(
    lambda sources: all(sources.count(name) >= 8 for name in "abc")
)


@settings(max_examples=60, deadline=None)
@given(SOURCES, st.randoms(use_true_random=False))
def test_sources_and_mixtures_hold_for_any_order(sources, random) -> None:  # type: ignore[no-untyped-def]
    table = pool([0.5] * len(sources)).assign(source=sources)
    mixed = table.sample(frac=1, random_state=random.randrange(2**32)).reset_index(drop=True)
    weights = {"a": 0.5, "b": 0.3, "c": 0.2}
    named = {
        "ab_4": Tier(rule="source", sources=("a", "b"), count=4, recipe="r"),
        "ab_9": Tier(rule="source", sources=("b", "a"), count=9, recipe="r"),
        "ab_100pct": Tier(rule="source", sources=("a", "b"), share=1.0, recipe="r"),
        "mix_5": Tier(rule="mixture", weights=weights, count=5, recipe="r"),
        "mix_10": Tier(rule="mixture", weights=weights, count=10, recipe="r"),
        "matched_10": Tier(rule="matched", of="mix_10", recipe="r"),
    }
    rows = {name: table.loc[cuts_of(named, table, 0).rows(name)] for name in named}
    for name in named:
        other = mixed.loc[cuts_of(named, mixed, 0).rows(name), "id"]
        assert rows[name]["id"].tolist() == other.tolist() or name == "matched_10"
        assert rows[name]["id"].is_unique
    assert set(rows["ab_9"]["source"]) <= {"a", "b"}
    assert set(rows["ab_4"]["id"]) <= set(rows["ab_9"]["id"])
    assert len(rows["ab_100pct"]) == sources.count("a") + sources.count("b")
    assert rows["mix_10"]["source"].value_counts().to_dict() == {"a": 5, "b": 3, "c": 2}
    assert set(rows["mix_5"]["id"]) <= set(rows["mix_10"]["id"])
    assert len(rows["matched_10"]) == 10


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=9), st.integers(0, 10**6))
def test_quotas_are_the_nearest_whole_shares(parts: list[int], number: int) -> None:
    weights = {f"s{place}": part / sum(parts) for place, part in enumerate(parts)}
    rows = quotas(weights, number)
    assert sum(rows.values()) == number
    assert all(abs(rows[name] - weight * number) < 1 + 1e-5 for name, weight in weights.items())
    assert quotas(dict(reversed(weights.items())), number) == rows


def test_a_share_that_is_whole_but_for_rounding_is_met() -> None:
    assert 0.07 * 100 > 7 and quotas({"a": 0.07, "b": 0.93}, 100) == {"a": 7, "b": 93}


@pytest.mark.parametrize(
    ("tier", "message"),
    [
        ({"rule": "source", "sources": ("d",)}, "tier x_8: no row is of source 'd': .* are a, b"),
        ({"rule": "source", "sources": ("b",)}, "tier x_8 wants 8 rows, it may choose from 5"),
        (
            {"rule": "mixture", "weights": {"a": 0.25, "b": 0.75}},
            "tier x_8: its weights ask for 6 rows of source 'b', which has 5: lower",
        ),
    ],
)
def test_a_source_without_rows_enough_is_refused(tier: dict[str, Any], message: str) -> None:
    table = pool([0.5] * 20).assign(source=["a"] * 15 + ["b"] * 5)
    with pytest.raises(Refusal, match=message):
        cuts_of({"x_8": Tier(**tier, count=8, recipe="r")}, table, 0).rows("x_8")


def test_another_seed_draws_other_rows() -> None:
    dice = np.random.default_rng(0)
    table = pool(dice.random(200).tolist(), dice.integers(1, 9, 200).tolist())
    one, two = (cuts_of(TIERS, table, seed) for seed in (0, 1))
    for name in ("random_10", "matched_10"):
        draws = [one.rows(name, 0), one.rows(name, 1), two.rows(name, 0), two.rows(name, 1)]
        assert len({frozenset(draw) for draw in draws}) == 4
    for name in ("top_10", "low_10", "longest_10", "top_50pct"):
        assert one.rows(name, 0).equals(one.rows(name, 1))


def test_a_part_is_drawn_from_its_tier_anew_for_each_seed() -> None:
    dice = np.random.default_rng(0)
    table = pool(dice.random(400).tolist(), dice.integers(5, 50, 400).tolist())
    named = {
        "top_200": Tier(rule="top", count=200, recipe="r"),
        "matched_200": Tier(rule="matched", of="top_200", recipe="r"),
        "all_100pct": Tier(rule="random", share=1.0, recipe="r"),
        "top_12.5pct": Tier(rule="part", of="top_200", share=0.125, recipe="r"),
        "matched_25": Tier(rule="part", of="matched_200", count=25, recipe="r"),
        "all_12.5pct": Tier(rule="part", of="all_100pct", share=0.125, recipe="r"),
        "top_9pct": Tier(rule="part", of="top_200", share=0.09, recipe="r"),
        "top_300": Tier(rule="part", of="top_200", count=300, recipe="r"),
    }
    cuts = cuts_of(named, table, 0)
    mixed = table.sample(frac=1, random_state=1).reset_index(drop=True)
    other = cuts_of(named, mixed, 0)
    for name, of, number in (
        ("top_12.5pct", "top_200", 25),
        ("matched_25", "matched_200", 25),
        ("all_12.5pct", "all_100pct", 50),
    ):
        draws = [frozenset(cuts.rows(name, seed)) for seed in (0, 1)]
        assert len({*draws}) == 2 and cuts.size(name) == number
        for seed, rows in enumerate(draws):
            assert len(rows) == number and rows <= {*cuts.rows(of, seed)}
        ids = table.loc[cuts.rows(name, 1), "id"].tolist()
        assert ids == mixed.loc[other.rows(name, 1), "id"].tolist()
    with pytest.raises(Refusal, match="tier top_9pct: 18 rows of top_200 are too few to stand for"):
        cuts.rows("top_9pct")
    with pytest.raises(Refusal, match="tier top_300 wants 300 rows, it may choose from 200"):
        cuts.size("top_300")


def test_a_control_of_a_draw_is_of_the_same_seeds_draw() -> None:
    table = pool([0.5] * 400, list(range(400)))
    named = {
        "random_10": Tier(rule="random", count=10, recipe="r"),
        "matched_10": Tier(rule="matched", of="random_10", recipe="r"),
    }
    cuts = cuts_of(named, table, 0)
    for seed in (0, 1):
        lengths = table.loc[cuts.rows("random_10", seed), "num_tokens"]
        drawn = table.loc[cuts.rows("matched_10", seed), "num_tokens"]
        assert lengths.min() <= drawn.min() and drawn.max() <= lengths.max()
        assert abs(drawn.mean() - lengths.mean()) < 20


def test_a_tier_larger_than_the_pool_is_refused_with_both_numbers(project: Path) -> None:
    make_until("score")
    with pytest.raises(ValueError, match=r"tier huge_9k wants 9000 rows, the curated pool has 120"):
        stage.run(["huge_9k_tiny"])
    assert not (project / "artifacts/select").exists()


def test_what_is_saved(project: Path) -> None:
    make_until("select", "random_30_tiny", "all_100pct_tiny")
    out = project / "artifacts/select"
    tier, random = load_from_disk(out / "high_40"), load_from_disk(out / "random_30/0")
    assert tier["train"].num_rows == 40 and random["train"].num_rows == 30
    assert tier["validation"].to_list() == random["validation"].to_list()
    rows = list(csv.DictReader((out / "high_40_scores.csv").open()))
    assert list(rows[0]) == [
        "idx",
        "id",
        "score",
        "clarity",
        "response_quality",
        "diversity",
        "complexity",
    ]
    assert [row["id"] for row in rows] == tier["train"]["id"]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    statistics = json.loads((out / "statistics.json").read_text())
    found = statistics["high_40"]
    assert found["min"] == min(scores) and found["max"] == max(scores)
    assert found["mean"] == pytest.approx(np.mean(scores)) and found["std"] == pytest.approx(
        np.std(scores)
    )
    assert statistics["all_100pct"]["num_rows"] == 120 and statistics["all_100pct"]["share"] == 1
    assert (out / "histogram.png").stat().st_size > 1000
    card = (out / "card.json").read_bytes()
    make_until("select", "random_30_tiny", "all_100pct_tiny")
    assert (out / "card.json").read_bytes() == card


def test_every_seed_has_its_own_control_which_another_seed_leaves_alone(project: Path) -> None:
    make_until("select", "random_30_tiny")
    out = project / "artifacts/select"
    statistics = json.loads((out / "statistics.json").read_text())
    draws = [f"{tier}/{seed}" for tier in ("matched_40", "random_30") for seed in (0, 1)]
    assert set(statistics) == {"high_40", *draws}
    for draw in draws:
        saved = load_from_disk(out / draw)
        with (out / f"{draw}_scores.csv").open() as file:
            assert [row["id"] for row in csv.DictReader(file)] == saved["train"]["id"]
        hashes = "".join(saved["train"]["hash"])
        assert statistics[draw]["sha256"] == hashlib.sha256(hashes.encode()).hexdigest()
        assert saved["validation"].num_rows == 20
    assert len({one["sha256"] for one in statistics.values()}) == 5
    arms = {name: out / f"experiments/{name}_40_tiny.json" for name in ("high", "matched")}
    data = json.loads(arms["matched"].read_text())["data"]
    assert data == {draw: statistics[draw] for draw in draws[:2]}
    high = arms["high"].read_bytes()
    before = json.loads((out / "card.json").read_text())["files"]
    change(project, "seeds", [1, 2, 0])
    stage.run(["random_30_tiny"])
    after = json.loads((out / "card.json").read_text())["files"]
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"experiments/{n}_tiny.json" for n in ("matched_40", "random_30")} | {
        "statistics.json",
        "histogram.png",
    }
    assert {name.split("/")[1][0] for name in after.keys() - before.keys()} == {"2"}
    assert arms["high"].read_bytes() == high


def test_a_part_of_a_tier_is_declared_and_saved(project: Path) -> None:
    part = {"rule": "part", "of": "matched_40", "share": 0.5, "recipe": "quick"}
    change(project, "select.tiers", TINY["select"]["tiers"] | {"mine_50pct": part})  # type: ignore[index]
    make_until("select", "mine_50pct_tiny")
    out = project / "artifacts/select"
    statistics = json.loads((out / "statistics.json").read_text())
    for seed in (0, 1):
        rows, whole = (
            {*load_from_disk(out / f"{tier}/{seed}")["train"]["id"]}
            for tier in ("mine_50pct", "matched_40")
        )
        assert len(rows) == 20 and rows < whole
        assert statistics[f"mine_50pct/{seed}"]["overlap_with_of"] == 1


def test_another_order_of_the_corpus_gives_the_same_tiers(project: Path) -> None:
    change(project, "select.tiers.diverse_20", {"rule": "diverse", "count": 20, "recipe": "quick"})

    def found() -> dict[str, list[str]]:
        make_until("select", "random_30_tiny", "all_100pct_tiny", "diverse_20_tiny")
        tiers = (project / "artifacts/select").rglob("dataset_dict.json")
        return {
            str(path.parent): sorted(load_from_disk(path.parent)["train"]["hash"]) for path in tiers
        }

    lines = (project / "data/a.jsonl").read_text().splitlines(keepends=True)
    one = found()
    np.random.default_rng(0).shuffle(lines)
    (project / "data/a.jsonl").write_text("".join(lines))
    assert found() == one and len(one) == 7
    root = f"{project}/artifacts/select"
    assert {*one[f"{root}/diverse_20"]} < {*one[f"{root}/high_40"]}, "of twice as many best rows"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\0"])
def test_no_cell_is_a_formula(start: str) -> None:
    cells = draws.spreadsheet_safe(pa.array([f"{start}cmd()", "data/x.jsonl:1"]))
    assert cells.to_pylist() == [f"'{start}cmd()", "data/x.jsonl:1"]


def test_a_file_named_like_a_formula_is_inert(project: Path) -> None:
    (project / "data/a.jsonl").rename(project / "data/keep.jsonl")
    write_jsonl(project / "data/=cmd.jsonl", [])
    (project / "data/keep.jsonl").rename(project / "data/=cmd.jsonl")
    make_until("select")
    with (project / "artifacts/select/high_40_scores.csv").open() as file:
        assert all(row["id"].startswith("'=cmd") for row in csv.DictReader(file))


def test_scores_of_other_rows_are_refused(project: Path) -> None:
    """The two are matched by the places of rows, here as in evaluate and analyze."""
    make_until("score")
    shutil.copytree("artifacts/score", "older")
    change(project, "curate.steps", [{"name": "exact"}])
    make_until("score")
    shutil.rmtree("artifacts/score")
    Path("older").rename("artifacts/score")
    message = "artifacts/score was made of another artifacts/curate: run `winnow score` again"
    with pytest.raises(Refusal, match=message):
        stage.run([])


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_the_diverse_are_chosen_one_by_one_as_the_least_like_the_chosen(number, seed) -> None:  # type: ignore[no-untyped-def]
    vectors = np.random.default_rng(seed).integers(-3, 4, (30, 8)).astype(np.float32)
    chosen = [0]
    while len(chosen) < number:
        rest = [row for row in range(30) if row not in chosen]
        chosen.append(min(rest, key=lambda row: max(vectors[row] @ vectors[c] for c in chosen)))
    assert farthest_first(vectors, number).tolist() == chosen
