"""Cost by work: a busy machine changes no answer, and who is charged the scoring is said once."""

import dataclasses
import json
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import TIERS, build, near

from winnow.analyze import cost, stage
from winnow.analyze.study import Study
from winnow.core.experiments import Tier

ALL = [f"{tier}_1M" for tier in TIERS]
BY_THE_CLOCK = ("wall_clock", "train_time", "tokens_per_second")
"""What may differ: time as a clock measured it, shown beside the work."""


def without_clock(value: Any) -> Any:
    """An analysis without the times that a clock measured."""
    if isinstance(value, dict):
        return {
            key: without_clock(item)
            for key, item in value.items()
            if key not in BY_THE_CLOCK and key != "to_pay"
        }
    return [without_clock(item) for item in value] if isinstance(value, list) else value


def test_a_busy_machine_changes_no_answer(tmp_path: Path, tracker: Any) -> None:
    """Every training but the first takes up to five times as long by the clock."""
    rng = np.random.default_rng(0)
    # Two sizes that are too near to each other: the cheaper one is kept.
    losses = {"medium_4k": 2.8, "ultra_300": 2.801}
    found = []
    for factors in (repeat(1.0), chain([1.0], iter(lambda: float(rng.uniform(1, 5)), None))):
        build(
            tmp_path, ALL, [0, 1, 2], losses=losses, spread=0.02, busy=factors.__next__, margin=0.2
        )
        stage.run()
        found.append(json.loads(Path("analysis/analysis.json").read_text(encoding="utf-8")))
    quiet, busy = found
    assert quiet["experiments"] != busy["experiments"], "the clock did say otherwise"
    for key in ("answer", "recommendations", "dial"):
        assert json.dumps(quiet[key]) == json.dumps(busy[key]), key
    assert without_clock(quiet) == without_clock(busy)
    for row, again in zip(*(part["efficiency_metrics"].values() for part in found), strict=True):
        assert row == again | {"wall_clock": row["wall_clock"]}
    assert "and this one costs least" in quiet["answer"]["text"]


def test_the_fastest_training_is_the_speed_of_all(study: Any) -> None:
    found, _ = study({"high_1k_1M": near(2.7), "random_1k_1M": near(2.8)})
    slow, fast = found.arms
    runs = [
        dataclasses.replace(
            run, train=dataclasses.replace(run.train, train_time=3 * run.train.train_time)
        )
        for run in slow.runs
    ]
    arms = (dataclasses.replace(slow, runs=tuple(runs)), fast)
    busy = dataclasses.replace(found, arms=arms)
    assert isinstance(busy, Study) and cost.speed(busy, "1M") == cost.speed(found, "1M")
    assert cost.training_seconds(arms[0], busy) == pytest.approx(
        slow.mean(lambda run: run.train.train_time)
    )
    assert cost.device(busy, "1M") == "cpu"


@pytest.mark.parametrize(
    ("tier", "is_scored"),
    [
        ({"rule": "top", "count": 5}, True),
        ({"rule": "bottom", "share": 0.5}, True),
        ({"rule": "top", "share": 1.0}, False),
        ({"rule": "random", "share": 1.0}, False),
        ({"rule": "longest", "count": 5}, False),
        ({"rule": "matched", "of": "high_5"}, False),
    ],
)
def test_scoring_is_charged_where_the_score_chose_the_rows(
    tier: dict[str, Any], is_scored: bool
) -> None:
    assert Tier(**tier, recipe="").is_scored is is_scored
