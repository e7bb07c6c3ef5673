"""Near duplicates beside other tools.    python -m benchmarks.dedup [ROWS ...]

Reads $WINNOW_DATA/instructions. Every tool is a process of its own on one core, from its start to
the clusters of one Parquet file (deduplicators.py); rensa, text-dedup and datatrove are set up in a
cache folder, away from the lock. Candidates of the others are taken as they come, but for rensa's
deduplicator, which compares signatures; ours are verified, so theirs is less work.
"""

import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import deduplicators
from benchmarks.deduplicators import THRESHOLD, shingles
from benchmarks.environments import python_of

DATA = Path(os.environ["WINNOW_DATA"]) / "instructions"
PARTS = ("instruction", "input", "response")
SIZES = [20_000, 100_000, 1_000_000]
MOST_ROWS = {
    "datasketch_by_token": 20_000,
    "datatrove": 20_000,
    "datasketch_bulk": 100_000,
    "text_dedup": 100_000,
}
"""The next size would take them more than five minutes."""
MOST_PAIRS = 2_000
TURNS, ENOUGH_SECONDS = 3, 60.0
"""A figure is the median of so many runs, or of those that began in so much time; the first of
three compiles what is compiled."""
PEERS = {
    "rensa": "rensa==0.5.0",
    "text_dedup": "text-dedup==0.4.0",
    "datatrove": "datatrove[processing]==0.10.1",
}
WORDS = "spacy==3.8.7"
"""What datatrove cuts words with."""
Side = tuple[str, str, set[int]]
"""An interpreter, a tool for it, and the cores it may use."""
OFFLINE = os.environ | {"HF_HUB_OFFLINE": "1"}
Run = tuple[float, float, np.ndarray]
"""Seconds, peak memory in GB, and the clusters."""
COSTS = ("tool", "rows", "s", "µs a further row", "GB", "dropped")
SPANS = {"0.8-0.85": (0.8, 0.85), "0.85-0.9": (0.85, 0.9), "0.9-1": (0.9, 1.0)}
HEAD = (*COSTS, *SPANS, "all")
"""Seconds of the process, its peak memory, rows without those it keeps, recall by similarity."""


def read() -> pa.Table:
    """All rows in one random order, so that the first n of them are a sample."""
    table = pa.concat_tables(pq.read_table(path) for path in sorted(DATA.glob("*.parquet")))
    table = table.select(["id", *PARTS])
    order = np.random.default_rng(0).permutation(len(table))
    parts = [table.take(order[start : start + 50_000]) for start in range(0, len(order), 50_000)]
    return pa.concat_tables(parts)


def parted(row: dict[str, str]) -> set[str]:
    """The shingles of each part of a row, with the part's name before them."""
    return {f"{part} {shingle}" for part in PARTS for shingle in shingles(row[part])}


