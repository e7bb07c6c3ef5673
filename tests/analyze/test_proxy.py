"""Proxy trust: plain counts, a plain tau, and whether its intervals can be believed."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import near, with_replicates
from scipy import stats

from winnow.analyze.questions import proxy
from winnow.analyze.report.values import plain

TIERS = ("ultra_300", "high_1k", "medium_4k")


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=8))
def test_tau_and_agreement_are_the_plain_ones(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    small, large = proxy.signs(ours[:, None]), proxy.signs(theirs[:, None])
    tau = proxy.tau_b(small, large)[0]
    wanted = stats.kendalltau(ours, theirs).statistic
    assert np.isnan(tau) if np.isnan(wanted) else tau == pytest.approx(wanted)
    same = [
        np.sign(ours[a] - ours[b]) == np.sign(theirs[a] - theirs[b])
        for a, b in itertools.combinations(range(len(pairs)), 2)
    ]
    assert (small == large).mean() == pytest.approx(np.mean(same))


def test_a_small_model_that_misranks_one_tier(study: Any) -> None:
    large = dict(zip(TIERS, (3.0, 2.5, 2.51), strict=True))
    small = dict(zip(TIERS, (3.5, 3.2, 3.6), strict=True))
    losses = {f"{tier}_4M": [loss, loss + 0.1, loss - 0.1] for tier, loss in large.items()}
    losses["high_1k_4M"] = [2.6, 2.4, 2.5]
    losses |= {f"{tier}_1M": near(loss) for tier, loss in small.items()}
    found, drawn = study(losses)
    meter = plain(proxy.proxy_trust(found, drawn))["epochs"]["1M"]
    assert meter["larger"] == "4M" and meter["tiers"] == list(TIERS) and meter["pairs"] == 3
    # 4M: high < medium << ultra; 1M: high < ultra < medium.
    assert meter["pairs_agreed"]["value"] == pytest.approx(2 / 3)
    assert meter["sure_pairs"] == 2, "high and medium are too close for 4M"
    assert meter["sure_pairs_agreed"]["value"] == pytest.approx(1 / 2)
    assert meter["tau"]["value"] == pytest.approx(1 / 3)
    assert 0 <= meter["pairs_agreed"]["low"] <= 2 / 3 <= meter["pairs_agreed"]["high"] <= 1
    sums = [
        sum(arm.mean(lambda run: run.train.flops) for arm in found.arms if arm.model == m)
        for m in ("1M", "4M")
    ]
    assert meter["share_of_compute"] == pytest.approx(sums[0] / sums[1])
    assert meter["sentence"].startswith("1M ranks 2 of 3 pairs of tiers as 4M does (equal epochs)")


def test_regimes_are_not_mixed_and_one_shared_tier_is_not_enough(study: Any) -> None:
    losses = {
        "ultra_300_1M": near(3.0),
        "high_1k_1M": near(2.8),
        "ultra_300_4M": near(2.5),
        "ultra_300_1M_300_steps": near(3.0),
        "high_1k_1M_300_steps": near(2.8),
    }
    found = plain(proxy.proxy_trust(*study(losses)))
    assert list(found) == ["epochs"]
    meter = found["epochs"]["1M"]
    for key in ("pairs_agreed", "sure_pairs_agreed", "tau", "share_of_compute"):
        assert meter[key] is None and "share 1 tier" in meter["reasons"][key]
    assert meter["sentence"].startswith("1M cannot be held against 4M (equal epochs): the two")
    assert proxy.proxy_trust(*study({"ultra_300_1M": near(3.0), "high_1k_1M": near(2.8)})) == {}


def test_a_replica_is_held_against_the_tiers_that_it_is_of(study: Any) -> None:
    large = dict(zip(TIERS, (3.0, 2.5, 2.8), strict=True))
    losses = {f"{tier}_4M": near(loss) for tier, loss in large.items()}
    losses |= {f"{tier}_4M_300k_tokens": near(loss) for tier, loss in large.items()}
    parts = zip(("ultra", "high", "medium"), (3.9, 3.5, 3.7), strict=True)
    losses |= {f"{name}_25pct_1M_300_steps": near(loss) for name, loss in parts}
    found, drawn = study(losses)
    assert {arm.stands_for for arm in found.arms if arm.is_replica} == {*TIERS}
    (meters,) = plain(proxy.proxy_trust(found, drawn)).values()
    meter = meters["1M (replica)"]
    # 4M with its recipes and 4M with 300k tokens are as large: the nearest repetition decides.
    assert meter["larger"] == "4M" and meter["tiers"] == list(TIERS)
    assert meter["sure_pairs_agreed"]["value"] == meter["pairs_agreed"]["value"] == 1
    assert meter["epochs"] == {"tier": "ultra_300", "smaller": 12, "larger": 10}
    assert meter["weights_per_row"]["smaller"] == meter["weights_per_row"]["larger"]
    assert meter["sentence"].endswith(
        ". 1M (replica) goes 12 times through the rows of ultra_300, 4M 10 times."
    )


def test_a_proxy_that_repeats_rows_otherwise_is_warned_of(study: Any) -> None:
    parts = {"ultra_25pct": 3.9, "high_25pct": 3.5}
    whole = {"ultra_300": 3.0, "medium_4k": 2.8, "high_1k": 2.5}
    losses = {f"{tier}_4M": near(loss) for tier, loss in whole.items()}
    losses |= {f"{tier}_1M": near(loss) for tier, loss in (parts | whole).items()}
    meters = plain(proxy.proxy_trust(*study(losses)))["epochs"]
    assert set(meters) == {"1M", "1M (replica)"}
    same = meters["1M"]["sentence"]
    assert "of ultra_300, 4M 10 times; it has 3.33e+03 weights for a row" in same
    assert proxy.Beside(tier="a", smaller=3, larger=2).ratio == 1.5
    assert "suffer" not in same and "suffer" not in meters["1M (replica)"]["sentence"]
    found, drawn = study(losses)
    for arm in found.arms:
        for run in arm.runs:
            run.train.num_epochs *= 4 if arm.is_replica else 1
    (warned,) = [
        meter
        for name, meter in plain(proxy.proxy_trust(found, drawn))["epochs"].items()
        if "replica" in name
    ]
    assert "48 times through the rows of ultra_300, 4M 10 times, so one of" in warned["sentence"]


def test_a_large_model_that_decides_nothing_is_said_so(study: Any) -> None:
    losses = {
        "ultra_300_1M": near(3.0),
        "high_1k_1M": near(2.8),
        "ultra_300_4M": [2.9, 2.7, 2.8],
        "high_1k_4M": [2.7, 2.9, 2.8],
    }
    meter = plain(proxy.proxy_trust(*study(losses)))["epochs"]["1M"]
    assert meter["sure_pairs"] == 0 and meter["sure_pairs_agreed"] is None
    assert meter["reasons"]["sure_pairs_agreed"] == "4M surely decides no pair"
    assert "surely decides none of them" in meter["sentence"]


def covered(gap: float, noise: float, plain: bool) -> float:
    """How often the 90% interval holds the agreement of two models that rank six tiers alike."""
    dice = np.random.default_rng(0)
    true, hits = np.arange(6) * gap, 0
    for _ in range(200):
        drawn = []
        for _ in range(2):
            measured = true + dice.normal(0, noise, 6)
            again = measured[:, None] + dice.normal(0, noise, (6, 200))
            drawn.append(proxy.signs(np.column_stack([measured, again])))
        same = (drawn[0] == drawn[1]).mean(axis=0)
        losses = with_replicates(np.zeros(0), np.zeros((0, 200)))
        found = losses.interval(same[0], same[1:]) if plain else proxy.cautious(same, 0.0, losses)
        hits += found.low <= 1.0 <= found.high
    return hits / 200


def test_intervals_allow_for_what_noise_does_to_ranks() -> None:
    assert covered(0.05, 0.02, plain=False) > 0.9
    assert covered(0.02, 0.02, plain=False) > 0.7, "the hardest: every gap as small as the noise"
    assert covered(0.02, 0.02, plain=True) < 0.3, "quantiles of the replicates alone lie too low"
