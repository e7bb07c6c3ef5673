"""Rows that hold a stretch of a benchmark, by which a model would be judged on what it was taught.

A row is dirty if it shares an n-gram of words with an item of a benchmark: runs of letters and
digits in NFKC and lower case (Brown et al. 2020, Language models are few-shot learners, appendix C,
which takes 13). An item of fewer words than n cannot be found.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.curate.minhash import capacity, shingle
from winnow.curate.texts import PARTS, Texts, each
from winnow.curate.verdict import NONE, Positions, Verdict
from winnow.errors import Refusal
from winnow.kernels import njit
from winnow.words import bare, classes, cut

KINDS = (".jsonl", ".json", ".csv", ".txt", ".parquet")
COMPRESSIONS = ("", ".gz", ".zst")


def _leaves(value: Any) -> Iterator[str]:
    """Every text in a parsed record."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)


def _records(path: Path) -> list[Any]:
    """The items of a file: rows, lines, or elements of the list in it."""
    kind = next(suffix for suffix in path.suffixes[::-1] if suffix in KINDS)
    if kind == ".parquet":
        rows: list[Any] = pq.read_table(path).to_pylist()
        return rows
    text = pa.input_stream(str(path), compression="detect").read().decode("utf-8-sig")
    if kind == ".csv":
        return list(csv.reader(io.StringIO(text, newline="")))
    lines = text.split("\n")
    if kind == ".json":
        found = json.loads(text)
        # One list, maybe under a name, beside what describes it.
        found = max(found.values(), key=_size) if isinstance(found, dict) else found
        return found if isinstance(found, list) else [found]
    return [json.loads(line) for line in lines if line.strip()] if kind == ".jsonl" else lines


def _size(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def _files(source: str) -> dict[str, Path]:
    """The files of a benchmark by name: itself, or all of a folder that can be read."""
    path = Path(source)
    if path.is_file():
        return {path.name: path}
    endings = tuple(kind + packed for kind in KINDS for packed in COMPRESSIONS)
    found = sorted(file for file in path.rglob("*") if file.name.endswith(endings))
    if not found:
        raise Refusal(
            f"params.yaml: curate.steps decontaminate.benchmarks: {source!r} is no file and no "
            f"folder of {', '.join(KINDS)} files"
        )
    return {str(file.relative_to(path.parent)): file for file in found}


def read_items(sources: Sequence[str], ngram: int) -> tuple[list[str], list[str], list[str]]:
    """All items of benchmarks that have n words: their names, their files' names, their texts.

    Raises:
        Refusal: a file is missing or cannot be read.
    """
    names, files, texts = list[str](), list[str](), list[str]()
    for source in sources:
        for name, path in _files(source).items():
            try:
                records = _records(path)
            except (OSError, ValueError, StopIteration, RecursionError, csv.Error,
                    pa.ArrowException) as error:  # fmt: skip
                raise Refusal(f"the benchmark {path} cannot be read: {error}") from None
            for number, record in enumerate(records):
                text = unicodedata.normalize("NFKC", "\n".join(_leaves(record)))
                if len(cut(bare(text))) >= ngram:
                    names.append(f"{name}:{number}")
                    files.append(name)
                    texts.append(text)
    return names, files, texts


@njit(cache=True, nogil=True)
def _grams(data, starts, ends, kinds, ngram):
    """The n-grams of all texts, hashed, one after the other, and how many each has."""
    own = np.empty(capacity(starts, ends), np.uint64)
    found = np.empty((ends - starts).sum() // 2 + 2 * len(starts), np.uint64)
    counts, at = np.empty(len(starts), np.int64), 0
    for row in range(len(starts)):
        counts[row] = shingle(data, starts[row], ends[row], kinds, ngram, own)
        found[at : at + counts[row]] = own[: counts[row]]
        at += counts[row]
    return found[:at].copy(), counts


@njit(cache=True, nogil=True)
def _search(grams, counts, keys, items, sieve, shift):
    """By text the item that its first known n-gram is of; -1 for none."""
    found, at = np.full(len(counts), -1), 0
    for row in range(len(counts)):
        for place in range(at, at + counts[row]):
            if sieve[grams[place] >> shift]:
                near = np.searchsorted(keys, grams[place])
                if near < len(keys) and keys[near] == grams[place]:
                    found[row] = items[near]
                    break
        at += counts[row]
    return found


def _hash_grams(texts: Texts, ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    found: tuple[Any, Any] = _grams(*texts, classes(), ngram)
    return found


def _first_known(ngram: int, *known_and_texts: Any) -> NDArray[np.int64]:
    *known, texts = known_and_texts
    found: NDArray[np.int64] = _search(*_grams(*texts, classes(), ngram), *known)
    return found


def decontaminate(
    table: pa.Table, rows: Positions, *, benchmarks: Sequence[str], ngram: int = 12
) -> Verdict:
    """Drop rows that share an n-gram of words with an item of a benchmark.

    Args:
        table: has texts.
        rows: the positions of those that are left.
        benchmarks: files, or folders of them: JSON (lines), CSV, plain text, Parquet; .gz or .zst.
        ngram: words in a row.

    Raises:
        Refusal: a benchmark is missing or cannot be read.
    """
    if isinstance(benchmarks, str) or not benchmarks or ngram < 1:
        raise Refusal(
            "params.yaml: curate.steps decontaminate: expected a list of benchmarks and an ngram "
            f"of at least 1, found {benchmarks!r}, {ngram!r}"
        )
    names, files, texts = read_items(benchmarks, ngram)
    if not names:
        return NONE

    blank = pa.array([""] * len(texts))
    items = pa.table([texts, blank, blank], names=PARTS)
    hash_grams = partial(_hash_grams, ngram=ngram)
    parts = list(each(items, np.arange(len(texts)), hash_grams, "benchmarks", bare=True))
    grams, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
    keys, first = np.unique(grams, return_index=True)
    owners = np.repeat(np.arange(len(names)), counts)[first]
    shift = np.uint64(64 - max(1, (16 * len(keys)).bit_length()))
    sieve = np.zeros(1 << (64 - int(shift)), bool)
    sieve[keys >> shift] = True

    search = partial(_first_known, ngram, keys, owners, sieve, shift)
    found = np.concatenate([*each(table, rows, search, "decontaminate", bare=True), np.arange(0)])
    dirty = found >= 0
    hits = found[dirty]
    return Verdict(
        rows[dirty],
        [f"in the benchmark {files[item]}" for item in hits],
        pa.array([names[item] for item in hits], pa.string()),
    )