def plant(table: pa.Table, num_pairs: int) -> tuple[pa.Table, list[float]]:
    """Copies of the first rows with some words replaced, after each its row, and their exact
    similarities."""
    dice, copies, similarities = random.Random(0), list[dict[str, str]](), list[float]()
    for row in table.slice(0, 100_000).to_pylist():
        words = row["response"].split(" ")
        if len(words) < 50:
            continue
        for index in dice.sample(
            range(len(words)), max(1, len(words) * dice.randrange(1, 8) // 100)
        ):
            words[index] = f"planted{dice.randrange(10**9)}"
        copy = row | {"response": " ".join(words)}
        one, two = parted(row), parted(copy)
        similarity = len(one & two) / len(one | two)
        if similarity >= THRESHOLD:
            copies += [row | {"id": f"{len(copies)}"}, copy | {"id": f"{len(copies) + 1}"}]
            similarities.append(similarity)
        if len(similarities) == num_pairs:
            break
    return pa.Table.from_pylist(copies, schema=table.schema), similarities


def write(rows: int, folder: Path) -> None:
    """A corpus that ends with planted pairs, as parts and as one text a row."""
    table = read()
    copies, similarities = plant(table, min(MOST_PAIRS, rows // 10))
    table = pa.concat_tables([table.slice(0, rows - len(copies)), copies])
    pq.write_table(table, folder / "rows.parquet", row_group_size=10_000)
    text = pc.binary_join_element_wise(*(table[part] for part in PARTS), "\n")
    pq.write_table(pa.table({"text": text}), folder / "texts.parquet", row_group_size=10_000)
    np.save(folder / "similarities.npy", similarities)


def run(python: str, tool: str, corpus: Path) -> Run:
    """Run a tool on a corpus, once."""
    with tempfile.TemporaryDirectory() as name, (corpus / "log").open("w+") as log:
        folder = Path(name)
        for file in ("rows.parquet", "texts.parquet"):
            (folder / file).symlink_to(corpus / file)
        command = [python, "-P", deduplicators.__file__, tool, name]
        began = time.perf_counter()
        # Not by subprocess, which does not tell what memory a process took.
        outputs = [(os.POSIX_SPAWN_DUP2, log.fileno(), number) for number in (1, 2)]
        child = os.posix_spawn(python, command, OFFLINE, file_actions=outputs)
        _, status, usage = os.wait4(child, 0)
        seconds = time.perf_counter() - began
        if status:
            log.seek(0)
            sys.exit(f"{tool} failed:\n{log.read()[-2000:]}")
        return seconds, usage.ru_maxrss / 1e6, np.load(folder / "clusters.npy")


def measure(side: Side, corpus: Path) -> Run:
    """The medians of some runs on the side's cores."""
    python, tool, cores = side
    before, began, runs = os.sched_getaffinity(0), time.perf_counter(), list[Run]()
    os.sched_setaffinity(0, cores)
    while len(runs) < TURNS and time.perf_counter() - began < ENOUGH_SECONDS:
        runs.append(run(python, tool, corpus))
    os.sched_setaffinity(0, before)
    seconds, memory, clusters = zip(*runs, strict=True)
    return statistics.median(seconds), statistics.median(memory), clusters[-1]


def recall(clusters: np.ndarray, exact: np.ndarray) -> list[str]:
    """The shares of planted pairs, at the end of the table, that are in one cluster."""
    tail = clusters[-2 * len(exact) :]
    found = tail[::2] == tail[1::2]
    shares = [found[(low <= exact) & (exact < high)].mean() for low, high in SPANS.values()]
    return [f"{share:.1%}" for share in (*shares, found.mean())]


def line(*cells: object) -> None:
    """Print a row of the table in Markdown."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def sides() -> dict[str, Side]:
    """What is measured, by its name in the table."""
    cores = os.sched_getaffinity(0)
    others = python_of("deduplicators", *PEERS.values(), WORDS)
    pythons = {
        tool: others if tool.startswith(tuple(PEERS)) else sys.executable
        for tool in deduplicators.TOOLS
    }
    found = {tool: (python, tool, {min(cores)}) for tool, python in pythons.items() if python}
    return {f"winnow, {len(cores)} cores": (sys.executable, "winnow", cores)} | found


def compare(rows: int, all_sides: dict[str, Side], smaller: dict[str, tuple[int, float]]) -> None:
    """Print a line for each side; `smaller`, rows and seconds of the size before, is renewed."""
    with tempfile.TemporaryDirectory() as name:
        corpus = Path(name)
        # In a process apart: a child's peak memory would hold its parent's.
        writer = multiprocessing.Process(target=write, args=(rows, corpus))
        writer.start()
        writer.join()
        exact = np.load(corpus / "similarities.npy")
        for title, side in all_sides.items():
            if rows > MOST_ROWS.get(side[1], rows):
                continue
            seconds, memory, clusters = measure(side, corpus)
            fewer, less = smaller.get(title, (rows, seconds))
            further = f"{(seconds - less) / (rows - fewer) * 1e6:.1f}" if fewer < rows else ""
            smaller[title] = rows, seconds
            dropped = rows - len(np.unique(clusters[clusters >= 0]))
            figures = f"{seconds:.1f}", further, f"{memory:.2f}", f"{dropped:,}"
            line(title, f"{rows:,}", *figures, *recall(clusters, exact))


def main() -> None:
    """Measure every size."""
    all_sides, smaller = sides(), dict[str, tuple[int, float]]()
    line(*HEAD)
    line(*("---" for _ in HEAD))
    for rows in sorted(map(int, sys.argv[1:])) or SIZES:
        compare(rows, all_sides, smaller)


if __name__ == "__main__":
    main()
