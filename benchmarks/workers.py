"""How `curate` and `score` grow with the workers of a Ray cluster: seconds, and the efficiency.

    WINNOW_DATA=<folder> python -m benchmarks.workers [--rows 100000] [--workers 1 2]

A worker is a core of a cluster on this machine, whose cores do what runs on the head as well: with
fewer cores than workers and one more, the figure is too low. The efficiency of n workers is
T1 / (n * Tn). A run of 1,000 rows comes first, so that no figure holds the compilation of kernels.
"""

import argparse
import os
import tempfile
from pathlib import Path

from ray.cluster_utils import Cluster

from benchmarks import data

STAGES = ("curate", "score")


def measure(workers: int) -> list[float]:
    """Seconds of each stage in the project that is the working folder."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": workers})
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        return [data.run(["-m", "winnow", stage])[0] for stage in STAGES]
    finally:
        cluster.shutdown()


def table(rows: int, workers: list[int]) -> dict[int, list[float]]:
    """By the number of workers, the seconds of each stage on so many rows."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        data.prepare(Path(folder), rows, "ray")
        data.run(["-m", "winnow", "ingest"])
        found = {number: measure(number) for number in workers}
        os.chdir(data.ROOT)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    table(1000, arguments.workers[:1])
    found = table(arguments.rows, arguments.workers)
    print("".join(f"{title:>12}" for title in ("workers", *STAGES, "both", "efficiency")))
    alone = 0.0  # seconds of one worker
    for workers, seconds in found.items():
        alone = alone or workers * sum(seconds)
        cells = [f"{one:.1f} s" for one in (*seconds, sum(seconds))]
        efficiency = f"{alone / (workers * sum(seconds)):.0%}"
        print("".join(f"{cell:>12}" for cell in (workers, *cells, efficiency)))


if __name__ == "__main__":
    main()
