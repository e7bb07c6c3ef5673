"""The confound grid: what holds over the regimes, what does not, what was not run."""

from pathlib import Path
from typing import Any

import pytest
from made_up import build, near
from test_analysis import analysis, page
from test_answer import decide

from winnow.analyze import stage
from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.questions import confounds
from winnow.analyze.report.values import plain
from winnow.analyze.study import Study
from winnow.core.experiments import Budget

BUDGETS = {
    "300_steps": Budget(unit="steps", amount=300),
    "3k_steps": Budget(unit="steps", amount=3000),
    "60_seconds": Budget(unit="seconds", amount=60),
}


def grids(made: tuple[Study, Estimates]) -> dict[str, confounds.Grid]:
    """The grids of a made-up study."""
    study, losses = made
    verdicts = {name: decide(name, arms, losses) for name, arms in study.models().items()}
    return confounds.confound_grid(study, losses, verdicts, BUDGETS)


def grid(made: tuple[Study, Estimates]) -> Any:
    """The same as they are written."""
    return plain(grids(made))


def test_an_arm_is_told_from_its_budget(study: Any) -> None:
    found, _ = study({"high_1k_1M": near(2.7), "high_1k_1M_300_steps": near(2.8)})
    assert [(a.model, a.budget, a.model_name) for a in found.arms] == [
        ("1M", None, "1M"),
        ("1M", "300_steps", "1M_300_steps"),
    ]
    assert list(found.models()) == ["1M", "1M_300_steps"]


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ([(0.1, 0.2), (-0.2, -0.1)], "FLIPS"),
        ([(0.1, 0.2), (-0.1, 0.1), (-0.2, -0.1)], "FLIPS"),
        ([(0.1, 0.2), (-0.1, 0.1)], "not held"),
        ([(-0.2, -0.1), (-0.2, 0.0)], "not held"),
        ([(0.1, 0.2), (0.0, 0.1)], "not held"),
        ([(0.1, 0.2), (0.3, 0.4)], "holds"),
        ([(-0.1, 0.2), (-0.3, 0.4)], "undecided"),
        ([(0.1, 0.2)], None),
        ([], None),
    ],
)
def test_what_becomes_of_a_conclusion(ends: list[tuple[float, float]], status: str | None) -> None:
    found = [Interval((low + high) / 2, low, high) for low, high in ends]
    assert confounds.margin_status(found) == status


def test_a_planted_flip_is_flagged_and_what_holds_is_not(study: Any) -> None:
    # By the recipe more rows win; for equal steps the hard filter does. Its score helps in both.
    losses = {
        "ultra_300_1M": near(3.0),
        "high_1k_1M": near(2.7),
        "matched_300_1M": near(3.2),
        "ultra_300_1M_300_steps": near(2.6),
        "high_1k_1M_300_steps": near(2.9),
        "matched_300_1M_300_steps": near(2.8),
    }
    by_model = grids(study(losses))
    found = plain(by_model)["1M"]
    assert list(found["regimes"]) == ["epochs", "300_steps"]
    assert found["regimes"]["epochs"]["best"] == "high_1k"
    assert found["regimes"]["300_steps"]["best"] == "ultra_300"
    assert found["verdict"]["status"] == "FLIPS"
    pair = found["comparisons"]["ultra_300 over high_1k"]
    assert pair["status"] == "FLIPS"
    assert pair["regimes"]["epochs"]["value"] == pytest.approx(-0.3, abs=0.03)
    assert pair["regimes"]["300_steps"]["low"] > 0
    assert found["comparisons"]["ultra_300 over matched_300"]["status"] == "holds"
    assert confounds.flips(by_model) == [
        "1M: the tier to keep differs between epochs and 300_steps",
        "1M: ultra_300 over high_1k turns round between epochs and 300_steps",
    ]


def test_a_regime_that_cannot_tell_does_not_hold(study: Any) -> None:
    losses = {
        "ultra_300_1M": near(3.0),
        "high_1k_1M": near(2.7),
        "ultra_300_1M_300_steps": [2.9, 2.7, 2.8],
        "high_1k_1M_300_steps": [2.7, 2.9, 2.8],
    }
    by_model = grids(study(losses))
    found = plain(by_model)["1M"]
    assert found["verdict"]["status"] == "not held"
    assert found["comparisons"]["ultra_300 over high_1k"]["status"] == "not held"
    assert not confounds.flips(by_model)


def test_what_was_not_run_is_named(study: Any) -> None:
    losses = {
        "ultra_300_1M": near(3.0),
        "high_1k_1M": near(2.7),
        "matched_300_1M": near(3.1),
        "ultra_300_1M_300k_tokens": near(3.0),
        "high_1k_1M_300k_tokens": near(2.7),
    }
    found = grid(study(losses))["1M"]
    row = found["comparisons"]["ultra_300 over matched_300"]
    assert row["status"] is None and "fewer than two regimes" in row["reasons"]["status"]
    cells = row["regimes"]
    assert cells["300k_tokens"] is None
    assert cells["reasons"]["300k_tokens"] == "matched_300_1M_300k_tokens was not run"
    # 322 steps were taken: 300 are nearer than 3,000.
    steps = found["not_run"].pop("steps")["experiments"]
    assert steps == ["ultra_300_1M_300_steps", "matched_300_1M_300_steps", "high_1k_1M_300_steps"]
    assert found["not_run"]["seconds"]["experiments"][0] == "ultra_300_1M_60_seconds"
    assert set(found["not_run"]) == {"seconds"}


def test_only_budgets_that_are_declared_are_named(study: Any) -> None:
    found = grid(study({"ultra_300_1M_300_steps": near(3.0), "high_1k_1M_300_steps": near(2.7)}))
    absent = found["1M"]["not_run"]
    assert absent["epochs"]["experiments"] == ["ultra_300_1M", "high_1k_1M"]
    assert absent["tokens"]["experiments"] is None
    assert "train.budgets" in absent["tokens"]["reasons"]["experiments"]


def test_models_have_grids_of_their_own(study: Any) -> None:
    losses = {
        "ultra_300_1M": near(3.0),
        "high_1k_1M": near(2.7),
        "ultra_300_4M": near(2.0),
        "high_1k_4M": near(2.2),
    }
    found = grid(study(losses))
    assert list(found) == ["4M", "1M"]
    assert found["4M"]["regimes"]["epochs"]["best"] == "ultra_300"
    assert found["1M"]["verdict"]["status"] is None, "two models are no two regimes"


def test_flips_are_in_the_report_and_the_advice(tmp_path: Path, tracker: Any) -> None:
    names = [f"{tier}_1M{end}" for end in ("", "_300_steps") for tier in ("ultra_300", "high_1k")]
    build(tmp_path, names, [0, 1, 2], losses={"ultra_300_1M_300_steps": 2.5})
    stage.run()
    found = analysis()
    assert found["confounds"]["1M"]["verdict"]["status"] == "FLIPS"
    assert found["answer"]["opening"].startswith("The models and budgets 1M and 1M_300_steps do")
    assert any(text.startswith("Do not act on what depends") for text in found["recommendations"])
    text = page().words
    assert "FLIPS" in text and "equal tokens (ultra_300_1M_300k_tokens" in text
    margin = found["confounds"]["1M"]["comparisons"]["ultra_300 over high_1k"]
    assert margin["regimes"]["300_steps"]["low"] > 0
