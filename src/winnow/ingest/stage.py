"""Read the corpus that params.yaml names into canonical rows.    winnow ingest [--max-samples N]

Writes artifacts/ingest: rows-*.parquet, quarantine.jsonl (file, position, reason), card.json.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow import config, publish
from winnow.ingest.mapping import Unmapped, is_filled, to_columns, to_pair, to_text
from winnow.ingest.sources import BATCH_ROWS, Batch, Record, Source, find
from winnow.progress import progress
from winnow.records import ROW_SCHEMA

FOLDER = Path("artifacts/ingest")
SHARD_ROWS, SHARD_BYTES = 100_000, 2**29
"""Of a file, before compression, which is in memory until it is whole: a matter of layout, not of
results."""

BATCH_CHARACTERS = 2**26
"""Of rows that came one by one and wait to become columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig:
    """Where the corpus is."""

    source: str
    """A file, a folder, a saved dataset, or a hub id together with `revision`."""
    revision: str | None = None
    split: str = "train"
    max_samples: int | None = None
    """Rows to read at most, from all files alike; None reads all."""
    max_line_mb: int = 16
    """A longer line is quarantined unread, in MiB."""


def _sample(sources: list[Source], limit: int | None) -> Iterator[tuple[Source, Record | Batch]]:
    """All records; under a limit the first ones of every source, as evenly as they allow."""
    left = limit
    for index, source in enumerate(sources):
        quota = None if left is None else -(-left // (len(sources) - index))
        for part in () if quota == 0 else source.read():
            if quota is not None and left is not None:
                if isinstance(part, Batch):
                    part = replace(part, columns=part.columns.slice(0, quota))
                quota, left = quota - len(part), left - len(part)
            yield source, part
            if quota == 0:
                break


def _row(source: Source, record: Record) -> dict[str, str]:
    if record.reason:
        raise Unmapped(record.reason)
    instruction, context, response = to_pair(record.value)
    named = record.value.get("source")
    return {
        "id": f"{source.name}:{record.position}",
        "source": to_text(named, "source") if isinstance(named, str) and named else source.stem,
        "instruction": instruction,
        "input": context,
        "response": response,
    }


def _rows(source: Source, batch: Batch, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """What `_row` makes of every record of a batch whose columns are mapped."""
    positions = pa.array(range(batch.position, batch.position + len(batch))).cast(pa.string())
    named = columns.get("source", pa.repeat("", len(batch)))
    columns["id"] = pc.binary_join_element_wise(source.name, positions, ":")
    columns["source"] = pc.if_else(pc.equal(named, ""), source.stem, named)
    return pa.record_batch([columns[name] for name in ROW_SCHEMA.names], schema=ROW_SCHEMA)


class _Shards:
    """Writes rows, in their order, as numbered Parquet files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number, self.rows, self.bytes, self.total = folder, 0, 0, 0, 0
        self.writer: pq.ParquetWriter | None = None
        self.waiting, self.characters = list[dict[str, str]](), 0

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._settle()
        with contextlib.nullcontext() if kind is None else contextlib.suppress(Exception):
            self._close()

    def add(self, row: dict[str, str]) -> None:
        """Add one row."""
        self.waiting.append(row)
        self.characters += sum(map(len, row.values()))
        if len(self.waiting) == BATCH_ROWS or self.characters > BATCH_CHARACTERS:
            self._settle()

    def extend(self, rows: pa.RecordBatch) -> None:
        """Add a batch of rows."""
        self._settle()
        while rows.num_rows:
            if self.writer is None:
                path = self.folder / f"rows-{self.number:05}.parquet"
                self.writer = pq.ParquetWriter(
                    path, ROW_SCHEMA, compression="zstd", compression_level=3,
                    use_dictionary=["source"],
                )  # fmt: skip
            part = rows.slice(0, SHARD_ROWS - self.rows)
            self.writer.write_batch(part)
            self.rows, self.bytes = self.rows + part.num_rows, self.bytes + part.nbytes
            self.total += part.num_rows
            rows = rows.slice(part.num_rows)
            if self.rows == SHARD_ROWS or self.bytes > SHARD_BYTES:
                self._close()

    def _settle(self) -> None:
        rows, self.waiting, self.characters = self.waiting, [], 0
        if rows:
            self.extend(pa.RecordBatch.from_pylist(rows, schema=ROW_SCHEMA))

    def _close(self) -> None:
        if self.writer:
            self.writer.close()
            self.writer, self.number, self.rows, self.bytes = None, self.number + 1, 0, 0


@dataclass(slots=True)
class _Sorter:
    """Sends every record to the rows or, with the reason, to the quarantine."""

    shards: _Shards
    quarantine: IO[str]
    ledger: publish.Ledger
    example: str = ""
    """The first record that is no row."""

    def take(self, source: Source, part: Record | Batch) -> None:
        """Sort the next record or batch of a source."""
        self.ledger.rows_in += len(part)
        columns = to_columns(part.columns) if isinstance(part, Batch) else None
        if isinstance(part, Record) or columns is None:
            for record in part.records():
                if row := self._row(source, record):
                    self.shards.add(row)
            return
        filled = pc.and_(is_filled(columns["instruction"]), is_filled(columns["response"]))
        keep = filled.to_numpy(zero_copy_only=False).copy()
        for record in part.records(np.flatnonzero(~keep).tolist()):
            keep[record.position - part.position] = self._row(source, record) is not None
        self.shards.extend(_rows(source, part, columns).filter(pa.array(keep)))

    def _row(self, source: Source, record: Record) -> dict[str, str] | None:
        try:
            return _row(source, record)
        except Unmapped as error:
            reason = str(error)
        self.example = self.example or f"{source.name}:{record.position}: {reason}"
        # Places and names in a reason would make every bad row a reason of its own.
        self.ledger.dropped[re.sub(r"(?s)( at \w+ \d+|, found: .*)$", "", reason)] += 1
        entry = {"file": source.name, "position": record.position, "reason": reason}
        self.quarantine.write(json.dumps(entry) + "\n")
        return None


def run(max_samples: int | None = None) -> None:
    """Read, map and publish; quarantine what cannot be a row.

    Raises:
        ValueError: no usable row was found; the message names the first bad record.
    """
    settings = config.load("ingest", IngestConfig)
    limit = max_samples if max_samples is not None else settings.max_samples
    if limit is not None and limit < 1:
        raise ValueError(f"--max-samples: expected a number above 0, found {limit}")
    sources, others = find(
        settings.source, settings.revision, settings.split, settings.max_line_mb * 1024 * 1024
    )
    ledger = publish.Ledger()
    card = {
        "stage": "ingest",
        "params": settings,
        "max_samples": limit,
        "files_not_opened": dict(sorted(others.items())),
    }
    with publish.lock("ingest"), publish.publish_folder(FOLDER, card) as folder:
        with (
            (folder / "quarantine.jsonl").open("w", encoding="utf-8") as quarantine,
            _Shards(folder) as shards,
            progress(None, "ingest", "rows", limit) as bar,
        ):
            sorter = _Sorter(shards, quarantine, ledger)
            for source, part in _sample(sources, limit):
                sorter.take(source, part)
                bar.update(len(part))
        ledger.rows_out = shards.total
        if not ledger.rows_out:
            found = f"{ledger.rows_in} records, all quarantined, the first at {sorter.example}"
            raise ValueError(
                f"{settings.source}: no usable row ({found if ledger.rows_in else 'it is empty'})"
            )
        card["ledger"] = ledger.close()
    print(f"ingest: {ledger.rows_out} rows, {ledger.dropped.total()} quarantined -> {FOLDER}")
