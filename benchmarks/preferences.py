"""What a step on pairs costs beside one on their chosen answers.

    python -m benchmarks.preferences [--steps 15]

Rows of the first file of $WINNOW_DATA/instructions that fit the sample's base model; the rejected
answer is that of the next row, of its length, which changes what is learned and not what is
computed. Each side takes some steps, of 16 pairs or of 16 packed responses, and all sides take
turns; medians of the one thread's own time, in fp32. Beside them the same with a reference, which
is read once.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.train import DATA
from winnow.core import files, params
from winnow.core.experiments import Model, Recipe
from winnow.core.objectives import DPO, KTO, ORPO, Objective, Preference, SimPO
from winnow.core.records import ROW_SCHEMA, texts
from winnow.models import family
from winnow.models.pairs import Pairs
from winnow.models.sequences import Units
from winnow.train import loop, objectives

BASE = Path("base/models/all_100pct_1M/0")
SIZE = 16
"""Pairs a step."""
SIDES: dict[str, Objective | Preference] = {
    "chosen answers alone (response)": "response",
    "simpo": SimPO(name="simpo"),
    "orpo": ORPO(name="orpo"),
    "kto": KTO(name="kto"),
    "dpo": DPO(name="dpo"),
}


def rows(number: int) -> pa.Table:
    """Rows of no more than 400 characters, in the order of their lengths."""
    path = min((DATA / "instructions").glob("*.parquet"))
    table = pq.read_table(path).select(ROW_SCHEMA.names)
    lengths = pc.utf8_length(texts(table))
    short = np.flatnonzero(np.asarray(lengths) <= 400)
    chosen = np.random.default_rng(0).permutation(short)[:number]
    return table.take(chosen[np.argsort(np.asarray(lengths)[chosen], kind="stable")])


def run_of(objective: Objective | Preference, table: pa.Table, folder: Path) -> loop.Run:
    """A training of the base by an objective, before its first step."""
    declared = files.read_json(BASE / "experiment_config.json")["model"]
    model = family.declare(params.build(Model, declared, "model"), BASE, str(BASE))
    model.build(0)
    chosen = model.documents(table, "response")
    units: Units
    if isinstance(objective, str):
        order = np.random.default_rng(0).permutation(len(chosen))
        units = model.sequences([chosen[at] for at in order], packing=True)
        size = max(1, round(SIZE * len(units) / len(chosen)))
    else:
        others = range(1, 3 if objective.name == "kto" else 2)
        rolled = [table.take(np.roll(np.arange(len(table)), -by)) for by in others]
        place = table.column_names.index("response")
        tables = [table.set_column(place, "response", other["response"]) for other in rolled]
        rejected = [model.documents(other, "response") for other in tables]
        units = Pairs.of(list(zip(chosen, *rejected, strict=True)), model.spec.context)
        size = SIZE
    recipe = Recipe(
        learning_rate=1e-4,
        num_train_epochs=1,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=1,
        eval_steps=1000,
        save_steps=1000,
        objective=objective,
    )
    plan = loop.Plan(model.network, recipe, units, units[:1], 0, "fp32", folder, {})
    run = loop.Run(replace(plan, objective=objectives.of(objective, model)))
    run.model.train()
    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=15)
    steps = parser.parse_args().steps
    table, seconds, once = rows(SIZE * steps), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for name, objective in SIDES.items():
            began = time.process_time()
            runs[name] = run_of(objective, table, Path(folder, name))
            once[name] = time.process_time() - began
            seconds[name] = list[float]()
        batches = {
            name: list(loop._remaining(run.plan, run.position)) for name, run in runs.items()
        }
        for step in range(min(map(len, batches.values()))):
            for name, run in runs.items():
                began = time.process_time()
                run.step(batches[name][step])
                seconds[name].append(time.process_time() - began)
    middle = {name: statistics.median(taken[2:]) for name, taken in seconds.items()}
    first, plain = middle[[*SIDES][0]], min(once.values())
    for name in SIDES:
        epoch = (once[name] - plain) / steps if name in ("dpo", "kto") else 0.0
        both = (middle[name] + epoch) / first
        print(f"{name:32} {1e3 * middle[name]:6.0f} ms {middle[name] / first:5.2f} {both:5.2f}")


if __name__ == "__main__":
    main()
