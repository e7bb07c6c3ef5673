"""Laws against numpy's own fit and planted ones; exchange rates against a slow walk."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_up import TIERS, build, near, with_replicates
from test_analysis import analysis, page

from winnow.analyze import laws, stage
from winnow.analyze.intervals import Estimates
from winnow.analyze.laws import Curve
from winnow.analyze.questions import scaling
from winnow.analyze.report.values import plain


def curve(rule: str, sizes: list[int], losses: Any) -> Curve:
    """A curve of arms that have a size and nothing else."""
    arms = tuple(SimpleNamespace(num_rows=n, num_tokens=100 * n, tier_name=str(n)) for n in sizes)
    return Curve(rule, arms, np.array(losses, dtype=float), rule)  # type: ignore[arg-type]


def of(losses: list[float], noise: float = 0.0, resamples: int = 400) -> Estimates:
    """Estimates of named arms with normal replicates."""
    dice = np.random.default_rng(0)
    means = np.array(losses)
    drawn = means[:, None] + dice.normal(0, noise, (len(means), resamples))
    return with_replicates(means, drawn)


def test_every_column_is_fitted_as_polyfit_does() -> None:
    dice = np.random.default_rng(1)
    sizes, losses = np.array([300.0, 1000, 4000, 9000]), dice.uniform(2, 4, (4, 20))
    alpha, level = laws.fit(sizes, losses)
    for column in range(20):
        slope, start = np.polyfit(np.log(sizes), np.log(losses[:, column]), 1)
        assert -alpha[column] == pytest.approx(slope)
        assert level[column] == pytest.approx(start + slope * np.log(sizes).mean())


def test_a_planted_law_is_found() -> None:
    sizes = [100, 300, 1000, 3000]
    true = [(5e9 / (100 * n)) ** 0.08 for n in sizes]
    losses = of(true, 0.01)
    drawn = np.concatenate([losses.values[:, None], losses.replicates], axis=1)
    law = plain(scaling.law(curve("top", sizes, drawn), losses))
    assert law["alpha"]["value"] == pytest.approx(0.08)
    assert law["alpha"]["low"] < 0.08 < law["alpha"]["high"]
    assert law["critical_tokens"] == pytest.approx(5e9)
    assert law["residual"] == pytest.approx(0, abs=1e-9)
    bent = plain(scaling.law(curve("top", sizes, drawn + [[0.1], [0], [0], [0.1]]), losses))
    assert bent["residual"] > 0.03


def test_two_sizes_make_no_law_and_a_rise_has_no_scale() -> None:
    losses = of([3.0, 2.5])
    law = plain(scaling.law(curve("matched", [1, 2], [[3.0] * 401, [2.5] * 401]), losses))
    assert law["alpha"] is None
    assert law["reasons"]["alpha"] == "2 sizes of length-matched random rows; 3 make a law"
    rising = plain(
        scaling.law(curve("top", [1, 2, 3], np.ones((3, 401)) * [[2], [2.1], [2.2]]), losses)
    )
    assert rising["alpha"]["value"] < 0 and rising["critical_tokens"] is None
    assert "does not fall" in rising["reasons"]["critical_tokens"]


def slowly(rows: list[int], losses: list[float], target: float) -> float:
    """Where a line through logarithms comes to the target, a segment after the other."""
    for a, b, high, low in zip(rows, rows[1:], losses, losses[1:], strict=False):
        if low <= target <= high:
            share = (math.log(high) - math.log(target)) / (math.log(high) - math.log(low))
            return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))
    slope = -np.polyfit(np.log(rows), np.log(losses), 1)[0]
    end, loss = (rows[0], losses[0]) if target > losses[0] else (rows[-1], losses[-1])
    return float(end * (loss / target) ** (1 / slope))


@pytest.mark.parametrize("target", [4.4, 4.0, 3.7, 3.5, 3.2, 3.0, 2.9])
def test_the_rows_to_a_loss_are_those_of_a_slow_walk(target: float) -> None:
    rows, losses = [100, 300, 1000], [4.0, 3.5, 3.0]
    found = scaling.reached(curve("random", rows, [[x] for x in losses]), np.array([target]))
    assert found[0] == pytest.approx(slowly(rows, losses, target))


def test_nothing_leads_on_beyond_two_sizes_or_a_rise() -> None:
    two = curve("random", [100, 300], [[4.0] * 3, [3.5] * 3])
    assert np.isnan(scaling.reached(two, np.array([4.1, 3.8, 3.4]))).tolist() == [True, False, True]
    rising = curve("random", [100, 300, 900], [[4.0], [4.1], [3.0]])
    assert np.isnan(scaling.reached(rising, np.array([3.5]))).all()


def rate(own: float, control: list[float], noise: float = 0.0, rows: int = 300) -> Any:
    """The exchange rate of an arm of 300 rows against controls of 100, 300, 1,000."""
    losses = of([own, *control], noise)
    arm: Any = SimpleNamespace(name="0", num_rows=rows)
    drawn = np.concatenate([losses.values[1:, None], losses.replicates[1:]], axis=1)
    return plain(
        scaling.exchange(arm, curve("matched", [100, 300, 1000][: len(control)], drawn), losses)
    )


def test_a_row_of_equal_worth_is_worth_one() -> None:
    found = rate(3.5, [4.0, 3.5, 3.0], noise=0.01)
    assert found["value"] == pytest.approx(1) and 0.9 < found["low"] < 1 < found["high"] < 1.1
    assert found["extrapolated"] is False and "reasons" not in found


def test_a_planted_exchange_rate_is_found() -> None:
    # Both rules follow one law, and a row of the tier counts as 2.5 rows.
    def loss(rows: float) -> float:
        return (1e9 / rows) ** 0.1

    control = [loss(rows) for rows in (100, 300, 1000)]
    found = rate(loss(2.5 * 300), control, noise=0.002)
    assert found["value"] == pytest.approx(2.5) and found["low"] < 2.5 < found["high"]
    assert not found["extrapolated"]
    far = rate(loss(6 * 300), control, noise=0.002)
    assert far["value"] == pytest.approx(6) and far["extrapolated"], "1,800 rows were not run"
    # The value is within what was run, an end of its interval is not.
    edge = rate(loss(1000 / 300 * 300 - 1), control, noise=0.002)
    assert edge["value"] < 1000 / 300 < edge["high"] and edge["extrapolated"]


@pytest.mark.parametrize(
    ("own", "control", "said"),
    [
        (3.5, [4.0], "one size of length-matched random rows was run"),
        (3.5, [4.0, 4.1, 3.0], "does not fall with every size"),
        (4.2, [4.0, 3.0], "outside the sizes of length-matched random rows that were run"),
        (1.0, [4.0, 3.5, 3.0], "more than 10 times beyond"),
    ],
)
def test_what_is_not_defined_has_its_reason(own: float, control: list[float], said: str) -> None:
    found = rate(own, control)
    assert found["value"] is None and said in found["reasons"]["value"]
    assert found["extrapolated"] is None and found["reasons"]["extrapolated"]


def test_an_end_that_nobody_knows_is_open() -> None:
    # The middle control is hardly better than the first: in many replicates it is worse.
    found = rate(3.2, [3.51, 3.5, 3.0], noise=0.02)
    assert found["value"] is not None and found["low"] is None and found["high"] is None
    assert found["extrapolated"] and "too many replicates" in found["reasons"]["low"]
    beyond = rate(2.5, [4.0, 3.5, 3.0], noise=0.1)
    assert beyond["value"] is not None and beyond["high"] is None and beyond["low"] is not None


def test_intervals_of_a_rate_cover_it() -> None:
    dice = np.random.default_rng(3)
    true = [(1e9 / rows) ** 0.1 for rows in (700, 100, 300, 1000)]
    hits = 0
    for _ in range(300):
        measured = np.array(true) + dice.normal(0, 0.02, 4)
        drawn = measured[:, None] + dice.normal(0, 0.02, (4, 300))
        losses = with_replicates(measured, drawn)
        arm: Any = SimpleNamespace(name="0", num_rows=300)
        columns = np.concatenate([measured[1:, None], drawn[1:]], axis=1)
        found = plain(scaling.exchange(arm, curve("matched", [100, 300, 1000], columns), losses))
        assert found["value"] is not None
        hits += (found["low"] or 0) <= 700 / 300 <= (found["high"] or math.inf)
    assert 0.85 <= hits / 300 <= 0.95


def test_a_study_is_priced_within_its_model_and_budget(study: Any) -> None:
    losses = {
        "ultra_300_1M": near(3.05),
        "matched_300_1M": near(3.2),
        "matched_1k_1M": near(2.9),
        "ultra_300_1M_300_steps": near(2.5),
        "matched_300_1M_300_steps": near(2.5),
    }
    found = plain(scaling.scaling(*study(losses)))
    assert list(found) == ["1M", "1M_300_steps"]
    worth = slowly([300, 1000], [3.2, 2.9], 3.05) / 300
    priced = found["1M"]["exchange"]["ultra_300"]["matched"]
    assert priced["value"] == pytest.approx(worth, rel=0.1) and not priced["extrapolated"]
    alone = found["1M_300_steps"]["exchange"]["ultra_300"]["matched"]
    assert alone["value"] is None and "one size" in alone["reasons"]["value"]
    assert found["1M"]["laws"]["matched"]["sizes"] == {"matched_300": 33_000, "matched_1k": 110_000}


def test_the_report_marks_what_is_extrapolated(tmp_path: Path, tracker: Any) -> None:
    losses = {
        "ultra_300": 3.1,
        "high_1k": 2.9,
        "medium_4k": 2.7,
        "matched_300": 3.0,
        "matched_1k": 2.75,
    }
    names = [f"{tier}_1M" for tier in TIERS if not tier.startswith("random")]
    build(tmp_path, names, [0, 1, 2], losses=losses)
    stage.run()
    found = analysis()["scaling"]["1M"]
    assert found["exchange"]["high_1k"]["matched"]["extrapolated"] is False
    assert found["exchange"]["ultra_300"]["matched"]["value"] is None
    text, words = Path("analysis/report.html").read_text(encoding="utf-8"), page().words
    assert "One row of high_1k is worth 0." in words
    assert "One row of ultra_300 is worth an unknown number of length-matched random rows" in words
    assert (
        "Power laws of loss against tokens" in words
        and 'aria-label="Loss goes as tokens to the power of −0.05' in text
    )
