"""The whole data half on real rows: seconds and memory of every stage, and how they grow.

    WINNOW_DATA=<folder> python -m benchmarks.data [--rows 10000 100000 1084593 10000000]
    ... [--figure FILE] [--engine ray] [--folder FOLDER]

Smaller corpora than all rows are random draws of them, larger ones copies with other letters.
Every stage is the real command in a process of its own, in a project in a temporary folder, with
GPT-2's tokenizer; `pack` is what a training does first with its tier, here with all rows. What it
costs to compare a folder with its card, as a stage does that reads it, is printed beside the table.
A run of 1,000 rows comes first, so that no figure holds the compilation of kernels.
"""

import argparse
import contextlib
import hashlib
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ["WINNOW_DATA"])
EXPERIMENTS = (
    "top_5pct_1M",
    "matched_5pct_1M",
    "top_25pct_1M",
    "matched_25pct_1M",
    "all_100pct_1M",
)
PACK = f"""
from winnow.core.layout import TOKENIZER
from winnow.core.experiments import resolve_one
from winnow.train import draws
from winnow.models.family import declare
arm = resolve_one("{EXPERIMENTS[-1]}")
model = declare(arm.model, TOKENIZER)
train = draws.Draw(arm, 0, model).train(arm.recipe.packing)
print(f"pack: {{train.num_targets}} tokens in {{len(train)}} sequences")
"""
CHECK = """
import time
from pathlib import Path
from winnow.core import cards
for stage in ("ingest", "curate", "score", "select"):
    began = time.process_time()
    card = cards.read_card(Path("artifacts", stage), f"winnow {stage}")
    size = sum(file["bytes"] for file in card["files"].values()) / 1e6
    print(f"check: artifacts/{stage}: {size:.0f} MB in {time.process_time() - began:.2f} s")
"""
STAGES = {
    "ingest": ["-m", "winnow", "ingest"],
    "curate": ["-m", "winnow", "curate"],
    "score": ["-m", "winnow", "score"],
    "select": ["-m", "winnow", "select"],
    "pack": ["-c", PACK],
}


def rotated(texts: pa.ChunkedArray, by: int, is_left: np.ndarray) -> pa.Array:
    """Texts whose Latin letters stand for those so many places on in the alphabet, but those rows'
    that are left: as long, as often repeated, and nothing that was there before."""
    texts = texts.combine_chunks()
    table = np.arange(256, dtype=np.uint8)
    for first in (65, 97):
        table[first : first + 26] = first + (np.arange(26) + by) % 26
    _, offsets, content = texts.buffers()
    places = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    old = np.frombuffer(content, np.uint8)[places[0] : places[-1]]
    new = np.where(np.repeat(is_left, np.diff(places)), old, table[old])
    bounds = pa.py_buffer(np.ascontiguousarray(places - places[0]))
    return pa.StringArray.from_buffers(len(texts), bounds, pa.py_buffer(new))


def grow(folder: Path, files: list[Path], rows: int) -> Path:
    """Copies of the corpus behind it, of whose rows a hundredth is equal and the rest is rotated,
    until there are so many rows."""
    grown, copy = Path("grown"), 0
    (folder / grown).mkdir()
    while rows:
        for file in files:
            table = pq.read_table(file).slice(0, rows)
            rows -= len(table)
            is_left = np.random.default_rng(copy).random(len(table)) < (0.01 if copy else 1)
            for name in ("instruction", "input", "response"):
                column = rotated(table[name], copy, is_left)
                table = table.set_column(table.column_names.index(name), name, column)
            if len(table):
                pq.write_table(table, folder / grown / f"{copy:02}_{file.name}")
        copy += 1
    return grown


def corpus(folder: Path, rows: int) -> Path:
    """The corpus itself, for less than all of it a file of so many rows drawn at random, and for
    more a folder of as many files as it takes."""
    files = sorted((DATA / "instructions").glob("*.parquet"))
    number = sum(pq.read_metadata(file).num_rows for file in files)
    if rows == number:
        return DATA / "instructions"
    if rows > number:
        return grow(folder, files, rows)
    table = pa.concat_tables(pq.read_table(file) for file in files)
    drawn = np.random.default_rng(0).permutation(number)[:rows]
    pq.write_table(table.take(drawn), folder / "drawn.parquet", row_group_size=10_000)
    return Path("drawn.parquet")  # the folder is another one each time, and the card says it


