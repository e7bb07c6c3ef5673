"""A stand-in for the tracker in a fresh working folder; and studies with chosen losses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import Items, pool, run, write_cards

from winnow.analyze import stage
from winnow.analyze.intervals import Estimates
from winnow.analyze.study import Study, read_study


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were to be recorded, without mlflow; the working folder is a fresh one."""
    monkeypatch.chdir(tmp_path)
    recorded: list[Path] = []
    monkeypatch.setattr(stage, "record", recorded.append)
    return recorded


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages before training left, made once."""
    root = tmp_path_factory.mktemp("base")
    pool(root)
    write_cards(root)
    return root


@pytest.fixture
def study(base: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function: mean losses by experiment and seed -> the study and its estimates."""
    monkeypatch.chdir(base)

    def made(losses: dict[str, list[float]]) -> tuple[Study, Estimates]:
        items = Items()
        seeds = range(len(next(iter(losses.values()))))
        for name, values in losses.items():
            for seed in seeds:
                run(base, name, seed, items, values[seed])
        found = read_study(list(losses), list(seeds))
        drawn = Estimates.of(
            {arm.name: arm.model_name for arm in found.arms},
            np.stack([arm.losses for arm in found.arms]),
            found.tokens,
            resamples=300,
            confidence=0.9,
            seed=0,
        )
        return found, drawn

    return made
