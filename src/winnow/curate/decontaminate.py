"""Rows that hold a stretch of a benchmark, by which a model would be judged on what it was taught.

A row is dirty if it shares an n-gram of words with an item of a benchmark: runs of letters and
digits in NFKC and lower case (Brown et al. 2020, Language models are few-shot learners, appendix C,
which takes 13), or all of its question where that is shorter. What most items of a file share is
left out, and what cannot be searched is counted by file.
"""

import csv
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.core.errors import Refusal
from winnow.core.texts import PARTS, Texts, each
from winnow.core.words import bare, classes, cut
from winnow.curate.kernels import grams_of, search
from winnow.curate.numbers import Decontaminate
from winnow.curate.verdict import NONE, Positions, Verdict, step

KINDS = (".jsonl", ".json", ".csv", ".txt", ".parquet")
COMPRESSIONS = ("", ".gz", ".zst")
PAPERS = frozenset(
    "license licence copying copyright notice readme citation terms".split()  # noqa: SIM905
)
"""Files in a benchmark's folder that hold no items, by the name before the first dot."""
QUESTIONS = frozenset(
    """question query prompt instruction input inputs context ctx text problem goal sentence
    statement premise stem question_stem turns q""".split()  # noqa: SIM905
)
"""Columns that hold what is asked, in lower case."""
CHOICES = frozenset(
    """choices options endings answer answers target targets output response
    completion""".split()  # noqa: SIM905
)
"""Columns that hold what may be answered: in them nothing is asked, whatever the names inside."""
ASIDE = frozenset(
    """id idx index key url urls link license licence copyright source dataset category subject
    subcategory task generator model canary language split version author tstamp timestamp
    entry_point motivation_app""".split()  # noqa: SIM905
)
"""Columns that say something of an item and are no part of it; nor is a column of ids."""
FEWEST = 6
"""Words of a question that is searched whole though it has fewer than n: see LOG.md."""
MOST = 10
"""Items of a file, and at most half of them, that may share a text: what more share is a template.
Ten leave the passages of reading comprehension, of which nine questions are asked: see LOG.md."""
ASKED = re.compile(r"^\s*(?:question|q)\s*:|\b(?:answer|a)\s*:\s*$", re.IGNORECASE)
"""What frames a question in many files, and not where it is copied."""


@dataclass(frozen=True, slots=True)
class Benchmarks:
    """What is searched for: texts, each of an item, and what cannot be searched."""

    names: list[str]
    """Of the items, file:number."""
    files: list[str]
    """Of the items, the file's name."""
    texts: list[str]
    """Whole items of n words or more, and shorter questions."""
    owners: list[int]
    """Of each text, its item."""


def _fields(value: Any, is_question: bool = False, is_choice: bool = False) -> Iterator[Any]:
    """Every text in a parsed record that belongs to the item, and whether it is its question."""
    if isinstance(value, str):
        yield value, is_question and not is_choice
    elif isinstance(value, list):
        for part in value:
            yield from _fields(part, is_question, is_choice)
    elif isinstance(value, dict):
        for name, part in value.items():
            plain = str(name).lower()
            if plain not in ASIDE and not plain.endswith(("_id", "_ids", "_url")):
                yield from _fields(part, plain in QUESTIONS, is_choice or plain in CHOICES)


def _table(rows: list[list[str]]) -> list[Any]:
    """The rows of a CSV file by the names of its first row, where that names a question; else the
    longest cell of each is the question."""
    names = [cell.strip().lower() for cell in rows[0]] if rows else []
    if QUESTIONS.intersection(names):
        return [dict(zip(names, row, strict=False)) for row in rows[1:]]
    return [{"question": max(row, key=len, default=""), "choices": row} for row in rows]


def _records(path: Path) -> list[Any]:
    """The items of a file: rows, lines, or elements of the list in it."""
    kind = next(suffix for suffix in path.suffixes[::-1] if suffix in KINDS)
    if kind == ".parquet":
        rows: list[Any] = pq.read_table(path).to_pylist()
        return rows
    text = pa.input_stream(str(path), compression="detect").read().decode("utf-8-sig")
    if kind == ".csv":
        return _table(list(csv.reader(io.StringIO(text, newline=""))))
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
    """The files of a benchmark by name: itself, or all of a folder that may hold items."""
    path = Path(source)
    if path.is_file():
        return {path.name: path}
    endings = tuple(kind + packed for kind in KINDS for packed in COMPRESSIONS)
    found = sorted(
        file
        for file in path.rglob("*")
        if file.name.endswith(endings) and file.name.split(".")[0].lower() not in PAPERS
    )
    if not found:
        raise Refusal(
            f"benchmarks: {source!r} is no file and no folder of {', '.join(KINDS)} files"
        )
    return {str(file.relative_to(path.parent)): file for file in found}


def _num_words(text: str) -> int:
    return len(cut(bare(text)))


def read_items(sources: Sequence[str], ngram: int) -> Benchmarks:
    """All items of benchmarks, and the texts by which they can be searched.

    An item is searched by the n-grams of all its columns, one after the other, and by its question
    as a whole where that has fewer than n words and at least FEWEST.

    Raises:
        Refusal: a file is missing or cannot be read.
    """
    found = Benchmarks([], [], [], [])
    for source in sources:
        for name, path in _files(source).items():
            try:
                records = _records(path)
            except (
                OSError,
                ValueError,
                StopIteration,
                RecursionError,
                csv.Error,
                pa.ArrowException,
            ) as error:
                raise Refusal(f"the benchmark {path} cannot be read: {error}") from None
            for number, record in enumerate(records):
                fields = [(unicodedata.normalize("NFKC", t), asked) for t, asked in _fields(record)]
                whole = "\n".join(text for text, _ in fields)
                sizes = [_num_words(text) for text, _ in fields]
                texts = [whole] if sum(sizes) >= ngram else []
                questions = (
                    ASKED.sub("", text)
                    for (text, is_asked), size in zip(fields, sizes, strict=True)
                    if is_asked and size < ngram + len(("question", "answer"))
                )
                texts += [text for text in questions if FEWEST <= _num_words(text) < ngram]
                found.texts.extend(texts)
                found.owners.extend([len(found.names)] * len(texts))
                found.names.append(f"{name}:{number}")
                found.files.append(name)
    return found


