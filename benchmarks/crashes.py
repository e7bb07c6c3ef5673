"""Kills of a training: before its commit points, passes and steps, and at random moments.

nice python -m benchmarks.crashes [--points 0] [--moments 30] [--answers]    (make bench-crashes)

A tiny model of 34 steps with dropout, two passes a step, a checkpoint every 5 steps, on one core.
0 points are all. With --answers by every objective that compares or rewards answers, a row each, in
place of a row for each kind of moment. docs/reliability.md is its record.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.reliability import ENVIRONMENT, ROOT, pairs_project, table, tiny_project

REWARDED = {"check": "contains", "samples": 4, "max_new_tokens": 8}
ANSWERS = {
    **{name: {"name": name} for name in ("dpo", "simpo", "orpo", "kto", "reward")},
    **{name: {"name": name} | REWARDED for name in ("rloo", "grpo")},
}


def campaign(points: int, moments: int) -> list[dict[str, Any]]:
    """What became of every training that a kill hit, in the project of this folder."""
    path = os.pathsep.join([str(ROOT / "tests"), ENVIRONMENT["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/faults/train_kills.py"), str(points), str(moments)],
        env=ENVIRONMENT | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    hit = [kill for kill in map(json.loads, done.stdout.splitlines()) if kill["killed"]]
    for kill in hit:
        kill["good"] = kill["whole"] and kill["resumed"] and kill["equal"] and not kill["debris"]
        if not kill["good"]:
            print(kill, file=sys.stderr)
    return hit


def line(name: str, kills: list[dict[str, Any]]) -> tuple[object, ...]:
    """A row of the table."""
    good, redone = sum(kill["good"] for kill in kills), [kill["redone"] for kill in kills]
    mean = f"{max(redone)}, {sum(redone) / len(redone):.1f}"
    return name, kills[0]["of"], len(kills), f"{good} of {len(kills)}", mean


def by_moment(folder: Path, points: int, moments: int) -> Iterator[tuple[object, ...]]:
    """Of a training on text, a row for each kind of moment."""
    tiny_project(folder)
    hit = campaign(points, moments)
    for kind in sorted({kill["kind"] for kill in hit}):
        yield line(kind, [kill for kill in hit if kill["kind"] == kind])
    yield line("all", hit)


def by_objective(folder: Path, points: int, moments: int) -> Iterator[tuple[object, ...]]:
    """Of a training on answers, a row for each objective."""
    for name, objective in ANSWERS.items():
        (folder / name).mkdir()
        pairs_project(folder / name, objective)
        yield line(name, campaign(points, moments))


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--points", type=int, default=0)
    options.add_argument("--moments", type=int, default=30)
    options.add_argument("--answers", action="store_true")
    chosen = options.parse_args()
    rows = by_objective if chosen.answers else by_moment
    with tempfile.TemporaryDirectory() as place:
        found = [*rows(Path(place), chosen.points, chosen.moments)]
        os.chdir("/")
    head = ("killed", "points in all", "kills", "equal bytes, points once")
    table("Kills of a training", (*head, "steps redone: max, mean"), *found)
