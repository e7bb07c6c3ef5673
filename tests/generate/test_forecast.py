"""What more shards bring: intervals, back-tests, targets, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.forecast import HEADS, ROWS, TAILS, UNIQUE, documented_counts, favourites
from winnow.core.files import dump
from winnow.generate import forecast
from winnow.generate.duplication import Corpus, measure
from winnow.generate.estimators import ESTIMATORS
from winnow.generate.figure import unique_rows
from winnow.generate.forecast import HEADLINE, Shards, back_tests, estimate, furthest_shards, need


def zipf(number: int, rows: int = 200, seed: int = 0) -> Shards:
    law = np.arange(1, 5001) ** -1.1
    labels = np.random.default_rng(seed).choice(len(law), number * rows, p=law / law.sum())
    return Shards.of(labels, np.repeat(np.arange(number), rows), number)


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=9), min_size=1, max_size=6))
def test_shards_hold_what_duplication_counts(shards: list[list[str]]) -> None:
    corpus = Corpus.of_shards([(str(place), texts) for place, texts in enumerate(shards)])
    codes = {text: code for code, text in enumerate("abcdefgh")}
    labels = np.array([codes[text] for text in corpus.instructions], np.int64)
    found, counted = Shards.of(labels, corpus.shard, len(shards)), measure(corpus, "exact")
    assert found.rows.tolist() == [brought.rows for brought in counted.yields]
    for place, brought in enumerate(counted.yields):
        assert found.first(place + 1).unique == brought.unique
    whole = found.first(len(shards))
    assert (whole[1], whole[2]) == (counted.once, counted.twice)


def test_an_interval_holds_its_value_and_the_same_seed_gives_the_same() -> None:
    shards = zipf(8)
    for name in ESTIMATORS:
        for more in (1, 16):
            found = estimate(shards, more, name)
            assert found.low is not None and found.high is not None
            rows = 200 * (8 + more)
            have = shards.first(8).unique
            assert have <= found.low < found.unique < found.high <= rows, (name, more)
            assert found == estimate(shards, more, name)
    assert estimate(shards, 16, seed=1) != estimate(shards, 16)


def test_fewer_than_four_shards_have_no_interval_and_it_is_said() -> None:
    found = forecast.forecast(zipf(3), 3, target=700)
    assert [(one.low, one.high) for one in found.estimates] == [(None, None)] * 3
    assert "no interval: it takes 4 shards" in found.sentence
    assert found.need is not None and found.need.shards and found.need.fewest is None


def test_the_headline_comes_first_and_everything_is_said() -> None:
    found = forecast.forecast(zipf(10), 20, match="near", target=1200, cost=2.5, seed=3)
    assert found.estimates[0].estimator == HEADLINE
    assert sorted(one.estimator for one in found.estimates) == sorted(ESTIMATORS)
    assert found.refusal is None and found.need is not None and found.need.shards is not None
    assert found.need.cost == found.need.shards * 2.5
    assert f"{found.need.shards:,} more shards for about $" in found.sentence
    assert found.sentence.startswith(f"By near match {found.unique:,} of 2,000 rows in 10 shards")
    assert "90% interval" in found.sentence and "From the first" in found.sentence
    assert json.loads(dump(found))["more"] == 20


def test_what_cannot_be_foretold_is_refused_in_words() -> None:
    shards = zipf(10)
    most = furthest_shards(shards)
    assert most == int(np.log(2000) * 10)
    assert forecast.forecast(shards, most).refusal is None
    beyond = forecast.forecast(shards, most + 1)
    assert beyond.estimates == () and f"at most {most}" in str(beyond.refusal)
    assert "No forecast" in beyond.sentence
    fresh = Shards.of(np.arange(40), np.arange(40) // 10, 4)
    assert "none of 40 rows repeats" in str(forecast.forecast(fresh, 2, target=100).refusal)
    empty = Shards.of(np.empty(0, np.int64), np.empty(0, np.int64), 2)
    found = forecast.forecast(empty, 1, target=10)
    assert found.refusal == "there is no row to forecast from" and found.need is None


def test_a_target_beyond_what_can_be_known_is_refused_with_what_can() -> None:
    found = need(zipf(6), 100_000, cost=1.0)
    assert found.shards is None and found.cost is None and found.most is None
    assert "100,000 unique rows lie beyond what 6 shards can foretell" in found.sentence
    assert need(zipf(6), 10).shards == 0


def test_the_shards_that_a_target_needs_are_the_first_that_reach_it() -> None:
    shards = zipf(8)
    target = shards.first(8).unique + 300
    found = need(shards, target)
    assert found.shards is not None and found.fewest is not None and found.most is not None
    assert found.fewest <= found.shards <= found.most
    assert estimate(shards, found.shards).unique >= target
    assert estimate(shards, found.shards - 1).unique < target


@settings(max_examples=50)
@given(st.integers(0, 400), st.integers(1, 300))
def test_the_least_number_is_found_where_all_larger_ones_reach(most: int, least: int) -> None:
    expected = least if least <= most else None
    assert forecast._least(lambda number: number >= least, most) == expected


def test_a_rolling_test_says_what_came() -> None:
    shards = zipf(8)
    for test in back_tests(shards):
        assert test.unique == shards.first(test.shards).unique
        assert test.unique + test.actual == shards.first(8).unique
        rest = int(shards.rows[test.shards :].sum())
        new = ESTIMATORS[HEADLINE](shards.first(test.shards), rest)
        assert test.forecast == new and test.error == pytest.approx(new / test.actual - 1)
    assert back_tests(shards)[-1].shards == 7


@pytest.mark.parametrize("tail", TAILS)
def test_no_tail_makes_6000_unique_rows_of_the_documented_ones(tail: str) -> None:
    counts = documented_counts(tail)
    assert (counts.sum(), len(counts)) == (ROWS, UNIQUE)
    assert np.sort(counts)[::-1][:4].tolist() == list(HEADS)
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(UNIQUE), counts))
    shards = Shards.of(labels, np.arange(ROWS) * 10 // ROWS, 10)
    found = estimate(shards, 30)
    assert found.high is not None and found.high < 6000
    assert need(shards, 6000).shards is None


def test_a_figure_is_drawn_for_paper_and_page(tmp_path: Path) -> None:
    drawing = unique_rows(zipf(5), 3, "More shards bring less")
    drawing.save_png(tmp_path / "figure.png", "made of shards")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert "More shards bring less" in drawing.svg()
    assert drawing.svg() == unique_rows(zipf(5), 3, "More shards bring less").svg()
    unique_rows(zipf(2), 0, "Nothing is to come").svg()
    assert "no intervals" in unique_rows(zipf(2), 2, "t").caption


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strength", "seen", "more"), [(0.0, 10, 10), (2.0, 10, 10), (1.0, 10, 40)]
)
def test_intervals_hold_what_comes_where_shards_have_favourites(
    strength: float, seen: int, more: int
) -> None:
    held = []
    for seed in range(40):
        labels, shard = favourites(seed, seen + more, strength)
        shards = Shards.of(labels[shard < seen], shard[shard < seen], seen)
        found = estimate(shards, more)
        assert found.low is not None and found.high is not None
        held.append(found.low <= len(np.unique(labels)) <= found.high)
    # 90% are meant; fewer than 32 of 40 would come by chance in one of 20 such tests.
    assert sum(held) >= 32
