"""Win rates from verdicts: against published ones, planted lengths, and plain oracles.

pytest tests/analyze/test_win_rates.py
"""

from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from winnow.analyze.win_rates import (
    Verdicts,
    agreement,
    interval,
    length_controlled,
    win_rate,
)


def test_published_win_rates(winnow_data: Path) -> None:
    folder = winnow_data / "preferences"
    table = pq.read_table(folder / "alpaca_eval_2_judgements.parquet").to_pandas()
    told = pyarrow.csv.read_csv(folder / "alpaca_eval_2_leaderboard.csv").to_pylist()
    controlled = []
    for row in told:
        rows = table[table["model"] == row["model"]]
        preferences = rows["preference"].to_numpy() - 1
        assert 100 * win_rate(preferences) == pytest.approx(row["win_rate"], abs=0.01)
        differences = rows["output"].str.len().to_numpy() - rows["baseline_length"].to_numpy()
        found = length_controlled(preferences, differences.astype(float))
        assert found
        controlled.append(found.value)
    rank = stats.spearmanr(controlled, [row["length_controlled_winrate"] for row in told])
    assert len(told) == 30 and len(table) == 24_144 and rank.statistic > 0.94


SHARES = st.sampled_from([0.0, 0.5, 1.0, np.nan])


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=30))
def test_both_orders_as_a_plain_loop_counts_them(pairs: list[tuple[float, float]]) -> None:
    verdicts = Verdicts(*np.array(pairs).T)
    whole = [pair for pair in pairs if not np.isnan(sum(pair))]
    assert verdicts.is_whole.sum() == len(whole)
    if not whole:
        assert verdicts.first_share() is None and verdicts.consistency() is None
        return
    mean = sum(sum(pair) / 2 for pair in whole) / len(whole)
    assert win_rate(verdicts.preferences[verdicts.is_whole]) == pytest.approx(mean)
    first = sum(one + 1 - other for one, other in whole) / (2 * len(whole))
    assert verdicts.first_share() == pytest.approx(first)
    same = sum(one == other for one, other in whole) / len(whole)
    assert verdicts.consistency() == pytest.approx(same)
    # Whichever of the two is called the model, the rates add up to one.
    other = Verdicts(1 - verdicts.shown_second, 1 - verdicts.shown_first)
    assert win_rate(other.preferences[other.is_whole]) == pytest.approx(1 - mean)
    assert other.first_share() == pytest.approx(first)


def test_agreement_counts_what_the_program_decides() -> None:
    judge = np.array([1.0, 0.0, 0.5, 0.75, 1.0, 0.0])
    program = np.array([1.0, 1.0, 0.0, 1.0, 0.5, np.nan])
    assert agreement(judge, program) == (pytest.approx((1 + 0 + 0.5 + 1) / 4), 4)
    assert agreement(judge, np.full(6, 0.5)) == (None, 0)


def planted(number: int, liking: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of equal worth of which the model's answers are longer, and a judge that likes that."""
    rng = np.random.default_rng(seed)
    differences = rng.normal(100, 100, number)
    logits = liking * np.tanh(differences / differences.std(ddof=1))
    return (rng.random(number) < special.expit(logits)).astype(float), differences


def test_a_liking_for_length_is_taken_off() -> None:
    preferences, differences = planted(4000, 2.0, 0)
    found = length_controlled(preferences, differences)
    assert found and win_rate(preferences) > 0.65
    assert found.value == pytest.approx(0.5, abs=0.03)
    assert found.coefficients[1] == pytest.approx(2.0, abs=0.25)
    # The constant bears no prior: what is expected at the lengths that were is what was seen.
    features = np.tanh(differences / differences.std(ddof=1))
    expected = special.expit(found.coefficients[0] + found.coefficients[1] * features)
    assert expected.mean() == pytest.approx(win_rate(preferences), abs=1e-6)


def test_without_differences_in_length_it_is_the_plain_rate() -> None:
    preferences, _ = planted(300, 1.0, 1)
    found = length_controlled(preferences, np.zeros(300))
    assert found and found.value == pytest.approx(win_rate(preferences), abs=1e-6)
    assert found.coefficients[1] == 0
    assert length_controlled(np.ones(300), np.arange(300.0)) is None
    assert length_controlled(np.array([0.0, 1.0]), np.array([1.0, 2.0])) is None


def test_difficulties_are_part_of_the_fit() -> None:
    rng = np.random.default_rng(2)
    difficulties = rng.normal(0, 1, 5000)
    preferences = (rng.random(5000) < special.expit(-1 + 1.5 * difficulties)).astype(float)
    found = length_controlled(preferences, rng.normal(0, 50, 5000), difficulties)
    assert found and found.coefficients[0] == pytest.approx(-1, abs=0.15)
    assert found.coefficients[2] == pytest.approx(1.5, abs=0.15)
    assert found.value == pytest.approx(win_rate(preferences), abs=0.02)


@pytest.mark.parametrize("controlled", [False, True])
def test_an_interval_holds_the_truth_as_often_as_it_says(controlled: bool) -> None:
    draws = np.random.default_rng(9).normal(100, 100, 100_000)
    truth = 0.5 if controlled else special.expit(1.5 * np.tanh(draws / 100)).mean()
    held = 0
    for seed in range(300):
        preferences, differences = planted(120, 1.5, seed)
        values = preferences
        if controlled:
            found = length_controlled(preferences, differences)
            assert found and found.pseudo_values.mean() == pytest.approx(found.value)
            values = found.pseudo_values
        one = interval([values], 0.9, {"arm": "group"})
        held += one.low <= truth <= one.high
    # 300 trials at 90%: five standard errors are 0.087.
    assert 0.81 < held / 300 < 0.97


def test_seeds_widen_an_interval_and_its_ends_are_shares() -> None:
    rng = np.random.default_rng(4)
    same = rng.integers(0, 2, 200).astype(float)
    alike = interval([same, same, same], 0.9, {"arm": "group"})
    apart = interval([same, np.ones(200), np.zeros(200)], 0.9, {"arm": "group"})
    assert apart.low == 0 and apart.high == 1 and alike.high - alike.low < 0.15
