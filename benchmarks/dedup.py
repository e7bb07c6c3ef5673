"""Near deduplication beside datasketch.    python -m benchmarks.dedup

Reads $WINNOW_DATA/instructions. Every side starts from the same Arrow table and ends with clusters;
the sides take turns in one process, and medians are printed. datasketch's candidates are taken as
they come, ours are verified, so its side does less. Kernels are compiled before the clock starts.
"""

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasketch import MinHash, MinHashLSH

from winnow.core import texts
from winnow.curate import duplicates

THRESHOLD, PERMUTATIONS, NGRAM = 0.8, 128, 3
ROWS, SLOW_ROWS, PAIRS, TURNS = 20_000, 1_000, 2_000, 3
DATA = Path(os.environ["WINNOW_DATA"]) / "instructions"
Clusters = list[int] | np.ndarray


def read() -> pa.Table:
    """All rows in one random order, so that the first n of them are a sample."""
    table = pa.concat_tables(pq.read_table(path) for path in sorted(DATA.glob("*.parquet")))
    table = table.select(["id", *texts.PARTS])
    order = np.random.default_rng(0).permutation(len(table))
    parts = [table.take(order[start : start + 50_000]) for start in range(0, len(order), 50_000)]
    return pa.concat_tables(parts).combine_chunks()


def shingles(row: dict[str, str]) -> set[str]:
    """The word n-grams of each part of a row as Python strings, with the part's name before it."""
    found = set[str]()
    for part in texts.PARTS:
        words = row[part].lower().split()
        places = range(max(bool(words), len(words) - NGRAM + 1))
        found |= {" ".join([part, *words[place : place + NGRAM]]) for place in places}
    return found


def plant(table: pa.Table) -> tuple[pa.Table, list[float]]:
    """Append copies of the first rows with some words replaced, and their exact similarities."""
    dice, copies, similarities = random.Random(0), [], []
    for row in table.to_pylist():
        words = row["response"].split(" ")
        if len(words) < 50:
            continue
        for index in dice.sample(
            range(len(words)), max(1, len(words) * dice.randrange(1, 8) // 100)
        ):
            words[index] = f"planted{dice.randrange(10**9)}"
        copy = row | {"response": " ".join(words)}
        one, two = shingles(row), shingles(copy)
        similarity = len(one & two) / len(one | two)
        if similarity >= THRESHOLD:
            copies += [row | {"id": f"{len(copies)}"}, copy | {"id": f"{len(copies) + 1}"}]
            similarities.append(similarity)
        if len(similarities) == PAIRS:
            break
    return pa.Table.from_pylist(copies, schema=table.schema), similarities


def ours(table: pa.Table) -> Clusters:
    """Hash and cluster as `winnow curate` does."""
    hashes = texts.content_hashes(table)
    verdict = duplicates.near(
        table.append_column("hash", hashes),
        np.arange(len(table)),
        threshold=THRESHOLD,
        permutations=PERMUTATIONS,
        ngram=NGRAM,
        keep="all",
    )
    return verdict.clusters.dictionary_encode().indices.to_numpy()


def lsh_clusters(signatures: Iterator[MinHash]) -> Clusters:
    """Insert and query every signature, and join what is found."""
    lsh, parent = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS), list[int]()

    def root(node: int) -> int:
        while parent[node] != node:
            node = parent[node]
        return node

    for index, signature in enumerate(signatures):
        parent.append(index)
        for other in lsh.query(signature):
            one, two = root(index), root(other)
            parent[max(one, two)] = min(one, two)
        lsh.insert(index, signature, check_duplication=False)
    return [root(index) for index in range(len(parent))]


def bulk(table: pa.Table) -> Clusters:
    """datasketch's fastest way: a generator of signatures from encoded shingles."""
    encoded = ([shingle.encode() for shingle in shingles(row)] for row in table.to_pylist())
    return lsh_clusters(MinHash.generator(encoded, num_perm=PERMUTATIONS, seed=1))


