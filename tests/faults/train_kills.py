"""Kill a training anywhere: does the next one end in the same weights, optimizer and curve?

In a project whose data stages are done:    python train_kills.py <points> <random kills>

<points> is how many of the points are tried, evenly spread; 0 is all. A point is a call by which
a file or folder becomes permanent or vanishes, a backward pass (a kill before the second one of a
step is in mid-accumulation), an optimizer step or a write to the record. Each run is a process of
its own, forked after the imports and killed by SIGKILL. Its last checkpoint is put aside, so that
it can be compared; its model is not registered. Prints a JSON object a kill.
"""

import json
import os
import random
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft  # noqa: F401
import torch
import transformers.models.gpt2.modeling_gpt2
import transformers.models.llama.modeling_llama
import transformers.models.t5.modeling_t5  # noqa: F401
from faults import kills
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from winnow.core import cards, files, layout
from winnow.record import registry, runs
from winnow.train import stage

CELL, SEED = "high_40_tiny", 1
STATE = layout.STATE / "train" / f"{CELL}-{SEED}"
MODEL = Path("models") / CELL / str(SEED)
ASIDE = Path("aside")
WRITES = ("create_run", "log_batch", "log_inputs", "set_tag", "update_run_info")
MORE = (
    (torch.Tensor, "backward", b"b"),
    (torch.optim.AdamW, "step", b"s"),
    *((SqlAlchemyStore, name, b"r") for name in WRITES),
)


def train() -> None:
    """What `winnow train` runs, but for the model's registration."""
    discard = cards.discard

    def put_aside(folder: Path) -> None:
        if folder == STATE:
            shutil.rmtree(ASIDE, ignore_errors=True)
            shutil.copytree(max(STATE.glob("step-*")), ASIDE)
        discard(folder)

    cards.discard = put_aside
    registry.register = lambda *_: None
    stage.run([CELL], SEED, False)


def fresh(database: Path) -> None:
    """No trace of an earlier run; `database` is a record without runs."""
    for folder in (layout.STATE, Path("models"), ASIDE):
        shutil.rmtree(folder, ignore_errors=True)
    for left in Path().glob("mlflow.db*"):
        left.unlink()
    shutil.copyfile(database, "mlflow.db")


def outcome() -> dict[str, Any]:
    """All that a finished run must have equal to an undisturbed one, but for its times."""
    curve = files.read_json(MODEL / "train_results.json")["curve"]
    weights = sorted([*MODEL.glob("*.safetensors"), *ASIDE.glob("*.safetensors")])
    return {
        "files": {f"{path.parent.name}/{path.name}": files.file_hash(path) for path in weights},
        "curve": [{k: v for k, v in point.items() if k != "seconds"} for point in curve],
        "record": record(),
    }


def record() -> list[Any]:
    """How every run in the database ended, and every metric of it with how often it is there; the
    curve's losses and tokens with their values, which no clock decides. What the machine did is
    left out: only a training of 10 seconds or more is watched."""
    watched = "select run_uuid, key, step, value from metrics where key not like 'system/%'"
    with sqlite3.connect("mlflow.db") as database:
        rows = database.execute(watched).fetchall()
        ended = database.execute("select name, status from runs order by name").fetchall()
    runs = {name: number for number, name in enumerate(dict.fromkeys(row[0] for row in rows))}
    exact = ("tokens", "train_loss", "validation_loss")
    found = Counter(
        (runs[run], key, step, value if key in exact and step else 0.0)
        for run, key, step, value in rows
    )
    return [*ended, *sorted([*point, times] for point, times in found.items())]


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """The first entries that only one of two outcomes has, part by part."""
    lines = []
    for part in wanted:
        one, other = ([repr(x) for x in _entries(side[part])] for side in (wanted, found))
        lines += [f"{part}: missing {entry}" for entry in one if entry not in other][:4]
        lines += [f"{part}: added {entry}" for entry in other if entry not in one][:4]
    return lines


def _entries(part: Any) -> list[Any]:
    return list(part.items()) if isinstance(part, dict) else part


def kind(passed: bytes, point: int | None) -> str:
    """What a kill fell into, given the signs of an undisturbed run."""
    if point is None:
        return "a random moment"
    sign, before = passed[point - 1 : point], passed[: point - 1].rstrip(b"cr.")[-1:]
    if sign == b"b":
        return "in an accumulation" if before == b"b" else "before a step"
    if sign == b"r":
        return "while recording"
    return "before the optimizer" if sign == b"s" else "while writing or removing"


def whole_checkpoints() -> bool:
    """Whether, once there was a checkpoint, at least one is whole."""
    found = list(STATE.glob("step-*"))
    return not found or any(map(cards.is_complete, found))


def campaign(points: int, moments: int) -> Iterator[dict[str, Any]]:
    """Kill at points and at random moments; resume each time."""
    database = Path("empty.db")
    kills.attempt(runs.Runs)
    shutil.copyfile("mlflow.db", database)
    fresh(database)
    assert kills.attempt(train, others=MORE)[0], "training does not run at all"
    fresh(database)
    began = time.perf_counter()
    _, passed = kills.attempt(train, others=MORE)
    seconds, wanted = time.perf_counter() - began, outcome()
    last, dice = len(passed), random.Random(0)
    points = min(points or last, last)
    moves: list[tuple[int | None, float | None]] = [
        (1 + round(index * (last - 1) / max(1, points - 1)), None) for index in range(points)
    ]
    moves += [(None, dice.uniform(0, seconds)) for _ in range(moments)]
    for point, delay in moves:
        fresh(database)
        ended, before = kills.attempt(train, point, delay, MORE)
        whole, had = whole_checkpoints(), any(STATE.glob("step-*"))
        resumed, after = (True, b"") if ended else kills.attempt(train, others=MORE)
        done, found = before.count(b"s"), outcome() if resumed else {}
        yield {
            "point": point,
            "of": last,
            "kind": kind(passed, point),
            "killed": not ended,
            "had_checkpoint": had,
            "whole": whole,
            "resumed": resumed,
            "equal": resumed and found == wanted,
            "differs": differences(wanted, found) if resumed else [],
            "debris": [str(p) for p in STATE.glob(".*")],
            "steps": passed.count(b"s"),
            "redone": 0 if ended else done + after.count(b"s") - passed.count(b"s"),
        }


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    for kill in campaign(int(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps(kill), flush=True)
