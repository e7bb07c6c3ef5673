"""The headline in every case that it can be in; and the documented figures beside it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import MODELS, TIERS, Items, cards, params, pool, run

from winnow.analyze import answer, documented, words
from winnow.analyze.bootstrap import Bootstrap, Interval
from winnow.analyze.results import Study, read_study

TOPS = ["ultra_300_1M", "high_1k_1M", "medium_4k_1M"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages before training left, made once."""
    root = tmp_path_factory.mktemp("base")
    pool(root)
    cards(root)
    return root


@pytest.fixture
def study(base: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function: mean losses by experiment and seed -> the study and its bootstrap."""
    monkeypatch.chdir(base)

    def made(losses: dict[str, list[float]]) -> tuple[Study, Bootstrap]:
        items = Items()
        seeds = range(len(next(iter(losses.values()))))
        for name, values in losses.items():
            for seed in seeds:
                run(base, name, seed, items, values[seed])
        found = read_study(list(losses), list(seeds))
        drawn = Bootstrap.of(
            [arm.name for arm in found.arms], np.stack([arm.losses for arm in found.arms]),
            found.tokens, resamples=300, confidence=0.9, seed=0,
        )  # fmt: skip
        return found, drawn

    return made


def near(value: float) -> list[float]:
    """Three seeds that hardly differ."""
    return [value, value + 0.002, value - 0.002]


def judge(study: tuple[Study, Bootstrap]) -> answer.Verdict:
    """The verdict of the first model."""
    name, arms = next(iter(study[0].models().items()))
    return answer.judge(name, arms, study[1])


def test_a_clear_winner_with_its_control(study: Any) -> None:
    losses = {"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7), "matched_1k_1M": near(2.9)}
    verdict = judge(study(losses))
    assert verdict.kind == "keep"
    assert verdict.sentence == "Keep the top 1,000 rows (17% of the curated pool)."
    assert verdict.score_helped is True
    assert verdict.score_sentence.startswith(
        "The score earns it: as many random rows of the same lengths do worse (margin +0."
    )
    assert verdict.score_sentence.endswith("3 seeds).")
    assert "high_1k is the mildest filter that was tried." in verdict.notes


@pytest.mark.parametrize(("control", "words_of_it"), [(2.7, "do as well"), (2.5, "do better")])
def test_size_helped_but_not_the_score(study: Any, control: float, words_of_it: str) -> None:
    losses = {"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7), "matched_1k_1M": near(control)}
    verdict = judge(study(losses))
    assert verdict.kind == "keep" and verdict.score_helped is False
    assert "The score itself did not help (size did)" in verdict.score_sentence
    assert words_of_it in verdict.score_sentence


def test_too_close_to_call_names_all_that_are(study: Any) -> None:
    losses = {"ultra_300_1M": [3.0, 2.8, 2.9], "high_1k_1M": [2.8, 3.0, 2.9],
              "medium_4k_1M": near(4.0), "matched_300_1M": near(2.8)}  # fmt: skip
    verdict = judge(study(losses))
    assert verdict.kind == "too close"
    assert verdict.sentence == (
        "Too close to call between the top 300 rows (5%) and the top 1,000 rows (17%)."
    )
    assert "size did" not in verdict.score_sentence


def test_an_exact_tie_is_too_close_and_takes_the_smaller(study: Any, base: Path) -> None:
    found, _ = study({name: near(3.0) for name in TOPS})
    same = np.stack([found.arms[0].losses] * 3)
    drawn = Bootstrap.of(TOPS, same, found.tokens, resamples=100, confidence=0.9, seed=0)
    verdict = answer.judge("1M", found.arms, drawn)
    assert verdict.best is not None and verdict.best.name == "ultra_300_1M"
    assert len(verdict.tied) == 2 and verdict.kind == "too close"


@pytest.mark.parametrize(
    ("control", "kind", "said"),
    [
        ("random_1k_1M", "same size", "as many random rows, their lengths not matched, do worse"),
        ("random_2k_1M", "other size", "it says nothing about the score itself"),
        ("matched_300_1M", None, "No random control was run beside high_1k"),
    ],
)
def test_without_the_matched_control(study: Any, control: str, kind: str, said: str) -> None:
    losses = {"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7), control: near(2.9)}
    verdict = judge(study(losses))
    assert (verdict.control.kind if verdict.control else None) == kind
    assert said in verdict.score_sentence
    assert verdict.score_helped is (True if kind == "same size" else None)


def test_one_top_arm_is_nothing_to_compare(study: Any) -> None:
    verdict = judge(study({"high_1k_1M": near(2.7), "matched_1k_1M": near(2.9)}))
    assert verdict.kind == "nothing to compare"
    assert verdict.sentence.startswith("Nothing to compare: high_1k is the only tier")
    assert verdict.score_helped is True


def test_no_top_arm_is_said_so(study: Any) -> None:
    verdict = judge(study({"random_1k_1M": near(2.7)}))
    assert verdict.kind == "nothing to compare" and verdict.best is None
    assert verdict.to_json()["best"] is None


def test_several_models_are_never_pooled(study: Any) -> None:
    losses = {"ultra_300_1M": near(2.7), "high_1k_1M": near(3.0),
              "ultra_300_4M": near(2.9), "high_1k_4M": near(2.5)}  # fmt: skip
    found, drawn = study(losses)
    models = found.models()
    assert list(models) == ["4M", "1M"], "the largest first"
    verdicts = {name: answer.judge(name, arms, drawn) for name, arms in models.items()}
    said = answer.headline(verdicts, 3)
    assert said["opening"] == "The model sizes 4M and 1M do not share one answer."
    assert said["details"][0].startswith("4M: Keep the top 1,000 rows")
    assert said["details"][1].startswith("1M: Keep the top 300 rows")
    ranks = answer.rank_agreement(found, drawn)
    assert ranks == {"largest": "4M", "models": {"1M": {"same": 0, "pairs": 1}}}


def test_models_that_agree_open_with_one_answer(study: Any) -> None:
    losses = {f"{tier}_{model}": near(loss) for model in MODELS
              for tier, loss in (("ultra_300", 3.0), ("high_1k", 2.5))}  # fmt: skip
    found, drawn = study(losses)
    verdicts = {name: answer.judge(name, arms, drawn) for name, arms in found.models().items()}
    said = answer.headline(verdicts, 3)
    assert said["opening"].startswith("At every model size, 4M and 1M: keep the top 1,000 rows")


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_are_flagged(study: Any, seeds: int) -> None:
    found = study({name: near(3.0)[:seeds] for name in TOPS})
    flag = answer.headline({"1M": judge(found)}, seeds)["flag"]
    assert (flag is None) == (seeds == 3)
    assert flag is None or flag.startswith(
        f"Not a finding: {words.plural(seeds, 'seed')}; 3 or more"
    )
    assert flag is None or ("test rows only" in flag) == (seeds == 1)


def test_a_control_that_shares_rows_is_called_out(
    study: Any, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = base / "artifacts/select/statistics.json"
    kept = path.read_text()
    changed = json.loads(kept)
    changed["matched_1k"]["overlap_with_of"] = 0.4
    path.write_text(json.dumps(changed))
    try:
        losses = {"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7), "matched_1k_1M": near(2.9)}
        assert "matched_1k shares 40% of its rows" in judge(study(losses)).notes[0]
    finally:
        path.write_text(kept)


# The documented figures.


@pytest.mark.parametrize(
    ("ultra", "high", "medium", "expected"),
    [(2.5, 2.8, 2.8, "ultra_high"), (2.8, 2.5, 2.8, "high"), (2.8, 2.75, 2.7, "medium")],
)
def test_the_threshold_rule_and_its_twin_agree_where_it_is_clear(
    study: Any, ultra: float, high: float, medium: float, expected: str
) -> None:
    values = dict(zip(TOPS, map(near, (ultra, high, medium)), strict=True))
    found, drawn = study(values)
    for rule in (documented.quality_threshold, documented.quality_threshold_interval):
        assert rule(found.arms, drawn)["threshold"] == expected


def test_the_twin_is_undecided_where_the_rule_is_not(study: Any) -> None:
    edge = 2.8 + math.log(documented.BETTER) - 0.002
    found, drawn = study(dict(zip(TOPS, ([edge - 0.02, edge, edge + 0.02], near(2.8), near(2.8)),
                                  strict=True)))  # fmt: skip
    assert documented.quality_threshold(found.arms, drawn)["threshold"] is not None
    twin = documented.quality_threshold_interval(found.arms, drawn)
    assert twin["threshold"] is None and "straddles 0.9" in twin["reasons"]["threshold"]


def test_a_missing_level_leaves_the_rules_undefined_with_the_reason(study: Any) -> None:
    found, drawn = study({"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7)})
    for rule in (documented.quality_threshold, documented.quality_threshold_interval):
        result = rule(found.arms, drawn)
        assert result["threshold"] is None
        assert result["reasons"]["threshold"] == "no medium_* tier of top rows was run"
    claim = documented.hypothesis(found.arms, drawn)
    assert claim["ratio"] is None and claim["verdict"] is None and claim["reasons"]["ratio"]


@pytest.mark.parametrize(
    ("ultra", "medium", "verdict"), [(3.0, 2.9, "holds"), (4.5, 2.9, "fails"), (3.0, 5.9, None)]
)
def test_the_hypothesis_is_a_ratio_of_improvements(
    study: Any, ultra: float, medium: float, verdict: str | None
) -> None:
    found, drawn = study({"ultra_300_1M": near(ultra), "medium_4k_1M": near(medium)})
    claim = documented.hypothesis(found.arms, drawn)
    assert claim["verdict"] == verdict
    if verdict:
        low, high = drawn.loss("ultra_300_1M").value, drawn.loss("medium_4k_1M").value
        assert claim["ratio"]["value"] == pytest.approx((5.9 - low) / (5.9 - high))


def test_documented_formulas_and_undefined_ones(study: Any) -> None:
    found, drawn = study({"ultra_300_1M": near(math.log(150)), "high_1k_1M": near(2.5)})
    efficiency = documented.efficiency_metrics(found, drawn, 20)
    bad, good = efficiency["ultra_300_1M"], efficiency["high_1k_1M"]
    perplexity = math.exp(drawn.loss("high_1k_1M").value)
    assert good["time_to_threshold"] == pytest.approx(good["train_time"] * 20 / perplexity)
    assert good["samples_per_point_perplexity"] == pytest.approx(1000 / (100 - perplexity))
    assert good["total_time"] == pytest.approx(good["train_time"] + 8.2), "scoring is charged"
    assert bad["samples_per_point_perplexity"] is None
    assert "is not below 100" in bad["reasons"]["samples_per_point_perplexity"]
    assert bad["measured_time_to_threshold"] is None
    assert "not reached by 3 of 3 seeds" in bad["reasons"]["measured_time_to_threshold"]
    size = documented.performance_vs_size(found, drawn)["high_1k_1M"]
    assert size["performance_per_sample"] == pytest.approx(1 / (perplexity * 1000))
    assert size["training_efficiency"] == pytest.approx(good["train_time"] / 1000)


def test_the_measured_time_is_the_first_logged_point_that_is_low_enough(study: Any) -> None:
    found, _ = study({"high_1k_1M": near(2.5)})
    points = [p for run in found.arms[0].runs for p in run.train["curve"]]
    times = [min(p["seconds"] for p in run.train["curve"] if p["validation_loss"] <= math.log(20))
             for run in found.arms[0].runs]  # fmt: skip
    assert documented.measured_time(found.arms[0], 20) == (pytest.approx(sum(times) / 3), "")
    assert len(points) == 36


def test_scoring_is_charged_to_those_who_use_it(study: Any, base: Path) -> None:
    found, drawn = study({"high_1k_1M": near(2.7), "random_1k_1M": near(2.7)})
    efficiency = documented.efficiency_metrics(found, drawn, 20)
    assert efficiency["random_1k_1M"]["scoring_time"] == 0
    cost = base / "artifacts/score_metrics.json"
    kept = cost.read_bytes()
    cost.unlink()
    try:
        found, drawn = study({"high_1k_1M": near(2.7)})
        unknown = documented.efficiency_metrics(found, drawn, 20)["high_1k_1M"]
        assert unknown["total_time"] is None
        assert unknown["reasons"]["total_time"] == "scoring left no measured cost"
    finally:
        cost.write_bytes(kept)


def test_tiers_of_the_fixture_are_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from winnow import config

    monkeypatch.chdir(tmp_path)
    params(tmp_path, TOPS, [0])
    assert config.experiment("matched_1k_4M").tier.of == "high_1k"
    assert set(TIERS) >= {"ultra_300"}


# Words.


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, "0%"), (1, "100%"), (0.0525, "5.2%"), (0.17, "17%"), (0.001, "0.1%"), (0.9996, "over 99%"),
     (-0.05, "−5%"), (0.1, "10%"), (2.5e-5, "0.0025%")],
)  # fmt: skip
def test_percent(share: float, expected: str) -> None:
    assert words.percent(share) == expected


def test_numbers_in_words() -> None:
    assert words.signed(-0.0001) == "0.000" and words.signed(0.02) == "+0.020"
    assert words.decimal(-0.5) == "−0.500"
    assert [words.figures(x) for x in (8.2131, 56.1, 1234.2, 0.5)] == [
        "8.213", "56.10", "1,234", "0.500"]  # fmt: skip
    assert [words.duration(x) for x in (0.5, 42, 150, 9000)] == [
        "0.5 s",
        "42 s",
        "2.5 min",
        "2.5 h",
    ]
    assert words.listed(["a", "b", "c"]) == "a, b and c" and words.listed([]) == ""
    assert words.short(1_234_567) == "1.23M" and words.short(12) == "12"
    assert words.span(Interval(0, -0.1, 0.2)) == "−0.100 to 0.200"
