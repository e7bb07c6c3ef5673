"""Kill a stage at its commit points and at random moments: is what it leaves whole and resumable?

In a project whose earlier stages are done:    python kills.py <stage> <points> <random kills>

(A training has more to it, see train_kills.py.)

<points> is how many of the commit points, evenly spread; 0 is all.

Prints a JSON object a kill: where it was, how many tables it left, whether the folder was whole or
absent then, and whether the next run ends in the bytes of an undisturbed one without debris.
Each run is a process of its own, forked after the imports, and killed by SIGKILL.
"""

import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from winnow.core import cards, layout

POINTS = ("mkdir", "fsync", "replace", "unlink", "rmdir")
"""Calls of the system by which work becomes permanent or vanishes: a kill falls before one."""

CELL, SEED = "high_40_tiny", 0
"""What an evaluation that is killed judges."""
PUBLISHED = {
    "evaluate": (f"results/{CELL}/{SEED}",),
    "analyze": ("analysis", "metrics.json", "results/experiment_summary.json"),
}
"""Where a stage publishes, the folder with the card first; else it is artifacts/<stage>."""


def _hook(
    owner: Any, name: str, sign: bytes, report: int, die_at: int | None, count: list[int]
) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        count[0] += 1
        if count[0] == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        os.write(report, sign)
        return result

    setattr(owner, name, call)


def attempt(
    run: Callable[[], None],
    die_at: int | None = None,
    delay: float | None = None,
    others: Sequence[tuple[Any, str, bytes]] = (),
) -> tuple[bool, bytes]:
    """Run a stage in a child that dies before its commit point `die_at`, or after some seconds.

    Args:
        run: the stage.
        die_at: number of the point, from 1.
        delay: seconds until the kill.
        others: more points, each as an object, the name of its method, and a sign.

    Returns:
        Whether it ended well, and a sign for each commit point that it passed.
    """
    end, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        count = [0]
        for owner, name, sign in [*((os, name, b".") for name in POINTS), *others]:
            _hook(owner, name, sign, report, die_at, count)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        if not os.environ.get("KILLS_ALOUD"):
            os.dup2(silence, 2)
        try:
            run()
            os._exit(0)
        finally:
            os._exit(1)
    os.close(report)
    if delay is not None:
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(end, "rb") as file:
        passed = file.read()
    _, status = os.waitpid(pid, 0)
    return status == 0, passed


def tree(folder: Path) -> dict[str, str]:
    """The hash of every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def debris() -> list[str]:
    """What a finished run must not leave behind."""
    roots = (Path("artifacts"), Path("results"), layout.STATE)
    names = [path for root in roots for path in root.rglob("*")] + list(Path().iterdir())
    hidden = [path for path in names if path.name.startswith(".") and path != layout.STATE]
    return [str(path) for path in [*hidden, *tables()]]


def tables() -> list[Path]:
    """The files by which a stage shows its tables to other machines while it works."""
    return [path for path in (layout.STATE / "tables").rglob("*") if path.is_file()]


def campaign(stage: str, points: int, moments: int) -> Iterator[dict[str, Any]]:
    """Kill the stage before commit points and at random moments; resume each time."""
    module = importlib.import_module(f"winnow.{stage}.stage")
    # What every run would do anew is done once, before the forks.
    late = ["pandas"]
    if stage in ("generate", "select", "analyze"):
        late += ["datasets", "matplotlib.pyplot"]
    if stage in ("generate", "evaluate", "analyze"):
        late += ["transformers.models.gpt2.modeling_gpt2", "winnow.record.runs"]
    for name in late:
        importlib.import_module(name)
    if stage == "score":
        scorer = module.QualityScorer(layout.TOKENIZER)
        scorer.score_sample({"instruction": "Why?", "response": "So."})
    runs = {"select": lambda: module.run([]), "evaluate": lambda: module.run([CELL], SEED, False)}
    run = runs.get(stage, module.run)
    places = [Path(place) for place in PUBLISHED.get(stage, (f"artifacts/{stage}",))]
    folder = places[0]

    def outputs() -> list[Any]:
        return [tree(place) if place.is_dir() else place.read_bytes() for place in places]

    def fresh() -> None:
        shutil.rmtree(layout.STATE, ignore_errors=True)

    fresh()
    assert attempt(run)[0], f"{stage} does not run at all"
    fresh()
    began = time.perf_counter()
    ended, passed = attempt(run)
    seconds = time.perf_counter() - began
    wanted = outputs()
    dice, last = random.Random(0), len(passed)
    points = min(points or last, last)
    kills: list[tuple[int | None, float | None]] = [
        (1 + round(index * (last - 1) / max(1, points - 1)), None) for index in range(points)
    ]
    kills += [(None, dice.uniform(0, seconds)) for _ in range(moments)]
    for point, delay in kills:
        fresh()
        ended, _ = attempt(run, point, delay)
        whole = not (folder / cards.CARD).exists() or cards.is_complete(folder)
        left = len(tables())
        resumed = ended or attempt(run)[0]
        yield {
            "stage": stage,
            "point": point,
            "of": last,
            "killed": not ended,
            "left": left,
            "whole": whole,
            "resumed": resumed,
            "equal": outputs() == wanted,
            "debris": debris(),
        }


if __name__ == "__main__":
    for kill in campaign(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])):
        print(json.dumps(kill), flush=True)