def _hash_grams(texts: Texts, ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    found: tuple[Any, Any] = grams_of(*texts, classes(), ngram)
    return found


def _first_known(*known_and_texts: Any) -> NDArray[np.int64]:
    *known, texts = known_and_texts
    found: NDArray[np.int64] = search(*texts, classes(), *known)
    return found


def _hash(items: Benchmarks, ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The n-grams of all texts of all items, and how many each text has."""
    blank = pa.array([""] * len(items.texts))
    table = pa.table([items.texts, blank, blank], names=PARTS)
    hash_grams = partial(_hash_grams, ngram=ngram)
    parts = each(table, np.arange(len(table)), hash_grams, "benchmarks", bare=True)
    hashes, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
    return hashes, counts


def _pairs(
    hashes: NDArray[np.uint64], owners: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes, ascending, each with its items, without repetition."""
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    fresh = np.ones(len(hashes), bool)
    fresh[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return hashes[fresh], owners[fresh]


def _shared(
    hashes: NDArray[np.uint64], owners: NDArray[np.int64], items: Benchmarks
) -> NDArray[np.bool_]:
    """Which hashes more items of one file have than MOST, or than half where those are fewer."""
    number = np.unique(items.files, return_inverse=True)[1]
    most = np.minimum(MOST, np.maximum(2, np.bincount(number) // 2))
    different, of = _pairs(hashes, owners)
    # Items of a file are neighbours: so are those of a file that share a hash.
    files = number[of]
    first = np.append(True, (different[1:] != different[:-1]) | (files[1:] != files[:-1]))
    sharing = np.diff(np.append(np.flatnonzero(first), len(different)))
    return np.isin(hashes, different[first][sharing > most[files[first]]])


def _known(items: Benchmarks, ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hashes that are searched for, ascending, each with its items, without repetition.

    Words in runs of half of n that too many items share (see `_shared`) are a template's. What
    has more of them than of an item's own is left out: the last words of a template and the first
    of an item are in many innocent rows, too.
    """
    half = max(1, ngram // 2)
    (grams, counts), (runs, run_counts) = (_hash(items, size) for size in (ngram, half))
    texts = np.array(items.owners)
    words = run_counts + half - 1
    begins = np.cumsum(words) - words
    places, run_places = (
        np.arange(num.sum()) + np.repeat(begins - np.cumsum(num) + num, num)
        for num in (counts, run_counts)
    )
    starts = run_places[_shared(runs, np.repeat(texts, run_counts), items)]
    edges = np.zeros(words.sum() + ngram + half + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + half, -1)
    template = np.append(0, np.cumsum(np.cumsum(edges) > 0))
    owners = np.repeat(texts, counts)
    left_out = np.where(
        np.repeat(words >= ngram, counts),
        (template[places + ngram] - template[places]) * 2 > ngram,
        _shared(grams, owners, items),
    )
    kept = ~np.isin(grams, grams[left_out])
    return _pairs(grams[kept], owners[kept])


def _unsearched(items: Benchmarks, searched: NDArray[np.int64], ngram: int) -> tuple[str, ...]:
    """A sentence for every file with items that cannot be searched."""
    missing = np.delete(np.arange(len(items.names)), searched)
    sizes, lacking = Counter(items.files), Counter(items.files[item] for item in missing)
    return tuple(
        f"{number} of the {sizes[file]} items of {file} cannot be searched: they have fewer than "
        f"{ngram} words, and in the question fewer than {FEWEST}, or none but a template's"
        for file, number in lacking.items()
    )


@step
def decontaminate(table: pa.Table, rows: Positions, numbers: Decontaminate) -> Verdict:
    """Drop rows that share an n-gram of words with an item of a benchmark, or a short question.

    Args:
        table: has texts.
        rows: the positions of those that are left.
        numbers: see `Decontaminate`.

    Raises:
        Refusal: a benchmark is missing or cannot be read.
    """
    if not numbers.benchmarks:
        raise Refusal("benchmarks: expected a file or more")
    items = read_items(numbers.benchmarks, numbers.ngram)
    if not items.texts:
        return replace(NONE, warnings=_unsearched(items, np.arange(0), numbers.ngram))
    grams, owners = _known(items, numbers.ngram)
    warnings = _unsearched(items, np.unique(owners), numbers.ngram)
    keys, first = np.unique(grams, return_index=True)
    shift = np.uint64(64 - max(1, (16 * len(keys)).bit_length()))
    sieve = np.zeros(1 << (64 - int(shift)), bool)
    sieve[keys >> shift] = True
    lengths = np.zeros(numbers.ngram + 1, bool)
    lengths[[min(_num_words(text), numbers.ngram) for text in items.texts]] = True

    search = partial(_first_known, lengths, keys, owners[first], sieve, shift)
    found = np.concatenate([*each(table, rows, search, "decontaminate", bare=True), np.arange(0)])
    dirty = found >= 0
    hits = found[dirty]
    return Verdict(
        rows[dirty],
        [f"in the benchmark {items.files[item]}" for item in hits],
        pa.array([items.names[item] for item in hits], pa.string()),
        warnings=warnings,
    )
