"""The whole data half on real rows: seconds and peak memory of every stage, and how they grow.

    WINNOW_DATA=<folder> python -m benchmarks.data [--rows 10000 100000 1084593] [--figure FILE]
    ... [--engine ray]

Every stage is the real command in a process of its own, in a project in a temporary folder, with
GPT-2's tokenizer; `pack` is what a training does first with its tier, here with all rows. What it
costs to compare a folder with its card, as a stage does that reads it, is printed beside the table.
A run of 1,000 rows comes first, so that no figure holds the compilation of kernels.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
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


def corpus(folder: Path, rows: int) -> Path:
    """The corpus itself, or for less than all of it a file of so many rows drawn at random."""
    files = sorted((DATA / "instructions").glob("*.parquet"))
    table = pa.concat_tables(pq.read_table(file) for file in files)
    if rows >= len(table):
        return DATA / "instructions"
    drawn = np.random.default_rng(0).permutation(len(table))[:rows]
    pq.write_table(table.take(drawn), folder / "drawn.parquet", row_group_size=10_000)
    return Path("drawn.parquet")  # the folder is another one each time, and the card says it


def project(folder: Path, rows: int, engine: str) -> None:
    """Write the parameters: the corpus, GPT-2's tokenizer, tiers by share."""
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["experiments"] = list(EXPERIMENTS)
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


def run(command: list[str]) -> tuple[float, float]:
    """Run Python here; returns the seconds and the peak memory in GB."""
    began = time.perf_counter()
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *command])
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"{command} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1e6


def measure(rows: int, engine: str) -> tuple[dict[str, tuple[float, float]], str]:
    """Seconds and GB of every stage at a number of rows, and a hash of all that they published."""
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        prepare(Path(name), rows, engine)
        found = {stage: run(command) for stage, command in STAGES.items()}
        run(["-c", CHECK])
        cards = [path.read_bytes() for path in sorted(Path("artifacts").glob("*/card.json"))]
        os.chdir(ROOT)
    return found, hashlib.sha256(b"".join(cards)).hexdigest()[:12]


def draw(path: Path, table: dict[int, dict[str, tuple[float, float]]]) -> None:
    """Seconds against rows, a line a stage, with a line of slope one to compare with."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    rows = list(table)
    for stage in STAGES:
        axes.plot(rows, [row[stage][0] for row in table.values()], "o-", label=stage)
    totals = [sum(seconds for seconds, _ in row.values()) for row in table.values()]
    axes.plot(rows, totals, "ko-", linewidth=2, label="all")
    axes.plot(rows, [totals[-1] * number / rows[-1] for number in rows], "k:", label="linear")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="rows of the corpus",
        ylabel="seconds",
        title="What the data half costs",
    )
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_084_593])
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    arguments = parser.parse_args()
    if arguments.engine == "ray":
        from ray.cluster_utils import Cluster

        # The stages' own processes are not among its cores, and little busy.
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": os.cpu_count()})
        os.environ["RAY_ADDRESS"] = cluster.address
    measure(1000, arguments.engine)
    table = {}
    print("".join(f"{title:>14}" for title in ("rows", *STAGES, "all", "made")), flush=True)
    for rows in arguments.rows:
        found, made = measure(rows, arguments.engine)
        table[rows] = found
        cells = [f"{seconds:.1f} s {memory:.1f} GB" for seconds, memory in found.values()]
        total = sum(seconds for seconds, _ in found.values())
        print("".join(f"{cell:>14}" for cell in (rows, *cells, f"{total:.1f} s", made)), flush=True)
    if arguments.figure:
        draw(ROOT / arguments.figure, table)


if __name__ == "__main__":
    main()
