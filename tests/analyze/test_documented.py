"""The documented figures by their formulas, undefined ones with their reasons; numbers in words."""

import math
from pathlib import Path
from typing import Any

import pytest
from made_up import near

from winnow.analyze.intervals import Interval
from winnow.analyze.questions.efficiency_metrics import efficiency_metrics, tokens_to_threshold
from winnow.analyze.questions.hypothesis import hypothesis
from winnow.analyze.questions.performance_vs_size import performance_vs_size
from winnow.analyze.questions.quality_threshold import BETTER, quality_threshold
from winnow.analyze.questions.quality_threshold_interval import quality_threshold_interval
from winnow.analyze.report import numbers
from winnow.analyze.report.values import plain
from winnow.core import files

TOPS = ["ultra_300_1M", "high_1k_1M", "medium_4k_1M"]


@pytest.mark.parametrize(
    ("ultra", "high", "medium", "expected"),
    [(2.5, 2.8, 2.8, "ultra_high"), (2.8, 2.5, 2.8, "high"), (2.8, 2.75, 2.7, "medium")],
)
def test_the_threshold_rule_and_its_twin_agree_where_it_is_clear(
    study: Any, ultra: float, high: float, medium: float, expected: str
) -> None:
    values = dict(zip(TOPS, map(near, (ultra, high, medium)), strict=True))
    found, drawn = study(values)
    for rule in (quality_threshold, quality_threshold_interval):
        assert plain(rule(found.arms, drawn))["threshold"] == expected


def test_the_twin_is_undecided_where_the_rule_is_not(study: Any) -> None:
    edge = 2.8 + math.log(BETTER) - 0.002
    found, drawn = study(
        dict(zip(TOPS, ([edge - 0.02, edge, edge + 0.02], near(2.8), near(2.8)), strict=True))
    )
    assert plain(quality_threshold(found.arms, drawn))["threshold"] is not None
    twin = plain(quality_threshold_interval(found.arms, drawn))
    assert twin["threshold"] is None and "straddles 0.9" in twin["reasons"]["threshold"]


def test_a_missing_level_leaves_the_rules_undefined_with_the_reason(study: Any) -> None:
    found, drawn = study({"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7)})
    for rule in (quality_threshold, quality_threshold_interval):
        result = plain(rule(found.arms, drawn))
        assert result["threshold"] is None
        assert result["reasons"]["threshold"] == "no medium_* tier of top rows was run"
    claim = plain(hypothesis(found.arms, drawn))
    assert claim["ratio"] is None and claim["verdict"] is None and claim["reasons"]["ratio"]


@pytest.mark.parametrize(
    ("ultra", "medium", "verdict"), [(3.0, 2.9, "holds"), (4.5, 2.9, "fails"), (3.0, 5.9, None)]
)
def test_the_hypothesis_is_a_ratio_of_improvements(
    study: Any, ultra: float, medium: float, verdict: str | None
) -> None:
    found, drawn = study({"ultra_300_1M": near(ultra), "medium_4k_1M": near(medium)})
    claim = plain(hypothesis(found.arms, drawn))
    assert claim["verdict"] == verdict
    if verdict:
        low, high = drawn.value("ultra_300_1M").value, drawn.value("medium_4k_1M").value
        assert claim["ratio"]["value"] == pytest.approx((5.9 - low) / (5.9 - high))


def test_documented_formulas_and_undefined_ones(study: Any) -> None:
    found, drawn = study({"ultra_300_1M": near(math.log(150)), "high_1k_1M": near(2.5)})
    efficiency = plain(efficiency_metrics(found, drawn, 20))
    bad, good = efficiency["ultra_300_1M"], efficiency["high_1k_1M"]
    perplexity = math.exp(drawn.value("high_1k_1M").value)
    assert good["time_to_threshold"] == pytest.approx(good["train_time"] * 20 / perplexity)
    assert good["samples_per_point_perplexity"] == pytest.approx(1000 / (100 - perplexity))
    assert good["total_time"] == pytest.approx(good["train_time"] + 8.2), "scoring is charged"
    assert bad["samples_per_point_perplexity"] is None
    assert "is not below 100" in bad["reasons"]["samples_per_point_perplexity"]
    assert bad["measured_time_to_threshold"] is None
    assert "not reached by 3 of 3 seeds" in bad["reasons"]["measured_time_to_threshold"]
    size = plain(performance_vs_size(found, drawn))["high_1k_1M"]
    assert size["performance_per_sample"] == pytest.approx(1 / (perplexity * 1000))
    assert size["training_efficiency"] == pytest.approx(good["train_time"] / 1000)


def test_the_threshold_is_reached_at_the_first_logged_point_that_is_low_enough(study: Any) -> None:
    found, drawn = study({"high_1k_1M": near(2.5)})
    firsts = [
        next(p for p in run.train.curve if (p.validation_loss or 99) <= math.log(20))
        for run in found.arms[0].runs
    ]
    tokens = sum(p.tokens for p in firsts) / 3
    assert tokens_to_threshold(found.arms[0], 20) == (pytest.approx(tokens), "")
    row = plain(efficiency_metrics(found, drawn, 20))["high_1k_1M"]
    seconds = sum(p.seconds for p in firsts) / 3
    assert row["measured_time_to_threshold"] == pytest.approx(seconds), "no other work ran here"
    assert row["tokens_to_threshold"] == pytest.approx(tokens)


def test_scoring_is_charged_to_those_who_use_it(study: Any, base: Path) -> None:
    found, drawn = study({"high_1k_1M": near(2.7), "random_1k_1M": near(2.7)})
    efficiency = plain(efficiency_metrics(found, drawn, 20))
    assert efficiency["random_1k_1M"]["scoring_time"] == 0
    cost = base / "artifacts/score_metrics.json"
    kept = cost.read_bytes()
    # As it is where a killed scoring had scored all and published nothing.
    files.write_sealed(cost, {"seconds": None, "scorers": {}})
    try:
        found, drawn = study({"high_1k_1M": near(2.7)})
        unknown = plain(efficiency_metrics(found, drawn, 20))["high_1k_1M"]
        assert unknown["total_time"] is None
        assert unknown["reasons"]["total_time"] == "scoring left no measured cost"
    finally:
        cost.write_bytes(kept)


# Words.


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.0525, "5.2%"),
        (0.17, "17%"),
        (0.001, "0.1%"),
        (0.9996, "over 99%"),
        (-0.05, "−5%"),
        (0.1, "10%"),
        (2.5e-5, "0.0025%"),
    ],
)
def test_percent(share: float, expected: str) -> None:
    assert numbers.percent(share) == expected


def test_numbers_in_words() -> None:
    assert numbers.signed(-0.0001) == "0.000" and numbers.signed(0.02) == "+0.020"
    assert numbers.decimal(-0.5) == "−0.500"
    assert [numbers.significant(x) for x in (8.2131, 56.1, 1234.2, 0.5)] == [
        "8.213",
        "56.10",
        "1,234",
        "0.500",
    ]
    assert [numbers.duration(x) for x in (0.5, 42, 150, 9000)] == [
        "0.5 s",
        "42 s",
        "2.5 min",
        "2.5 h",
    ]
    assert numbers.listed(["a", "b", "c"]) == "a, b and c" and numbers.listed([]) == ""
    assert numbers.short(1_234_567) == "1.23M" and numbers.short(12) == "12"
    assert numbers.span(Interval(0, -0.1, 0.2)) == "−0.100 to 0.200"
