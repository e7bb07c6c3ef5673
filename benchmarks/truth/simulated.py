"""What the program's intervals and decisions promise, on made-up losses of which all is known.

    python -m benchmarks.truth.simulated [--studies 300]

Four tiers of top rows, of which three have a control; their losses are a level and noise of seeds,
of test rows, and of both, in several proportions. The program's own `Estimates` and `judge` are
asked, as if the losses came from trainings. Takes some minutes of one core.
"""

import argparse
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.analyze.intervals import Estimates
from winnow.analyze.questions.answer import Verdict, judge
from winnow.analyze.study import Arm
from winnow.core.experiments import Tier

ROWS, MARGIN, WORSE = 300, 0.02, 0.05
SIZES = (200, 500, 1000, 2000)
TIERS = {
    **{f"top_{size}": Tier(rule="top", count=size, recipe="") for size in SIZES},
    **{f"matched_{size}": Tier(rule="matched", of=f"top_{size}", recipe="") for size in SIZES[:3]},
}
SPREADS = {
    "alike": [1.0] * 7,
    "gradient": [3, 2, 1.4, 1, 3, 2, 1.4],
    "memorised": [6, 1.5, 1, 1, 6, 1.5, 1],
}
PARTS = {
    "seeds": (0.05, 0.05, 0.05),
    "even": (0.02, 0.2, 0.2),
    "rows": (0.004, 0.3, 0.05),
    "both": (0.004, 0.05, 0.5),
}
"""Deviations of a difference of two arms, in nats: of a seed, of a row, of a row and a seed."""
SHAPES: dict[str, tuple[float, ...]] = {
    "ramp": (0, 1, 2, 3),
    "valley": (2, 0, 1, 3),
    "twins": (0, 0.1, 4, 8),
}
GAPS = (0.01, 0.03, 0.1)
Floats = NDArray[np.float64]


def draw(
    dice: np.random.Generator,
    seeds: int,
    parts: tuple[float, float, float],
    spread: str,
    level: Any,
) -> Estimates:
    """One study: the estimates of its seven arms."""
    seed, row, both = (part / np.sqrt(2) for part in parts)
    arm = np.array(SPREADS[spread])[:, None, None]
    arm = arm / np.sqrt((arm**2).mean()) * seed
    losses = 3 + np.asarray(level, float)[:, None, None] + arm * dice.normal(size=(7, seeds, 1))
    losses = losses + dice.normal(0, row, (7, 1, ROWS)) + dice.normal(0, both, (7, seeds, ROWS))
    return Estimates.of(
        dict.fromkeys(TIERS, "made up"),
        losses,
        np.ones(ROWS),
        resamples=1,
        confidence=0.9,
        seed=0,
    )


def arms(seeds: int) -> list[Arm]:
    """The arms as the analysis reads them; nothing but their tiers is known."""
    train: Any = SimpleNamespace(tokens_seen=1, num_epochs=1)
    run: Any = SimpleNamespace(train=train)
    return [
        Arm(
            name=name,
            tier_name=name,
            tier=tier,
            level="",
            model="made up",
            recipe=None,
            budget="1k_steps",
            model_name="made up",
            num_rows=int(name.rpartition("_")[2]),
            num_tokens=0,
            share=int(name.rpartition("_")[2]) / (2 * SIZES[-1]),
            overlap=None,
            runs=(run,) * seeds,
        )
        for name, tier in TIERS.items()
    ]


def decide(known: list[Arm], found: Estimates) -> Verdict:
    """The program's answer where scoring costs nothing and all arms train for as long."""
    return judge("made up", known, found, margin=MARGIN, cost=lambda arm: 1.0)


def coverage(studies: int) -> None:
    """How often 90% intervals of margins hold the truth, which is 0."""
    print("| seeds | noise | arms vary | intervals that hold the truth |\n|---|---|---|---|")
    names, dice = list(TIERS), np.random.default_rng(0)
    for seeds in (2, 3, 5):
        for part, parts in PARTS.items():
            for spread in SPREADS:
                held = 0
                for _ in range(studies):
                    found = draw(dice, seeds, parts, spread, np.zeros(7))
                    pairs = ((0, 1), (2, 5), (3, 6))
                    held += sum(found.margin(names[a], names[b]).holds_zero for a, b in pairs)
                print(f"| {seeds} | {part} | {spread} | {held / (3 * studies):.1%} |", flush=True)


def claims(studies: int) -> None:
    """How often a worthless score is said to earn it, by its best tier: 5% at the most."""
    print("\n| noise | false claims of a worthless score |\n|---|---|")
    known, dice = arms(3), np.random.default_rng(1)
    for part, parts in PARTS.items():
        said = told = 0
        for _ in range(4 * studies):
            control = decide(known, draw(dice, 3, parts, "alike", np.zeros(7))).control
            told += control is not None
            said += control is not None and control.loses
        print(f"| {part} | {said}/{told} ({said / max(1, told):.1%}) |", flush=True)


def decisions(studies: int) -> None:
    """How often it decides, and how often rightly, where controls are worse by WORSE."""
    print("\n| seeds vary by | abstains | right within the margin | exactly the best |")
    print("|---|---|---|---|")
    known, dice = arms(3), np.random.default_rng(2)
    total = np.zeros(4)
    for deviation in (0.02, 0.05, 0.1):
        asked = np.zeros(4)
        for steps in SHAPES.values():
            for gap in GAPS:
                level = np.array([*steps, *steps[:3]]) * gap
                level[4:] += WORSE
                for _ in range(max(1, studies // 3)):
                    found = draw(dice, 3, (deviation, 0.15, 0.05), "alike", level)
                    kept = decide(known, found).kept
                    lost = None if kept is None else level[found.index[kept.name]] - level.min()
                    asked += (1, lost is None, lost is not None and lost <= MARGIN, lost == 0)
        total += asked
        _line(f"{deviation}", asked)
    _line("all", total)


def _line(name: str, asked: Floats) -> None:
    number, abstained, within, best = asked
    decided = number - abstained
    print(
        f"| {name} | {abstained / number:.0%} | {within / decided:.1%} | {best / decided:.0%} |",
        flush=True,
    )


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=300)
    studies = parser.parse_args().studies
    coverage(studies)
    claims(studies)
    decisions(studies)


if __name__ == "__main__":
    main()
