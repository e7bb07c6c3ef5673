"""Read the corpus that params.yaml names into canonical rows.    winnow ingest [--max-samples N]

Writes artifacts/ingest: rows-*.parquet, quarantine.jsonl (file, position, reason), card.json with
what became of every file of the source.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow import config, publish
from winnow.errors import Refusal
from winnow.ingest.columns import BATCH_ROWS
from winnow.ingest.mapping import Unmapped, is_filled, to_columns, to_pair, to_text
from winnow.ingest.params import IngestConfig
from winnow.ingest.reading import Batch, Record
from winnow.ingest.sources import Corpus, Source, find
from winnow.progress import progress
from winnow.records import ROW_SCHEMA

FOLDER = Path("artifacts/ingest")
SHARD_BYTES = 2**26
"""Of a file, before compression, all of which is in memory before it is written: a matter of
layout, not of results."""


def _sample(sources: list[Source], limit: int | None) -> Iterator[tuple[Source, Record | Batch]]:
    """All records; under a limit the first ones of every source, as evenly as they allow."""
    left = limit
    with progress(None, "ingest", "rows", limit) as bar:
        for index, source in enumerate(sources):
            quota = None if left is None else -(-left // (len(sources) - index))
            for part in () if quota == 0 else source.read():
                if quota is not None and left is not None:
                    if isinstance(part, Batch):
                        part = replace(part, columns=part.columns.slice(0, quota))
                    quota, left = quota - len(part), left - len(part)
                yield source, part
                bar.update(len(part))
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


def _shards(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows, in their order, as the tables of files."""
    waiting, size = list[pa.RecordBatch](), 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size > SHARD_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, size = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)


@dataclass(slots=True)
class _Sorter:
    """Sends every record to the rows or, with the reason, to the quarantine."""

    quarantine: IO[str]
    ledger: publish.Ledger
    files: dict[str, publish.Ledger] = field(default_factory=dict)
    """The ledger of every source."""
    example: str = ""
    """The first record that is no row."""

    def rows(self, parts: Iterable[tuple[Source, Record | Batch]]) -> Iterator[pa.RecordBatch]:
        """Sort the records and batches of sources; gives the rows, in their order."""
        waiting, characters = list[dict[str, str]](), 0
        for source, part in parts:
            self.ledger.rows_in += len(part)
            self.files.setdefault(source.name, publish.Ledger()).rows_in += len(part)
            columns = to_columns(part.columns) if isinstance(part, Batch) else None
            for record in part.records() if columns is None else ():
                if row := self._row(source, record):
                    waiting.append(row)
                    characters += sum(map(len, row.values()))
            if waiting and (columns or len(waiting) >= BATCH_ROWS or characters > SHARD_BYTES):
                yield pa.RecordBatch.from_pylist(waiting, schema=ROW_SCHEMA)
                waiting, characters = [], 0
            if columns and isinstance(part, Batch):
                yield self._filled(source, part, columns)
        if waiting:
            yield pa.RecordBatch.from_pylist(waiting, schema=ROW_SCHEMA)

    def _filled(self, source: Source, batch: Batch, columns: dict[str, pa.Array]) -> pa.RecordBatch:
        filled = pc.and_(is_filled(columns["instruction"]), is_filled(columns["response"]))
        keep = filled.to_numpy(zero_copy_only=False).copy()
        for record in batch.records(np.flatnonzero(~keep).tolist()):
            keep[record.position - batch.position] = self._row(source, record) is not None
        return _rows(source, batch, columns).filter(pa.array(keep))

    def _row(self, source: Source, record: Record) -> dict[str, str] | None:
        try:
            return _row(source, record)
        except Unmapped as error:
            reason = str(error)
        self.example = self.example or f"{source.name}:{record.position}: {reason}"
        # Places and names in a reason would make every bad row a reason of its own.
        kind = re.sub(r"(?s)( at \w+ \d+|, found: .*)$", "", reason)
        for ledger in (self.ledger, self.files.setdefault(source.name, publish.Ledger())):
            ledger.dropped[kind] += 1
        entry = {"file": source.name, "position": record.position, "reason": reason}
        self.quarantine.write(json.dumps(entry) + "\n")
        return None


def _by_file(corpus: Corpus, ledgers: dict[str, publish.Ledger]) -> dict[str, Any]:
    """What became of every file: read with its rows, left with the reason, or no data at all."""
    read = []
    for source in corpus.sources:
        ledger = ledgers.get(source.name, publish.Ledger())
        ledger.rows_out = ledger.rows_in - ledger.dropped.total()
        read.append({"name": source.name, "bytes": source.size} | ledger.close())
    left = [{"name": f.name, "bytes": f.size, "reason": f.reason} for f in corpus.unread]
    return {"read": read, "not_read": left, "skipped": dict(sorted(corpus.skipped.items()))}


SHOWN = 20
"""Lines on screen about files."""


def _print_files(files: dict[str, Any]) -> None:
    """What became of the files, those first that are not rows as a whole."""
    lines = [
        f"{file['name']!r} ({file['bytes']:,} bytes) is not read: {file['reason']}"
        for file in files["not_read"]
    ]
    for file in sorted(files["read"], key=lambda file: -sum(file["dropped"].values())):
        reasons = "".join(f", {count:,} {reason}" for reason, count in file["dropped"].items())
        lines.append(
            f"{file['name']!r} ({file['bytes']:,} bytes): {file['rows_out']:,} rows{reasons}"
        )
    for line in lines[:SHOWN]:
        print(f"  {line}")
    if len(lines) > SHOWN:
        print(f"  and {len(lines) - SHOWN:,} other files, in {FOLDER / publish.CARD}")
    if files["skipped"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in files["skipped"].items())
        print(f"  skipped, as no data: {kinds}")


def run(max_samples: int | None = None) -> None:
    """Read, map and publish; quarantine what cannot be a row.

    Raises:
        Refusal: no usable row was found; the message names the first bad record.
    """
    settings = config.load("ingest", IngestConfig)
    limit = max_samples if max_samples is not None else settings.max_samples
    if limit is not None and limit < 1:
        raise Refusal(f"--max-samples: expected a number above 0, found {limit}")
    cap = settings.max_line_mb * 1024 * 1024
    corpus = find(settings.source, settings.revision, settings.split, cap, settings.config)
    ledger = publish.Ledger()
    card: dict[str, Any] = {"stage": "ingest", "params": settings, "max_samples": limit}
    with publish.lock("ingest"), publish.publish_folder(FOLDER, card) as folder:
        with (folder / "quarantine.jsonl").open("w", encoding="utf-8") as quarantine:
            sorter = _Sorter(quarantine, ledger)
            for number, shard in enumerate(_shards(sorter.rows(_sample(corpus.sources, limit)))):
                pq.write_table(
                    shard, folder / f"rows-{number:05}.parquet",
                    compression="zstd", compression_level=3, use_dictionary=["source"],
                )  # fmt: skip
                ledger.rows_out += shard.num_rows
        if not ledger.rows_out:
            found = f"{ledger.rows_in} records, all quarantined, the first at {sorter.example}"
            raise Refusal(
                f"{settings.source}: no usable row ({found if ledger.rows_in else 'it is empty'})"
            )
        card["ledger"] = ledger.close()
        card["source_files"] = _by_file(corpus, sorter.files)
    print(f"ingest: {ledger.rows_out} rows, {ledger.dropped.total()} quarantined -> {FOLDER}")
    _print_files(card["source_files"])
