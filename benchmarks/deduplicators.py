"""Near duplicates of one corpus, as each tool finds them, in a process of its own.

python deduplicators.py <tool> <folder>    reads rows.parquet or texts.parquet, writes clusters.npy

The latter holds a number a row: of its cluster, or -1 for a row that the tool drops without a word
on which one it resembles. Every tool compares word 3-grams by 128 permutations.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

THRESHOLD, PERMUTATIONS, NGRAM = 0.8, 128, 3
NUM_BANDS = 16
"""Of 8 hashes, as datatrove has them, for tools that do not reckon bands from the threshold."""

Clusters = Any  # a sequence of integers or an array of them


def shingles(text: str) -> list[str]:
    """The word n-grams of a text, in its order; the whole text if it has fewer words."""
    words = text.lower().split()
    if len(words) < NGRAM:
        return [" ".join(words)] if words else []
    return list(map(" ".join, zip(*(words[start:] for start in range(NGRAM)), strict=False)))


def all_shingles(folder: Path) -> Iterator[list[str]]:
    """Those of every text."""
    for batch in pq.ParquetFile(folder / "texts.parquet").iter_batches():
        yield from map(shingles, batch["text"].to_pylist())


def winnow(folder: Path) -> Clusters:
    """Hash and cluster as `winnow curate` does."""
    from winnow.core import texts
    from winnow.curate import duplicates

    table = pq.read_table(folder / "rows.parquet")
    verdict = duplicates.near(
        table.append_column("hash", texts.content_hashes(table)),
        np.arange(len(table)),
        threshold=THRESHOLD,
        permutations=PERMUTATIONS,
        ngram=NGRAM,
        keep="all",
    )
    return verdict.clusters.dictionary_encode().combine_chunks().indices.to_numpy()


def _datasketch(signatures: Iterator[Any]) -> Clusters:
    """Insert and query every signature, and join what is found."""
    from datasketch import MinHashLSH

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


def datasketch_bulk(folder: Path) -> Clusters:
    """Its fastest way: a generator of signatures from encoded shingles."""
    from datasketch import MinHash

    encoded = ({shingle.encode() for shingle in found} for found in all_shingles(folder))
    return _datasketch(MinHash.generator(encoded, num_perm=PERMUTATIONS, seed=1))


def datasketch_by_token(folder: Path) -> Clusters:
    """As its first page shows it: one update a shingle."""
    from datasketch import MinHash

    def signatures() -> Iterator[MinHash]:
        for found in all_shingles(folder):
            signature = MinHash(num_perm=PERMUTATIONS, seed=1)
            for shingle in set(found):
                signature.update(shingle.encode())
            yield signature

    return _datasketch(signatures())


def rensa(folder: Path) -> Clusters:
    """The deduplicator of its first page, which compares signatures of candidates."""
    from rensa import RMinHashDeduplicator

    seen = RMinHashDeduplicator(THRESHOLD, PERMUTATIONS, use_lsh=True, num_bands=NUM_BANDS)
    named = ((str(index), found) for index, found in enumerate(all_shingles(folder)))
    return [index if kept else -1 for index, kept in enumerate(seen.add_pairs(named))]


def _rensa_flags(matrix: Any, bands: int) -> Clusters:
    """Drop every row that shares a band with another, and keep none of a cluster."""
    from rensa import RMinHashLSH

    lsh = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=bands)
    flags = lsh.query_duplicate_flags_matrix_one_shot(matrix)
    return [-1 if flag else index for index, flag in enumerate(flags)]


def rensa_batch(folder: Path) -> Clusters:
    """Its fastest way with all shingles, whose candidates are taken as they come."""
    from rensa import RMinHash

    found = all_shingles(folder)
    matrix = RMinHash.digest_matrix_from_token_sets(found, num_perm=PERMUTATIONS, seed=1)
    return _rensa_flags(matrix, NUM_BANDS)


def rensa_rho(folder: Path) -> Clusters:
    """Its fastest way, with the bands of its own benchmark: shingles are sampled by place."""
    from rensa import RMinHash

    found = all_shingles(folder)
    matrix = RMinHash.digest_matrix_from_token_sets_rho(found, num_perm=PERMUTATIONS, seed=1)
    return _rensa_flags(matrix, 8)


def text_dedup(folder: Path) -> Clusters:
    """Its command, with its fastest hash function."""
    from text_dedup import minhash

    options = {
        "path": "parquet",
        "data_files": folder / "texts.parquet",
        "split": "train",
        "cache_dir": folder / "cache",
        "output": folder / "kept",
        "column": "text",
        "num_proc": 1,
        "ngram": NGRAM,
        "min_length": 1,
        "num_perm": PERMUTATIONS,
        "threshold": THRESHOLD,
        "hash_func": "xxh3",
        "hash_bits": 32,
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    minhash.main(given, standalone_mode=False)
    rows = pq.read_metadata(folder / "texts.parquet").num_rows
    return [minhash.uf.find(row) for row in range(rows)]


def datatrove(folder: Path) -> Clusters:
    """The three stages of its example, each in this process, with its fast hash function."""
    from datatrove.pipeline.dedup import minhash
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.typeshelper import Languages

    config = minhash.MinhashConfig(
        n_grams=NGRAM,
        num_buckets=NUM_BANDS,
        hashes_per_bucket=PERMUTATIONS // NUM_BANDS,
        hash_config=HashConfig(precision=64, hash_fc="xxhash"),
    )
    signatures, pairs, found = (str(folder / name) for name in ("signatures", "pairs", "found"))
    texts = ParquetReader(str(folder), glob_pattern="texts.parquet").run()
    minhash.MinhashDedupSignature(signatures, config, Languages.english).run(texts)
    for bucket in range(NUM_BANDS):
        buckets = minhash.MinhashDedupBuckets(signatures, pairs, config=config)
        buckets.run(rank=bucket, world_size=NUM_BANDS)
    minhash.MinhashDedupCluster(pairs, found, config, save_cluster_id=True).run()
    rows = pq.read_metadata(folder / "texts.parquet").num_rows
    clusters = np.arange(rows)
    row, cluster = np.fromfile(f"{found}/000000.clusters", "<u4").reshape(-1, 2).T
    clusters[row] = rows + cluster.astype(np.int64)
    return clusters


TOOLS: dict[str, Callable[[Path], Clusters]] = {
    function.__name__: function
    for function in (
        winnow,
        rensa,
        rensa_batch,
        rensa_rho,
        datasketch_bulk,
        datasketch_by_token,
        text_dedup,
        datatrove,
    )
}

if __name__ == "__main__":
    tool, place = sys.argv[1:]
    np.save(Path(place) / "clusters.npy", np.asarray(TOOLS[tool](Path(place)), np.int64))
