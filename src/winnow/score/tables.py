"""A user's files beside the corpus: their records, one by one, from CSV, JSON lines or Parquet."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core.errors import Refusal
from winnow.core.mapping.fields import Unmapped
from winnow.core.mapping.pair import to_pair
from winnow.core.records import ROW_SCHEMA, content_hash

BATCH_ROWS = 4096
Place = tuple[int, dict[str, Any]]
"""Where a record stands, as ingest counts: the line in a text file from 1, the row of a Parquet
file from 0; and the record."""


def _from_csv(path: Path) -> Iterator[Place]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        line = 1 + (reader.line_num if reader.fieldnames else 0)
        for record in reader:
            yield line, record
            line = reader.line_num + 1


def _from_lines(path: Path) -> Iterator[Place]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if text.strip():
                record = json.loads(text)
                if not isinstance(record, dict):
                    raise ValueError(f"line {line} is no object")
                yield line, record


def _from_parquet(path: Path) -> Iterator[Place]:
    row = 0
    for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(BATCH_ROWS):
        for row, record in enumerate(batch.to_pylist(), row):  # noqa: B020
            yield row, record
        row += 1


READERS = {".csv": _from_csv, ".jsonl": _from_lines, ".parquet": _from_parquet}


def records(key: str, path: str) -> Iterator[Place]:
    """The records of a file, in their order, few of them in memory at once.

    Args:
        key: in params.yaml, for messages.
        path: of the file; its ending says what it is.

    Raises:
        Refusal: there is no such file, or it cannot be read.
    """
    reader = READERS.get(Path(path).suffix.lower())
    if reader is None:
        raise Refusal(f"{key}: expected a file that ends in {', '.join(READERS)}, found {path!r}")
    try:
        yield from reader(Path(path))
    except FileNotFoundError:
        raise Refusal(f"{key}: no file {path!r}") from None
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        raise Refusal(f"{key}: {path} cannot be read: {error}") from None


def target_rows(key: str, path: str, test_hashes: frozenset[str]) -> pa.Table:
    """The rows of a file that a score is to look for, as ROW_SCHEMA.

    Args:
        key: in params.yaml, for messages.
        path: of the file; its columns go by the names that ingest reads.
        test_hashes: of the test rows, of which none may be among them: a score that has seen the
            test rows finds what the models are judged on.

    Raises:
        Refusal: a record is no pair or is a row of the test, or there is none.
    """
    rows = []
    for place, record in records(key, path):
        try:
            pair = to_pair(record)
        except Unmapped as error:
            raise Refusal(f"{key}: {path}, at {place}: {error}") from None
        if content_hash(*pair[:3]) in test_hashes:
            raise Refusal(
                f"{key}: {path}, at {place}: a row of the test split, which nothing may learn "
                "from: take it out"
            )
        rows.append((str(place), "", *pair[:3]))
    if not rows:
        raise Refusal(f"{key}: {path} holds no row")
    return pa.table(
        [pa.array(column, pa.string()) for column in zip(*rows, strict=True)], ROW_SCHEMA
    )


def number(value: Any) -> float | str:
    """A cell as a finite number, or the reason why it is none."""
    if value is None or value == "":
        return "no value"
    if isinstance(value, int | float | str):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            return "no number"
        return found if abs(found) < float("inf") else "not finite"
    return "no number"
