"""The number of new texts: by hand, against the formulas written out, and against simulation."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from winnow.generate import estimators
from winnow.generate.estimators import (
    ESTIMATORS,
    Frequencies,
    PitmanYor,
    fit_pitman_yor,
    furthest,
    good_toulmin,
    inext,
    log_likelihood,
    new_of,
    pitman_yor,
    unseen,
)

COUNTS = st.lists(st.integers(1, 30), min_size=1, max_size=40).map(np.array)


def frequencies(*counts: int) -> Frequencies:
    return Frequencies.of(np.array(counts))


def test_frequencies_of_five_texts_by_hand() -> None:
    found = frequencies(1, 3, 1, 0, 2, 1)
    assert (found.draws, found.unique) == (8, 5)
    assert [found[times] for times in (1, 2, 3, 4)] == [3, 1, 1, 0]


def test_closed_forms_by_hand() -> None:
    found = frequencies(1, 1, 1, 2, 3)  # n = 8, f = 3, 1, 1
    assert unseen(found) == pytest.approx(7 / 8 * 9 / 2)
    assert unseen(frequencies(1, 1, 1, 3)) == pytest.approx(5 / 6 * 3)
    missing = 7 / 8 * 9 / 2
    assert inext(found, 5) == pytest.approx(missing * (1 - (1 - 3 / (8 * missing + 3)) ** 5))
    # t = 1: 3 - 1 + 1; t = 1/2: 3/2 - 1/4 + 1/8.
    assert good_toulmin(found, 8) == pytest.approx(3)
    assert good_toulmin(found, 4) == pytest.approx(11 / 8)
    # t = 2: k = ceil(log_3(8 * 4) / 2) = 2, L of Bin(2, 1/2): P(L >= 1) = 3/4, P(L >= 2) = 1/4.
    assert good_toulmin(found, 16) == pytest.approx(2 * 3 * 3 / 4 - 4 * 1 / 4)


def test_smoothing_is_the_series_written_out() -> None:
    counts = np.random.default_rng(0).zipf(1.8, 500)
    found = Frequencies.of(counts)
    n = found.draws
    for more in (2 * n, 3 * n, 5 * n):
        t = more / n
        size = math.ceil(math.log(n * t**2 / (t - 1), 3) / 2)
        left = [stats.binom.sf(i - 1, size, 2 / (2 + t)) for i in range(1, size + 1)]
        plain = -sum((-t) ** i * found[i] * left[i - 1] for i in range(1, size + 1))
        assert good_toulmin(found, more) == pytest.approx(plain)
    # Just beyond t = 1 it would say less than at it.
    assert good_toulmin(found, n + 1) == good_toulmin(found, n)


@settings(max_examples=30)
@given(COUNTS, st.integers(0, 200))
def test_every_estimate_lies_between_no_text_and_a_new_one_each_time(
    counts: np.ndarray, more: int
) -> None:
    found = Frequencies.of(counts)
    for name, new in ESTIMATORS.items():
        assert 0 <= new(found, more) <= more + 1e-6, name


def test_of_texts_that_all_came_often_none_is_left() -> None:
    found = frequencies(*[6] * 50)
    assert inext(found, 100) == 0
    assert good_toulmin(found, 300) == 0  # -(-1)^6 * 50, cut at 0
    assert pitman_yor(frequencies(9), 100) == 0


def test_where_nothing_repeats_every_text_is_taken_for_new() -> None:
    found = frequencies(*[1] * 40)
    assert good_toulmin(found, 40) == 40
    assert pitman_yor(found, 25) == 25


def test_no_draw_beyond_log_n_times_as_many_can_be_foretold() -> None:
    assert furthest(1000) == math.floor(1000 * math.log(1000))
    assert furthest(1) == furthest(0) == 0


def _product(counts: list[int], d: float, theta: float) -> float:
    """The chance of a partition, factor by factor, as its draws come one after the other."""
    chance, draws = 1.0, 0
    for seen, count in enumerate(counts):
        for before in range(count):
            new = (theta + d * seen) / (theta + draws)
            chance *= (before - d) / (theta + draws) if before else new if draws else 1.0
            draws += 1
    return chance


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=8),
    st.floats(0, 0.95),
    st.floats(0.05, 50),
)
def test_the_likelihood_is_the_product_of_its_draws(
    counts: list[int], d: float, theta: float
) -> None:
    found = log_likelihood(frequencies(*counts), PitmanYor(d, theta))
    assert found == pytest.approx(math.log(_product(counts, d, theta)), abs=1e-6)


@given(st.floats(1e-6, 0.95), st.floats(0.01, 1e6), st.integers(1, 3000))
def test_the_product_of_many_factors_is_their_sum_of_logarithms(
    d: float, theta: float, unique: int
) -> None:
    plain = math.fsum(math.log(theta + d * i) for i in range(1, unique))
    assert estimators._log_product(theta, d, unique) == pytest.approx(plain, rel=1e-7, abs=1e-5)


@given(COUNTS, st.floats(0, 0.9), st.floats(0.1, 100), st.integers(0, 50))
def test_new_texts_of_a_process_are_those_of_its_draws_one_by_one(
    counts: np.ndarray, d: float, theta: float, more: int
) -> None:
    found = Frequencies.of(counts)
    unique, draws = float(found.unique), found.draws
    for draw in range(more):  # the expected number is linear in itself
        unique += (theta + d * unique) / (theta + draws + draw)
    assert new_of(PitmanYor(d, theta), found, more) == pytest.approx(
        unique - found.unique, rel=1e-4, abs=1e-6
    )


@settings(max_examples=20)
@given(COUNTS)
def test_no_process_nearby_is_likelier_than_the_fitted_one(counts: np.ndarray) -> None:
    found = Frequencies.of(counts)
    assume(1 < found.unique < found.draws)
    best = fit_pitman_yor(found)
    most = log_likelihood(found, best)
    for d in (0.001, 0.1, 0.3, 0.5, 0.7, 0.9):
        for theta in (0.01, 0.5, 3.0, 20.0, 200.0):
            assert log_likelihood(found, PitmanYor(d, theta)) <= most + 0.02


def _drawn(d: float, theta: float, draws: int, seed: int) -> np.ndarray:
    """How often the texts of a process came, by its own rule."""
    dice, counts = np.random.default_rng(seed), [1]
    for draw in range(1, draws):
        if dice.random() < (theta + d * len(counts)) / (theta + draw):
            counts.append(1)
        else:
            weights = np.array(counts) - d
            counts[dice.choice(len(counts), p=weights / weights.sum())] += 1
    return np.array(counts)


def test_the_numbers_of_a_process_are_found_again() -> None:
    found = [fit_pitman_yor(Frequencies.of(_drawn(0.6, 10.0, 2000, seed))) for seed in range(6)]
    assert np.mean([one.discount for one in found]) == pytest.approx(0.6, abs=0.06)


def _error(law: np.ndarray, draws: int, more: int, name: str, seed: int) -> float:
    """How far an estimate is from what comes, as a share of it."""
    dice = np.random.default_rng(seed)
    before = dice.choice(len(law), draws, p=law)
    counts = np.bincount(before, minlength=len(law))
    after = dice.choice(len(law), more, p=law)
    truth = len(np.setdiff1d(after, before))
    return ESTIMATORS[name](Frequencies.of(counts), more) / truth - 1


@pytest.mark.parametrize(
    ("name", "tail", "times", "bound"),
    [
        ("smoothed Good-Toulmin", "zipf", 1, 0.06),
        ("smoothed Good-Toulmin", "zipf", 4, 0.15),
        ("smoothed Good-Toulmin", "uniform", 1, 0.06),
        ("iNEXT", "uniform", 1, 0.05),
        ("iNEXT", "uniform", 4, 0.05),
        ("iNEXT", "zipf", 1, 0.1),
        ("Pitman-Yor", "zipf", 1, 0.15),
        ("Pitman-Yor", "zipf", 4, 0.25),
    ],
)
def test_estimates_come_near_what_is_drawn_from_a_known_law(
    name: str, tail: str, times: int, bound: float
) -> None:
    size = 20_000 if tail == "zipf" else 4000
    law = np.arange(1, size + 1) ** (-1.1 if tail == "zipf" else 0.0)
    errors = [_error(law / law.sum(), 3000, 3000 * times, name, seed) for seed in range(15)]
    assert abs(np.mean(errors)) < bound


def test_good_toulmin_has_no_bias_up_to_twice_the_draws() -> None:
    law = np.arange(1, 20_001) ** -1.1
    errors = [_error(law / law.sum(), 1000, 1000, "smoothed Good-Toulmin", s) for s in range(200)]
    # The mean's own standard error is below a third of that.
    assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(len(errors)) + 0.005