def project(folder: Path, rows: int, engine: str) -> None:
    """Write the parameters: the corpus, GPT-2's tokenizer, tiers by share."""
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["experiments"], params["seeds"] = list(EXPERIMENTS), [0]
    params["engine"] = engine
    params["ingest"] |= {"source": str(corpus(folder, rows)), "keep": []}
    params["score"]["scorers"] = [{"name": "documented"}]
    params["curate"] |= {"tokenizer": str(DATA / "tokenizers/gpt2")}
    params["curate"] |= {"validation": min(1000, rows // 20), "test": min(2000, rows // 10)}
    params["train"]["init"] = "scratch"
    params["train"]["models"]["1M"]["context"] = 1024
    del params["evaluate"], params["analyze"]  # they name files that are not there
    yaml.dump(params, folder / "params.yaml")


def prepare(folder: Path, rows: int, engine: str) -> None:
    """Make the project in a process apart: a child's peak memory would hold its parent's."""
    child = os.fork()
    if not child:
        project(folder, rows, engine)
        os._exit(0)
    os.waitpid(child, 0)


def own_memory(child: int, found: list[int]) -> None:
    """Keep the most memory that a process had to itself, in kB, until it ends."""
    with contextlib.suppress(OSError, StopIteration):
        while True:
            lines = Path(f"/proc/{child}/status").read_text().splitlines()
            line = next(line for line in lines if line.startswith("RssAnon"))
            found[0] = max(found[0], int(line.split()[1]))
            time.sleep(0.02)


@dataclass
class Cost:
    """What a stage takes."""

    seconds: float
    cpu_seconds: float
    """Of all threads."""
    own_gb: float
    """The most memory that the process had to itself, of looks every 20 ms."""
    peak_gb: float
    """The most with mapped files, of which the system takes back what it needs."""


def run(command: list[str]) -> Cost:
    """Run Python here."""
    began, own = time.perf_counter(), [0]
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *command])
    watch = threading.Thread(target=own_memory, args=(child, own))
    watch.start()
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - began
    watch.join()
    if status:
        sys.exit(f"{command} failed")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(seconds, cpu, own[0] / 1e6, usage.ru_maxrss / 1e6)


def measure(rows: int, engine: str, folder: Path | None) -> tuple[dict[str, Cost], str]:
    """The cost of every stage at a number of rows, and a hash of all that they published."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        os.chdir(name)
        prepare(Path(name), rows, engine)
        found = {stage: run(command) for stage, command in STAGES.items()}
        run(["-c", CHECK])
        cards = [path.read_bytes() for path in sorted(Path("artifacts").glob("*/card.json"))]
        os.chdir(ROOT)
    return found, hashlib.sha256(b"".join(cards)).hexdigest()[:12]


def draw(path: Path, table: dict[int, dict[str, Cost]]) -> None:
    """Seconds and own memory against rows, a line a stage, with a line of slope one beside."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    rows = list(table)
    for stage in STAGES:
        costs = [found[stage] for found in table.values()]
        time_axes.plot(rows, [cost.seconds for cost in costs], "o-", label=stage)
        memory_axes.plot(rows, [cost.own_gb for cost in costs], "o-", label=stage)
    totals = [sum(cost.seconds for cost in found.values()) for found in table.values()]
    time_axes.plot(rows, totals, "ko-", linewidth=2, label="all")
    time_axes.plot(rows, [totals[-1] * number / rows[-1] for number in rows], "k:", label="linear")
    time_axes.set(xscale="log", yscale="log", ylabel="seconds", title="Time")
    memory_axes.set(xscale="log", ylabel="GB", ylim=0, title="Memory of the process's own, at most")
    for axes in (time_axes, memory_axes):
        axes.set_xlabel("rows of the corpus")
    time_axes.legend(frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_084_593])
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--folder", type=Path, help="where the projects are made: 3 kB a row")
    arguments = parser.parse_args()
    if arguments.engine == "ray":
        from ray.cluster_utils import Cluster

        # The stages' own processes are not among its cores, and little busy.
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": os.cpu_count()})
        os.environ["RAY_ADDRESS"] = cluster.address
    measure(1000, arguments.engine, arguments.folder)
    table = {}
    for rows in arguments.rows:
        table[rows], made = measure(rows, arguments.engine, arguments.folder)
        print(
            f"{rows:,} rows, made {made}: seconds, of all threads, us a row; GB of its own, in all"
        )
        for stage, cost in table[rows].items():
            print(
                f"  {stage:7} {cost.seconds:8.1f} {cost.cpu_seconds:8.1f} "
                f"{cost.cpu_seconds / rows * 1e6:7.1f}; {cost.own_gb:6.2f} {cost.peak_gb:6.2f}"
            )
        print(f"  all     {sum(cost.seconds for cost in table[rows].values()):8.1f}", flush=True)
    if arguments.figure:
        draw(ROOT / arguments.figure, table)


if __name__ == "__main__":
    main()
