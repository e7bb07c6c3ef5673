"""What the program says with few seeds, beside what many seeds say."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.corpora import NOISE, ROWS, TEST_ROWS, corpus
from benchmarks.truth.trainings import BETWEEN, REPLICA_SEEDS, SHARES, STEPS, TIERS, Training, read
from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions.dial import Dial, dial
from winnow.analyze.study import Arm, Run, Study, estimates

SETTINGS = AnalyzeConfig(resamples=100)
SEEDS, ITEMS = 3, 300
"""What a user pays for. The truth is that of all other seeds, and of as many times as many rows."""
TOPS = tuple(f"top_{share}" for share in SHARES)
PAIRS = (*combinations(TOPS, 2), *((f"top_{s}", f"matched_{s}") for s in SHARES[:-1]))
"""Whose margins are held against the truth: all tops, and every top against its control."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Decision:
    """One question to the program, its answer and the truth."""

    kind: str
    steps: int
    answer: Dial
    margins: dict[tuple[str, str], Interval]
    """Empty where the budget is none of those that were trained."""
    truth: dict[str, float]
    """Loss per token of every tier."""

    @property
    def best(self) -> str:
        """The tier with the lowest true loss."""
        return min(TIERS, key=lambda tier: self.truth[tier])

    def holds(self, pair: tuple[str, str], wider: float) -> bool:
        """Whether a margin's interval, so many times as wide, holds the true one."""
        margin, true = self.margins[pair], self.true_margin(pair)
        low, high = margin.low - margin.value, margin.high - margin.value
        return wider * low <= true - margin.value <= wider * high

    def true_margin(self, pair: tuple[str, str]) -> float:
        """How much lower the true loss of the first is."""
        return self.truth[pair[1]] - self.truth[pair[0]]


def _losses(kind: str, model: str, steps: int, seeds: range | list[int], folder: Path) -> Floats:
    """Summed losses by tier, seed and test row."""
    return np.stack(
        [
            np.stack([read(Training(kind, tier, model, steps, seed), folder) for seed in seeds])
            for tier in TIERS
        ]
    )


def _study(kind: str, seeds: list[int], rows: NDArray[np.int64], folder: Path) -> Study:
    """What the program would read of a grid with these seeds and test rows. A step costs a second,
    and the scores nothing."""
    arms = []
    for steps in STEPS:
        losses = _losses(kind, "larger", steps, seeds, folder)[:, :, rows]
        for (name, tier), by_seed in zip(TIERS.items(), losses, strict=True):
            share = (TIERS[tier.of] if tier.of else tier).share
            assert share is not None
            config: Any = SimpleNamespace(device="")
            nothing: Any = None
            train: Any = SimpleNamespace(
                train_time=steps, flops=steps, tokens_seen=steps, num_epochs=1, num_parameters=1
            )
            runs = [
                Run(
                    seed=seed,
                    config=config,
                    train=train,
                    metrics=nothing,
                    strata={},
                    generation=nothing,
                    samples=[],
                    losses=row_losses,
                    sha256="",
                )
                for seed, row_losses in zip(seeds, by_seed, strict=True)
            ]
            arms.append(
                Arm(
                    name=f"{name}_{steps}",
                    tier_name=name,
                    tier=tier,
                    level="",
                    model="larger",
                    recipe=None,
                    budget=f"{steps}_steps",
                    model_name=f"larger_{steps}_steps",
                    num_rows=round(share * ROWS),
                    num_tokens=0,
                    share=share,
                    overlap=None,
                    runs=tuple(runs),
                )
            )
    tokens = np.array([len(corpus(kind).test[row]) for row in rows])
    return Study(
        arms=tuple(arms),
        seeds=tuple(seeds),
        num_items=len(rows),
        tokens=tokens,
        statistics={},
        ledgers={},
        scoring={"seconds": 0.0, "scorers": {}},
        scorers={},
    )


def _truth(losses: Floats, tokens: Floats) -> dict[str, float]:
    means = losses.sum(axis=2).mean(axis=1) / tokens.sum()
    return dict(zip(TIERS, means.tolist(), strict=True))


def decisions(num_seeds: int, folder: Path) -> Iterator[Decision]:
    """Ask with every three seeds in turn, no seed twice, and with test rows drawn for each."""
    for number, kind in enumerate(NOISE):
        tokens = np.array([len(document) for document in corpus(kind).test], dtype=np.float64)
        for first in range(0, num_seeds - SEEDS + 1, SEEDS):
            seeds = list(range(first, first + SEEDS))
            order = np.random.default_rng([3, number, first]).permutation(TEST_ROWS)
            rows, others = order[:ITEMS], order[ITEMS : ITEMS * num_seeds // SEEDS]
            study = _study(kind, seeds, rows, folder)
            losses = estimates(study, SETTINGS)
            rest = [seed for seed in range(num_seeds) if seed not in seeds]
            for steps in (*STEPS, BETWEEN):
                known = rest if steps in STEPS else [s for s in rest if s < num_seeds // 2]
                true = _losses(kind, "larger", steps, known, folder)[:, :, others]
                margins = {
                    (one, two): losses.margin(f"{one}_{steps}", f"{two}_{steps}")
                    for one, two in PAIRS
                    if steps in STEPS
                }
                yield Decision(
                    kind,
                    steps,
                    dial(study, SETTINGS, "larger", steps),
                    margins,
                    _truth(true, tokens[others]),
                )


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the proxy ranks the tiers of one corpus and budget."""

    kind: str
    steps: int
    same: int
    pairs: int
    sure_same: int
    sure_pairs: int
    """Of those that many seeds of the larger model tell apart for sure."""


def rankings(num_seeds: int, folder: Path) -> Iterator[Ranking]:
    """Rank all tiers by every three seeds of the proxy, beside all seeds of the larger model."""
    pairs = list(combinations(range(len(TIERS)), 2))
    for kind in NOISE:
        tokens = np.array([len(document) for document in corpus(kind).test], dtype=np.int64)
        for steps in STEPS:
            larger = _losses(kind, "larger", steps, range(num_seeds), folder)
            proxy = _losses(kind, "replica", steps, range(REPLICA_SEEDS), folder)
            truth = Estimates.of(
                dict.fromkeys(TIERS, "larger"), larger, tokens, resamples=1, confidence=0.9, seed=0
            )
            names = list(TIERS)
            sure = [not truth.margin(names[a], names[b]).holds_zero for a, b in pairs]
            is_lower = np.array([truth.values[a] < truth.values[b] for a, b in pairs])
            same = np.zeros(len(pairs), np.int64)
            asked = range(0, REPLICA_SEEDS, SEEDS)
            for first in asked:
                means = proxy[:, first : first + SEEDS].sum(axis=2).mean(axis=1)
                same += is_lower == np.array([means[a] < means[b] for a, b in pairs])
            yield Ranking(
                kind,
                steps,
                int(same.sum()),
                len(pairs) * len(asked),
                int(same[sure].sum()),
                sum(sure) * len(asked),
            )