def per_token(table: pa.Table) -> Clusters:
    """datasketch as its first page shows it: one update a shingle."""

    def signatures() -> Iterator[MinHash]:
        for row in table.to_pylist():
            signature = MinHash(num_perm=PERMUTATIONS, seed=1)
            for shingle in shingles(row):
                signature.update(shingle.encode())
            yield signature

    return lsh_clusters(signatures())


def clock(work: Callable[[pa.Table], Clusters], table: pa.Table) -> tuple[float, Clusters]:
    """Seconds a row, and the clusters."""
    start = time.perf_counter()
    found = work(table)
    return (time.perf_counter() - start) / len(table), found


def recall(clusters: Clusters, similarities: list[float]) -> str:
    """The share of planted pairs, at the end of the table, that are in one cluster."""
    tail = np.asarray(clusters)[-2 * len(similarities) :]
    found, exact = tail[::2] == tail[1::2], np.array(similarities)
    spans = ((THRESHOLD, 0.85), (0.85, 0.9), (0.9, 1.0))
    shares = [found[(low <= exact) & (exact < high)].mean() for low, high in spans]
    return " ".join(f"{share:7.1%}" for share in (*shares, found.mean()))


def peak() -> int:
    """The most memory that was resident since it was last set back, in bytes."""
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])


def resident() -> None:
    """Print how far memory rises above the table, in bytes a row: `python -m ... resident`."""
    paths = sorted(DATA.glob("*.parquet"))
    table = pa.concat_tables(pq.read_table(path) for path in paths).select(["id", *texts.PARTS])
    ours(table.slice(0, 1000))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = peak()
    ours(table)
    print(f"{(peak() - before) / len(table):.0f} bytes a row, {len(table):,} rows of ", end="")
    print(f"{table.nbytes / len(table):.0f} bytes")


def main() -> None:
    """Run all sides in turns and print what was measured."""
    table = read()
    copies, similarities = plant(table.slice(0, 100_000))
    corpus = pa.concat_tables([table.slice(0, ROWS - len(copies)), copies]).combine_chunks()
    ours(table.slice(0, 100))
    cores = os.sched_getaffinity(0)
    sides = {
        "datasketch, a token at a time": (per_token, {min(cores)}, corpus.slice(ROWS - SLOW_ROWS)),
        "datasketch, bulk": (bulk, {min(cores)}, corpus),
        "winnow": (ours, {min(cores)}, corpus),
        f"winnow, {len(cores)} cores": (ours, cores, corpus),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    found: dict[str, Clusters] = {}
    for _ in range(TURNS):
        for name, (work, places, rows) in sides.items():
            os.sched_setaffinity(0, places)
            spent, found[name] = clock(work, rows)
            seconds[name].append(spent)
    median = {name: statistics.median(spans) for name, spans in seconds.items()}
    print(f"{ROWS:,} rows, {len(similarities):,} planted pairs; a token at a time: {SLOW_ROWS:,}")
    print(f"{'':30} {'rows/s':>9}   recall .8-.85  -.9    -1     all")
    for name in sides:
        known = similarities[-SLOW_ROWS // 2 :] if "token" in name else similarities
        print(f"{name:30} {1 / median[name]:9,.0f}   {recall(found[name], known)}")
    print("growth, all cores:")
    for size in (10_000, 100_000, 1_000_000):
        spent = statistics.median(clock(ours, table.slice(0, size))[0] for _ in range(TURNS))
        print(f"{size:9,} rows {spent * size:7.2f} s {spent * 1e6:6.1f} us a row")
    del table
    command = [sys.executable, "-m", "benchmarks.dedup", "resident"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(f"memory beyond the text: {told.strip()}")
    for name in ("datasketch, a token at a time", "datasketch, bulk"):
        one, all_ = (median[name] / median[key] for key in list(sides)[2:])
        print(f"against {name}: {one:.1f} times as fast on one core, {all_:.1f} on {len(cores)}")


if __name__ == "__main__":
    resident() if sys.argv[1:] == ["resident"] else main()
