"""Power: variances against plain loops, the least effect against simulated grids, the command."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import TESTED, build, near
from test_analysis import analysis, page

from winnow.__main__ import main
from winnow.analyze import stage
from winnow.analyze.intervals import Estimates
from winnow.analyze.questions import power
from winnow.analyze.report.values import plain

TOPS = ["ultra_300_1M", "high_1k_1M", "medium_4k_1M"]


def made(
    dice: np.random.Generator, shape: tuple[int, int, int], seed: float, item: float, both: float
) -> Any:
    """Losses per token by arm, seed and row, whose differences have these deviations."""
    arms, seeds, items = shape
    shared = dice.normal(3, 0.5, items) + dice.normal(0, 0.1, (seeds, 1))
    return (
        shared
        + dice.normal(0, seed / 2**0.5, (arms, seeds, 1))
        + dice.normal(0, item / 2**0.5, (arms, 1, items))
        + dice.normal(0, both / 2**0.5, shape)
    )


@pytest.mark.parametrize("num_arms", [2, 4])
def test_variances_are_those_of_a_plain_count_over_pairs(num_arms: int) -> None:
    dice = np.random.default_rng(0)
    tokens = dice.integers(5, 90, 40)
    losses = made(dice, (num_arms, 3, 40), 0.1, 0.5, 0.2) * tokens
    found = power.spread(losses, tokens, 0.9)
    seeds, items, boths = [], [], []
    for a, b in itertools.combinations(range(num_arms), 2):
        per_token = [[losses[x, s].sum() / tokens.sum() for s in range(3)] for x in (a, b)]
        seeds.append(np.var([per_token[0][s] - per_token[1][s] for s in range(3)], ddof=1))
        influence = [
            [
                [(losses[x, s, i] - per_token[k][s] * tokens[i]) / tokens.mean() for i in range(40)]
                for s in range(3)
            ]
            for k, x in enumerate((a, b))
        ]
        rows = np.array(influence[0]) - np.array(influence[1])
        items.append(np.var(rows.mean(axis=0), ddof=1))
        rest = rows - rows.mean(axis=0)
        boths.append((rest**2).sum() / (2 * 39))
    both = np.mean(boths)
    assert found.both == pytest.approx(both)
    assert found.item == pytest.approx(np.mean(items) - both / 3)
    assert found.seed == pytest.approx(max(0, np.mean(seeds) - both / 40))
    assert found.freedom == 2 * (num_arms - 1)


def test_variances_find_what_was_planted_and_the_bound_covers_it() -> None:
    dice = np.random.default_rng(1)
    tokens = np.full(50, 10)
    found = [
        power.spread(made(dice, (3, 3, 50), 0.1, 0.5, 0.3) * tokens, tokens, 0.9)
        for _ in range(400)
    ]
    assert np.mean([one.seed for one in found]) == pytest.approx(0.1**2, rel=0.1)
    assert np.mean([one.item for one in found]) == pytest.approx(0.5**2, rel=0.05)
    assert np.mean([one.both for one in found]) == pytest.approx(0.3**2, rel=0.02)
    assert np.mean([one.seed_high > 0.1**2 for one in found]) == pytest.approx(0.9, abs=0.04)


def test_one_arm_counts_twice() -> None:
    dice = np.random.default_rng(2)
    tokens = np.full(30, 10)
    losses = made(dice, (1, 4, 30), 0.1, 0.5, 0.2) * tokens
    found = power.spread(losses, tokens, 0.9)
    means = losses[0].sum(axis=1) / tokens.sum()
    assert found.seed == pytest.approx(2 * np.var(means, ddof=1) - found.both / 30)
    pair = made(dice, (2, 4, 30), 0.1, 0.5, 0.2) * tokens
    assert found.item > power.spread(pair, tokens, 0.9).item, "nothing is gained by pairing"


@pytest.mark.parametrize(
    ("num_seeds", "num_items", "seed", "item", "both", "least"),
    [
        # Of two seeds of two arms the interval itself varies the most.
        (2, 100, 0.05, 0.1, 0.1, 0.7),
        (3, 100, 0.05, 0.1, 0.1, 0.75),
        (3, 60, 0.005, 0.5, 0.1, 0.75),
        (3, 60, 0.0, 0.05, 0.6, 0.75),
    ],
)
def test_the_least_effect_is_seen_in_80_of_100_grids(
    num_seeds: int, num_items: int, seed: float, item: float, both: float, least: float
) -> None:
    known = power.Spread(seed=seed**2, seed_high=1, item=item**2, both=both**2, freedom=1)
    effect = power.Plan.of(known.seed, known, 2, num_seeds, num_items, 0.9).least_effect()
    dice = np.random.default_rng(4)
    tokens = dice.integers(8, 13, num_items)
    seen = 0
    for grid in range(500):
        losses = made(dice, (2, num_seeds, num_items), seed, item, both)
        losses[1] += effect
        drawn = Estimates.of(
            {"a": "", "b": ""}, losses * tokens, tokens, resamples=1, confidence=0.9, seed=grid
        )
        seen += drawn.margin("a", "b").above_zero
    assert least <= seen / 500 <= 0.85


def test_more_seeds_and_rows_see_less() -> None:
    known = power.Spread(seed=1e-4, seed_high=1, item=0.25, both=0.1, freedom=1)

    def least(seeds: int, rows: int = 500, confidence: float = 0.9) -> float:
        return power.Plan.of(1e-4, known, 4, seeds, rows, confidence).least_effect()

    by_seeds = [least(seeds) for seeds in power.SEEDS]
    assert by_seeds == sorted(by_seeds, reverse=True)
    assert least(3, rows=2000) < by_seeds[1] < least(3, confidence=0.95)


def test_a_winner_is_kept_as_often_as_the_headline_says() -> None:
    known = power.Spread(seed=1e-3, seed_high=1, item=0.1, both=0.02, freedom=1)
    plan = power.Plan.of(known.seed, known, 5, 3, 200, 0.9)
    effect = plan.least_effect()
    assert plan.share_of_winners(2, effect) == pytest.approx(power.POWER, abs=1e-3)
    dice = np.random.default_rng(5)
    arms = dice.normal(0, plan.deviation / 2**0.5, (20_000, 5)) + [0, *[effect] * 4]
    seen = (arms[:, 1:] - arms[:, :1] > plan.half).all(axis=1).mean()
    assert plan.share_of_winners(5, effect) == pytest.approx(seen, abs=0.01)
    assert 0.4 < seen < 0.7, "less often than one comparison is decided"


def test_one_seed_and_one_row_are_refused_with_the_reason(study: Any) -> None:
    grid = dict.fromkeys(TOPS, "1M")
    found, _ = study({name: near(3.0)[:1] for name in TOPS})
    part = plain(power.power(found.arms, grid, [0], found.tokens, 0.9))["1M"]
    assert part["pilot"] is None and "two finished seeds" in part["reasons"]["pilot"]
    found, _ = study({name: near(3.0) for name in TOPS})
    part = plain(power.power(found.arms, grid, [0], found.tokens, 0.9))["1M"]
    assert part["planned"]["effect"] is None and "one seed" in part["planned"]["reasons"]["effect"]
    part = plain(power.power(found.arms, {TOPS[0]: "1M"}, [0], found.tokens[:1], 0.9))["1M"]
    assert "one test row" in part["reasons"]["pilot"]


def test_the_command_reads_what_is_finished_and_writes_nothing(
    tmp_path: Path, tracker: Any, capsys: Any
) -> None:
    names = [*TOPS, "ultra_300_4M"]
    build(tmp_path, names, [0, 1, 2])
    for gone in (
        "high_1k_1M/2",
        "medium_4k_1M/1",
        "medium_4k_1M/2",
        "ultra_300_4M/1",
        "ultra_300_4M/2",
    ):
        shutil.rmtree(Path("results") / gone)
    assert main(["analyze", "--power"]) == 0
    said = capsys.readouterr().out
    small, large = said.split("4M:")
    assert f"pilot: 2 experiments of 2 seeds on {TESTED} test rows (paired)" in small
    assert "200 rows" in small and "800 rows" in small and "this grid, 3 seeds: 0." in small
    times = [
        json.loads(Path(f"results/{name}/0/train_results.json").read_text())["train_time"]
        for name in ("high_1k_1M", "medium_4k_1M")
    ]
    assert f"still to be paid: 3 trainings, about {times[0] + 2 * times[1]:.2g} s\n" in small
    assert "least margin: not defined, no two finished seeds" in large
    assert "still to be paid: 2 trainings, about" in large
    assert not Path("analysis").exists() and not tracker


def test_what_nobody_tried_is_guessed_or_unknown(study: Any) -> None:
    found, _ = study({name: near(3.0) for name in TOPS[:2]})
    arms = {arm.name: arm for arm in found.arms}
    paid = plain(power.to_pay(arms, TOPS, [0, 1, 2, 3]))
    times = [arm.mean(lambda run: run.train.train_time) for arm in found.arms]
    assert paid["trainings"] == 6 and paid["guessed"] == 4
    assert paid["hours"] * 3600 == pytest.approx(sum(times) + 4 * sum(times) / 2)
    paid = plain(power.to_pay({}, TOPS, [0, 1]))
    assert paid["hours"] is None and paid["trainings"] == 6 and paid["reasons"]["hours"]


def test_without_any_result_the_pilot_is_named(tmp_path: Path, tracker: Any, capsys: Any) -> None:
    build(tmp_path, TOPS, [0, 1])
    shutil.rmtree("results")
    assert main(["analyze", "--power"]) == 2
    assert "`winnow train ultra_300_1M --seed 0 && winnow evaluate" in capsys.readouterr().err


def test_the_report_has_the_same_table(tmp_path: Path, tracker: Any, capsys: Any) -> None:
    build(tmp_path, TOPS, [0, 1, 2])
    stage.run()
    found = analysis()["power"]["1M"]
    assert found["grid"]["3"]["200"]["effect"] == found["planned"]["effect"]
    assert found["to_pay"] == {"trainings": 0, "guessed": 0, "hours": 0}
    assert f"{found['planned']['effect']:.3f}" in page().words
    assert any("unseen rather than absent" in text for text in analysis()["recommendations"])
    capsys.readouterr()
    main(["analyze", "--power"])
    assert f"this grid, 3 seeds: {found['planned']['effect']:.4f}" in capsys.readouterr().out
