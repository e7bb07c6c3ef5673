"""Kills of a training: before its commit points, passes and steps, and at random moments.

nice python -m benchmarks.crashes [--points 0] [--moments 30]    (make bench-crashes)

A tiny model of 34 steps with dropout, two passes a step, a checkpoint every 5 steps, on one core.
0 points are all. docs/reliability.md is its record.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.reliability import ENVIRONMENT, ROOT, table, tiny_project


def main(points: int, moments: int) -> None:
    """Print a table: kind of moment, kills, good ends, steps done again."""
    path = os.pathsep.join([str(ROOT / "tests"), ENVIRONMENT["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/faults/train_kills.py"), str(points), str(moments)],
        env=ENVIRONMENT | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    hit = [kill for kill in found if kill["killed"]]
    for kill in hit:
        kill["good"] = kill["whole"] and kill["resumed"] and kill["equal"] and not kill["debris"]
        if not kill["good"]:
            print(kill, file=sys.stderr)
    rows: list[tuple[object, ...]] = []
    for kind in [*sorted({kill["kind"] for kill in hit}), "all"]:
        kills = [kill for kill in hit if kind in (kill["kind"], "all")]
        good, redone = sum(kill["good"] for kill in kills), [kill["redone"] for kill in kills]
        mean = f"{max(redone)}, {sum(redone) / len(redone):.1f}"
        rows.append((kind, len(kills), f"{good} of {len(kills)}", mean))
    head = ("killed", "kills", "equal bytes, points once", "steps redone: max, mean")
    table(f"Kills of a training ({found[0]['of']} points in all)", head, *rows)


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--points", type=int, default=0)
    options.add_argument("--moments", type=int, default=30)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        tiny_project(Path(place))
        main(chosen.points, chosen.moments)
        os.chdir("/")
