"""A stand-in for the tracker in a fresh working folder; and studies with chosen losses."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import Items, pool, run, write_cards

from winnow import record
from winnow.analyze.intervals import Bootstrap
from winnow.analyze.study import Study, read_study


class Tracker(types.ModuleType):
    """Stands where winnow.record.runs is, and remembers."""

    def __init__(self) -> None:
        super().__init__("winnow.record.runs")
        self.calls: list[tuple[Any, ...]] = []

    def record_analysis(self, *arguments: Any) -> None:
        """As the real one."""
        self.calls.append(arguments)


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """No mlflow; and the working folder is a fresh one."""
    monkeypatch.chdir(tmp_path)
    made = Tracker()
    monkeypatch.setitem(sys.modules, "winnow.record.runs", made)
    monkeypatch.setattr(record, "runs", made, raising=False)
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages before training left, made once."""
    root = tmp_path_factory.mktemp("base")
    pool(root)
    write_cards(root)
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
            [arm.name for arm in found.arms],
            np.stack([arm.losses for arm in found.arms]),
            found.tokens,
            resamples=300,
            confidence=0.9,
            seed=0,
        )
        return found, drawn

    return made
