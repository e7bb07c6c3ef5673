"""Copy a share of a corpus, drawn at random from each of its Parquet files, for a smaller study.

python -m benchmarks.share <folder> <folder to write> --share 0.01 [--seed 0]
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def draw(source: Path, target: Path, share: float, seed: int) -> int:
    """Write the drawn rows of every file under its own name; their number. The order stays."""
    target.mkdir(parents=True)
    random, total = np.random.default_rng(seed), 0
    for path in sorted(source.glob("*.parquet")):
        table = pq.read_table(path)
        drawn = table.filter(random.random(table.num_rows) < share)
        pq.write_table(drawn, target / path.name)
        total += drawn.num_rows
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--share", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(draw(args.source, args.target, args.share, args.seed), "rows")


if __name__ == "__main__":
    main()
