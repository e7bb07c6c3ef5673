"""What the semantic step drops of real rows, and what it takes.    python -m benchmarks.semantic

Rows of $WINNOW_DATA/instructions drawn at random, exact and near duplicates dropped first, then the
step without a model: by words. Every size is a process of its own, so that memory is its own; the
kernels are compiled before the clock starts. Of ZeroEval's rows, answers of many models to the same
questions, it is counted how often the row that stays answers otherwise. `--pairs N` prints N of the
dropped rows a threshold, drawn at random, beside those that stay: a person judges what they say.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.core import texts
from winnow.curate import steps

DATA = Path(os.environ["WINNOW_DATA"]) / "instructions"
TURNS = ((0.9, None), (0.95, None), (0.95, 1))
"""Thresholds and buckets; one bucket is tried up to 100,000 rows."""


def read(number: int) -> pa.Table:
    """So many rows at random, with hashes; ids of all files together, as two may share one."""
    table = pa.concat_tables(pq.read_table(path) for path in sorted(DATA.glob("*.parquet")))
    table = table.take(np.sort(np.random.default_rng(0).permutation(len(table))[:number]))
    names = pc.binary_join_element_wise(
        table["source"], pa.array(np.arange(len(table))).cast("string"), ":"
    )
    table = table.set_column(table.column_names.index("id"), "id", names)
    hashes = texts.content_hashes(table)
    return table.append_column("hash", hashes).append_column("cluster", hashes)


def peak() -> int:
    """The most memory that was resident since it was last set back, in MB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1000


def answer(response: str) -> str | None:
    """The last answer in ZeroEval's JSON, bare of signs."""
    found = re.findall(r'"answer"\s*:\s*"?(.*?)"?\s*[},\n]', response)
    return re.sub(r"[\s$,'\"\\]", "", found[-1]).removesuffix(".00").lower() if found else None


def answers(table: pa.Table, verdict: steps.Verdict) -> str:
    """How many of ZeroEval's dropped rows and those that stay answer differently."""
    gone = table.take(verdict.gone)
    places = pc.index_in(verdict.because, value_set=table["id"].combine_chunks())
    pairs = zip(
        gone["source"].to_pylist(),
        gone["response"].to_pylist(),
        table["response"].take(places).to_pylist(),
        strict=True,
    )
    both = [(answer(one), answer(two)) for source, one, two in pairs if "zeroeval" in source]
    known = [pair for pair in both if None not in pair]
    return f"{sum(one != two for one, two in known):,} of {len(known):,} answer otherwise"


def show(table: pa.Table, verdict: steps.Verdict, number: int) -> None:
    """Print dropped rows beside those that stayed."""
    drawn = np.sort(np.random.default_rng(1).permutation(len(verdict.gone))[:number])
    places = pc.index_in(verdict.because, value_set=table["id"].combine_chunks())
    for index in drawn:
        for row in table.take([verdict.gone[index], places[int(index)].as_py()]).to_pylist():
            parts = (f"{row[name]!r:.700}" for name in texts.PARTS if row[name])
            print(f"{row['id']}: {'  |  '.join(parts)}")
        print()


def measure(size: int, pairs: int) -> None:
    """Print a table of one size."""
    table = read(size)
    rows = np.arange(len(table))
    for step in ({"name": "exact"}, {"name": "near", "threshold": 0.8}):
        before = len(rows)
        table, rows, _ = steps.apply(step, table, rows)
        print(f"{size:9,} rows: {step['name']} drops {before - len(rows):,}")
    steps.apply({"name": "semantic"}, table, rows[:2000])
    for threshold, buckets in TURNS[: 3 if size <= 100_000 else 2]:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before, began = peak(), time.perf_counter()
        step = {"name": "semantic", "threshold": threshold, "buckets": buckets}
        _, _, verdict = steps.apply(step, table, rows)
        seconds = time.perf_counter() - began
        dropped, which = len(verdict.gone), "one bucket" if buckets else ""
        print(f"{threshold:9} {which:10} drops {dropped:7,} of {len(rows):,}", end="")
        print(f" ({dropped / len(rows):.2%}) in {seconds:.1f} s, {peak() - before:,} MB", end="")
        print(f" more; of ZeroEval {answers(table, verdict)}", flush=True)
        if pairs and not buckets:
            show(table, verdict, pairs)


def main() -> None:
    """Run every size in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_084_593])
    parser.add_argument("--pairs", type=int, default=0)
    options = parser.parse_args()
    if len(options.rows) == 1:
        return measure(options.rows[0], options.pairs)
    for size in options.rows:
        command = [sys.executable, "-m", "benchmarks.semantic", "--rows", str(size)]
        subprocess.run([*command, "--pairs", str(options.pairs)], check=True)
    return None


if __name__ == "__main__":
    main()
