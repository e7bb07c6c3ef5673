"""The closed-form interval against textbook formulas, and against what it promises."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from winnow.analyze import intervals
from winnow.analyze.intervals import Estimates

SETTINGS: Any = {"resamples": 40, "confidence": 0.9, "seed": 5}


def of(numerators: np.ndarray, denominators: np.ndarray, **others: Any) -> Estimates:
    """Estimates of arms of one group, named a, b, c, ..."""
    names = "abcdefghij"[: len(numerators)]
    return Estimates.of(dict.fromkeys(names, "1M"), numerators, denominators, **SETTINGS | others)


def oracle(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Replicates over items of the mean over seeds: loops over single draws, the same draws."""
    num_arms, num_seeds, num_items = numerators.shape
    items = np.concatenate(list(intervals.item_draws(num_items, 40, 5)))
    result = np.zeros((num_arms, 40))
    for b in range(40):
        drawn = [i for i in range(num_items) for _ in range(items[b, i])]
        for a in range(num_arms):
            by_seed = [
                sum(numerators[a, s, i] for i in drawn) / sum(denominators[i] for i in drawn)
                for s in range(num_seeds)
            ]
            result[a, b] = sum(by_seed) / num_seeds
    return result


@given(st.tuples(st.integers(1, 3), st.integers(1, 9)), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_replicates_of_one_seed_equal_the_slow_oracle(shape: tuple[int, int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    tokens = generator.integers(1, 50, shape[1])
    losses = generator.exponential(3, (shape[0], 1, shape[1])) * tokens
    assert np.allclose(of(losses, tokens).replicates, oracle(losses, tokens))


def test_replicates_are_as_wide_as_the_closed_form() -> None:
    generator = np.random.default_rng(2)
    tokens = generator.integers(5, 50, 80)
    own = generator.normal(0, 0.05, (2, 4, 1)) + generator.normal(0, 0.2, (2, 1, 80))
    found = of((3 + own) * tokens, tokens, resamples=4000)
    margin = found.margin("a", "b")
    drawn = found.interval(margin.value, found.replicates[1] - found.replicates[0])
    assert drawn.low == pytest.approx(margin.low, rel=0.15)
    assert drawn.high == pytest.approx(margin.high, rel=0.15)


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_two_arms_without_row_noise_equal_the_paired_t_test(num_seeds: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    tokens = generator.integers(1, 50, 12)
    means = generator.normal(3, 0.1, (2, num_seeds))
    margin = of(means[:, :, None] * tokens, tokens).margin("a", "b")
    expected = stats.ttest_rel(means[1], means[0]).confidence_interval(0.9)
    assert (margin.low, margin.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_one_seed_equals_the_t_test_over_rows() -> None:
    generator = np.random.default_rng(1)
    losses = generator.exponential(3, (2, 1, 30))
    margin = of(losses, np.ones(30)).margin("a", "b")
    expected = stats.ttest_rel(losses[1, 0], losses[0, 0]).confidence_interval(0.9)
    assert (margin.low, margin.high) == pytest.approx((expected.low, expected.high))


@given(st.floats(-3, 3), st.integers(1, 4), st.integers(2, 30))
@settings(max_examples=25, deadline=None)
def test_an_arm_that_is_worse_by_a_constant_has_exactly_that_margin(
    constant: float, num_seeds: int, num_items: int
) -> None:
    generator = np.random.default_rng(num_items)
    tokens = generator.integers(1, 50, num_items)
    one = generator.exponential(3, (num_seeds, num_items)) * tokens
    margin = of(np.stack([one, one + constant * tokens]), tokens).margin("a", "b")
    assert [margin.value, margin.low, margin.high] == pytest.approx([constant] * 3, abs=1e-6)


@given(st.integers(2, 5), st.integers(2, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_what_all_arms_share_moves_no_margin_and_scaling_scales(
    num_arms: int, num_seeds: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    tokens = generator.integers(1, 50, 20)
    losses = generator.exponential(3, (num_arms, num_seeds, 20)) * tokens
    shared = generator.normal(0, 5, (1, num_seeds, 1)) * tokens
    plain, moved, doubled = (
        of(each, tokens).margin("a", "b") for each in (losses, losses + shared, 2 * losses)
    )
    ends = [plain.value, plain.low, plain.high]
    assert [moved.value, moved.low, moved.high] == pytest.approx(ends, abs=1e-6)
    assert [doubled.value, doubled.low, doubled.high] == pytest.approx([2 * end for end in ends])


def test_equal_arms_are_a_tie() -> None:
    losses = np.repeat(np.random.default_rng(0).exponential(3, (1, 3, 20)), 2, axis=0)
    margin = of(losses, np.ones(20)).margin("a", "b")
    assert (margin.value, margin.low, margin.high) == pytest.approx((0, 0, 0), abs=1e-9)
    assert margin.holds_zero and not margin.above_zero


def test_a_contrast_of_contrasts_is_one_and_combined_arms_keep_it() -> None:
    generator = np.random.default_rng(3)
    tokens = generator.integers(5, 50, 40)
    losses = (3 + generator.normal(0, 0.1, (4, 3, 1)) + generator.normal(0, 1, (4, 3, 40))) * tokens
    found = of(losses, tokens)
    half = found.contrast({"a": -0.5, "b": -0.5, "c": 0.5, "d": 0.5})
    together = found.combined({"x": {"a": 0.5, "b": 0.5}, "y": {"c": 0.5, "d": 0.5}})
    margin = together.margin("x", "y")
    assert (margin.value, margin.low, margin.high) == pytest.approx(
        (half.value, half.low, half.high)
    )


def test_the_level_of_an_arm_knows_what_all_share() -> None:
    generator = np.random.default_rng(4)
    shared = generator.normal(3, 1, (1, 3, 1))
    losses = shared + generator.normal(0, 0.001, (2, 3, 50))
    found = of(losses, np.ones(50))
    level, margin = found.value("a"), found.margin("a", "b")
    expected = stats.t.interval(0.9, 2, losses[0].mean(), stats.sem(losses[0].mean(axis=1)))
    assert (level.low, level.high) == pytest.approx(expected, rel=1e-3)
    assert margin.high - margin.low < 0.01 < level.high - level.low


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(intervals.item_draws(11, 50, 3)))
    monkeypatch.setattr(intervals, "CHUNK", 70)
    parts = list(intervals.item_draws(11, 50, 3))
    assert len(parts) > 5
    assert (np.concatenate(parts) == whole).all()
    assert (whole.sum(axis=1) == 11).all()


SPREAD = {"alike": (1.0,) * 7, "gradient": (3, 2, 1.4, 1, 3, 2, 1.4)}
PARTS = {"seeds": (0.05, 0.05, 0.05), "even": (0.02, 0.2, 0.2), "both": (0.004, 0.05, 0.5)}


def coverage(num_seeds: int, part: str, spread: str, trials: int = 700) -> float:
    """How often 90% intervals hold the truth, which is 0: seven arms, three of their margins."""
    dice, (seed, row, both) = np.random.default_rng(0), PARTS[part]
    arm = np.array(SPREAD[spread])[:, None, None]
    arm = arm / np.sqrt((arm**2).mean()) * seed / math.sqrt(2)
    hits, rows = 0, 60
    for _ in range(trials):
        losses = 3 + arm * dice.normal(size=(7, num_seeds, 1)) + dice.normal(size=(1, num_seeds, 1))
        losses = losses + dice.normal(0, row / math.sqrt(2), (7, 1, rows))
        losses += dice.normal(0, both / math.sqrt(2), (7, num_seeds, rows))
        found = of(losses, np.ones(rows), resamples=1)
        hits += sum(found.margin(*pair).holds_zero for pair in ("ab", "cf", "dg"))
    return hits / (3 * trials)


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
@pytest.mark.parametrize("part", [*PARTS])
def test_intervals_cover_what_they_promise(num_seeds: int, part: str) -> None:
    # 2,100 intervals, three in a study: what chance leaves open of 0.9 is about 0.015.
    assert 0.88 <= coverage(num_seeds, part, "alike") <= 0.95


def test_arms_that_vary_unlike_are_covered_too() -> None:
    assert 0.86 <= coverage(3, "seeds", "gradient") <= 0.95


def test_a_ratio_to_no_improvement_is_undefined() -> None:
    losses = np.stack([np.full((1, 10), 2.0), np.full((1, 10), 3.0)])
    found = of(losses, np.ones(10))
    assert found.improvement_ratio("a", "b", 3.0) is None
    ratio = found.improvement_ratio("a", "b", 4.0)
    assert ratio is not None and ratio.value == pytest.approx(2)


@given(st.integers(1, 4), st.integers(2, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_one_interval_serves_any_metric(num_seeds: int, num_items: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    right = rng.integers(0, 2, (2, num_seeds, num_items)).astype(float)
    once = np.ones(num_items)
    accuracy = of(right, once, lower_is_better=False)
    assert accuracy.value("a").value == pytest.approx(right[0].mean())
    better, same = accuracy.margin("a", "b"), of(-right, once).margin("a", "b")
    ends = (same.value, same.low, same.high)
    assert (better.value, better.low, better.high) == pytest.approx(ends)
    assert better.value == pytest.approx(right[0].mean() - right[1].mean())
