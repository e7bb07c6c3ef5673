"""The budget dial against losses and costs that are chosen, and asked as a command."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_up import near, params

from winnow.__main__ import main
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions.dial import dial, dials
from winnow.analyze.questions.recommendations import _score_advice
from winnow.analyze.study import Arm, Run, Study, estimates
from winnow.core.experiments import Tier

ROWS = {"top_5pct": 50, "top_25pct": 250, "all_100pct": 1000, "matched_25pct": 250}
ITEMS, SEEDS = 40, (0, 1, 2)


def _arm(name: str, seconds: float, losses: np.ndarray) -> Arm:
    config: Any = SimpleNamespace(device="abacus")
    train: Any = SimpleNamespace(
        train_time=seconds,
        flops=1e9 * seconds,
        tokens_seen=1000,
        num_epochs=1,
        num_parameters=10,
    )
    runs = [
        Run(
            seed=seed,
            config=config,
            train=train,
            metrics={},
            strata={},
            generation={},
            samples=[],
            losses=losses[seed],
            sha256="",
        )
        for seed in SEEDS
    ]
    rule, _, share = name.partition("_")
    tier: dict[str, Any] = {
        "matched": {"rule": "matched", "of": f"top_{share}"},
        "all": {"rule": "random", "share": 1.0},
    }.get(rule, {"rule": rule, "count": ROWS[name]})
    return Arm(
        name=f"{name}_{seconds:g}",
        tier_name=name,
        tier=Tier(**tier, recipe=""),
        level=rule,
        model="1M",
        recipe=None,
        budget=f"{seconds:g}_seconds",
        model_name=f"1M_{seconds:g}_seconds",
        num_rows=ROWS[name],
        num_tokens=100 * ROWS[name],
        share=ROWS[name] / 1000,
        overlap=0.0,
        runs=tuple(runs),
    )


def _study(means: dict[str, dict[float, float]], scoring: float = 0.0) -> Study:
    """Tier -> seconds of training -> mean loss per token."""
    dice = np.random.default_rng(0)
    tokens = dice.integers(20, 60, ITEMS)
    arms = []
    for tier, costs in means.items():
        for seconds, mean in costs.items():
            noise = dice.normal(0, 0.002, (len(SEEDS), 1)) + dice.normal(0, 0.01, ITEMS)
            arms.append(_arm(tier, seconds, (mean + noise) * tokens))
    return Study(
        arms=tuple(arms),
        seeds=SEEDS,
        num_items=ITEMS,
        tokens=tokens,
        statistics={},
        ledgers={},
        scoring={"seconds": scoring, "scorers": {}},
        scorers={},
    )


SETTINGS = AnalyzeConfig(resamples=100, margin=0.0)
CROSSING = {
    "top_5pct": {10.0: 3.0, 100.0: 3.0},
    "top_25pct": {10.0: 3.4, 100.0: 2.4},
    "all_100pct": {10.0: 3.6, 100.0: 2.6},
}


def test_the_answer_follows_the_budget() -> None:
    study = _study(CROSSING | {"matched_25pct": {100.0: 2.7}})
    small, large = (dial(study, SETTINGS, "1M", seconds) for seconds in (10, 100))
    assert small.verdict and small.verdict.best and large.verdict and large.verdict.best
    assert (small.kind, small.verdict.best.tier_name, small.between) == (
        "keep",
        "top_5pct",
        (None, 0.25),
    )
    assert (large.kind, large.verdict.best.tier_name, large.between) == (
        "keep",
        "top_25pct",
        (0.05, 1.0),
    )
    assert large.verdict.score_helped is True
    assert "keep the top 250 rows (25% of the curated pool); 5% is worse and 100%" in large.sentence


def test_between_two_trainings_it_is_a_line_over_the_logarithm_of_the_cost() -> None:
    study = _study(CROSSING)
    seconds = 10 * 10**0.25
    found = dial(study, SETTINGS, "1M", seconds)
    assert found.verdict and found.verdict.best
    assert found.verdict.best.tier_name == "top_5pct"
    plain = {}
    for tier, arms in (("5", "top_5pct"), ("25", "top_25pct")):
        low, high = (estimates(study, SETTINGS).value(f"{arms}_{cost}").value for cost in (10, 100))
        plain[tier] = 0.75 * low + 0.25 * high
    margin = found.verdict.margins["top_25pct_10"]
    assert math.isclose(margin.value, plain["25"] - plain["5"], abs_tol=1e-12)
    assert margin.low < margin.value < margin.high


def test_a_tie_is_too_close_and_says_between_which_shares() -> None:
    study = _study({"top_5pct": {10.0: 3.0}, "top_25pct": {10.0: 3.0}})
    found = dial(study, SETTINGS, "1M", 10)
    assert (found.kind, found.between) == ("too close", (0.05, 0.25))
    assert (found.values()["share_from"], found.values()["share_to"]) == (0.05, 0.25)


@pytest.mark.parametrize("seconds", [7.9, 126.0, 1e9])
def test_it_refuses_what_lies_outside(seconds: float) -> None:
    study = _study(CROSSING)
    found = dial(study, SETTINGS, "1M", seconds)
    assert found.kind == "refused" and found.verdict is None
    assert "top_5pct from 10 s to 100 s" in found.sentence
    assert dial(study, SETTINGS, "7B", 10).sentence.endswith("was not trained; 1M were.")


def test_scoring_is_charged_to_what_was_cut_by_score() -> None:
    study = _study(CROSSING | {"matched_25pct": {100.0: 2.7}}, scoring=90.0)
    found = dial(study, SETTINGS, "1M", 190)
    assert found.verdict and found.verdict.control is None  # at 190 s nothing random was measured
    assert "matched_25pct was trained for no more than 100 s" in found.sentence
    assert dial(study, SETTINGS, "1M", 10).kind == "refused"
    costs = {
        name: dial(_study({name: {10.0: 3.0}}, scoring=90.0), SETTINGS, "1M", 10).sentence
        for name in ("top_25pct", "all_100pct")
    }
    assert "top_25pct for 100 s" in costs["top_25pct"]
    assert "all_100pct for 10 s" in costs["all_100pct"], "all rows are had without the score"


def test_what_was_had_for_less_is_a_candidate_of_a_larger_budget() -> None:
    # With the scoring, the tiers of top rows cost 190 s: random rows did better after 100 s.
    study = _study(
        {"top_5pct": {100.0: 3.0}, "top_25pct": {100.0: 2.4}, "matched_25pct": {100.0: 2.0}},
        scoring=90.0,
    )
    found = dial(study, SETTINGS, "1M", 190)
    assert found.verdict and found.verdict.best.tier_name == "matched_25pct"
    assert "do not filter by this score: of what was run, keep 250 random" in found.sentence


def test_all_rows_need_no_scoring() -> None:
    study = _study(
        {"top_5pct": {10.0: 3.0}, "all_100pct": {10.0: 2.0}, "matched_25pct": {10.0: 2.5}}
    )
    found = dial(study, SETTINGS, "1M", 10)
    assert found.kind == "keep" and found.verdict and found.verdict.control is None
    assert "No random control was run beside top_5pct" in found.sentence
    assert "do not pay for scoring: all rows are kept." in _score_advice("", found.verdict)


def test_every_cluster_of_costs_is_asked_once() -> None:
    study = _study({"top_5pct": {10.0: 3.0, 100.0: 2.9}, "top_25pct": {11.0: 2.8, 95.0: 2.7}})
    assert [round(row.seconds) for row in dials(study, SETTINGS)] == [11, 100]


def test_the_command_answers_in_json_and_refuses_in_a_line(
    study: Any, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    means = {"ultra_300_1M": near(3.0), "high_1k_1M": near(2.7)}
    found, _ = study(means)
    params(base, list(means), list(found.seeds), resamples=100)
    hours = found.arms[0].mean(lambda run: run.train.train_time) / 3600 + 8.2 / 3600
    assert main(["analyze", "--hours", str(hours), "--model", "1M"]) == 0
    out, said = capsys.readouterr()
    assert out.endswith("]\n"), "the sentence, which comes last, has a line of its own"
    (answer,) = json.loads(out)
    assert answer["verdict"] == "keep" and answer["share"] == 1000 / 6000
    assert answer["sentence"] in said
    assert main(["analyze", "--hours", "1000", "--model", "1M"]) == 2
    out, said = capsys.readouterr()
    assert not out and "no answer" in said and said.count("\n") == 1
    assert main(["analyze", "--hours", "-1"]) == 2
