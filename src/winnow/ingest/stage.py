"""Read the corpus that params.yaml names into canonical rows.    winnow ingest [--max-samples N]

Writes artifacts/ingest: rows-*.parquet, quarantine.jsonl (file, position, reason), card.json with
what became of every file of the source.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow import config, mapping, publish
from winnow.errors import Refusal
from winnow.ingest.columns import BATCH_ROWS
from winnow.ingest.params import IngestConfig
from winnow.ingest.reading import Batch, Record
from winnow.ingest.sources import Corpus, Source, find
from winnow.mapping import PUBLIC, Columns, Layout, Pair, Unmapped
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


def _row(source: Source, record: Record, layout: Layout = PUBLIC) -> tuple[dict[str, str], Pair]:
    """A record as a row, and what it was made of."""
    if record.reason:
        raise Unmapped(record.reason)
    pair = mapping.to_pair(record.value, layout)
    return {
        "id": f"{source.name}:{record.position}",
        "source": pair.source or source.stem,
        "instruction": pair.instruction,
        "input": pair.input,
        "response": pair.response,
    }, pair


def _rows(source: Source, batch: Batch, columns: Columns) -> pa.RecordBatch:
    """What `_row` makes of the plain records of a batch."""
    positions = pa.array(range(batch.position, batch.position + len(batch))).cast(pa.string())
    texts = {"source": pa.repeat("", len(batch))} | columns.texts
    texts["id"] = pc.binary_join_element_wise(source.name, positions, ":")
    texts["source"] = pc.if_else(mapping.is_filled(texts["source"]), texts["source"], source.stem)
    rows = pa.record_batch([texts[name] for name in ROW_SCHEMA.names], schema=ROW_SCHEMA)
    return rows if pc.all(columns.plain).as_py() else rows.filter(columns.plain)


def _names(part: Record | Batch) -> set[str]:
    if isinstance(part, Batch):
        return {*part.columns.schema.names, *part.unread}
    return {*map(str, part.value)} if isinstance(part.value, dict) else set()


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
    layout: Layout = PUBLIC
    files: dict[str, publish.Ledger] = field(default_factory=dict)
    """The ledger of every source."""
    example: str = ""
    """The first record that is no row."""
    unused: Counter[str] = field(default_factory=Counter)
    """Rows by column that they have nothing of."""
    seen: set[str] = field(default_factory=set)
    """All columns, where one was named."""

    def rows(self, parts: Iterable[tuple[Source, Record | Batch]]) -> Iterator[pa.RecordBatch]:
        """Sort the records and batches of sources; gives the rows, in their order."""
        waiting, characters = list[dict[str, str]](), 0
        for source, part in parts:
            self.ledger.rows_in += len(part)
            self.files.setdefault(source.name, publish.Ledger()).rows_in += len(part)
            columns = (
                mapping.to_columns(part.columns, self.layout) if isinstance(part, Batch) else None
            )
            if self.layout is not PUBLIC:
                self.seen |= _names(part)
            mapped = (self._row(source, record) for record in part.records()) if not columns else ()
            rows = [row for row in mapped if row]
            waiting += rows
            characters += sum(len(text) for row in rows for text in row.values())
            if waiting and (columns or len(waiting) >= BATCH_ROWS or characters > SHARD_BYTES):
                yield pa.RecordBatch.from_pylist(waiting, schema=ROW_SCHEMA)
                waiting, characters = [], 0
            if columns and isinstance(part, Batch):
                yield self._filled(source, part, columns)
            elif isinstance(part, Batch):
                self._leave(part, len(rows))
        if waiting:
            yield pa.RecordBatch.from_pylist(waiting, schema=ROW_SCHEMA)

    def _filled(self, source: Source, batch: Batch, columns: Columns) -> pa.RecordBatch:
        """The rows of a batch, the plain ones at once and the others by their records."""
        rows, plain = _rows(source, batch, columns), columns.plain.to_numpy(zero_copy_only=False)
        self.unused += columns.unused
        odd = {
            record.position - batch.position: self._row(source, record)
            for record in batch.records(np.flatnonzero(~plain).tolist())
        }
        mapped = {offset: row for offset, row in odd.items() if row}
        self._leave(batch, len(rows) + len(mapped))
        if not mapped:
            return rows
        others = pa.RecordBatch.from_pylist(list(mapped.values()), schema=ROW_SCHEMA)
        places = [*np.flatnonzero(plain), *mapped]
        return pa.concat_batches([rows, others]).take(np.argsort(places))

    def _leave(self, batch: Batch, num_rows: int) -> None:
        self.unused += Counter(dict.fromkeys(batch.unread, num_rows))

    def _row(self, source: Source, record: Record) -> dict[str, str] | None:
        try:
            row, pair = _row(source, record, self.layout)
            self.unused.update(map(_written, pair.unused))
            return row
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


def _check_columns(own: dict[str, str], seen: set[str]) -> None:
    """Refuse a column of `ingest.columns` that no record has."""
    for part, name in own.items():
        key = mapping.plain_name(name)
        if not {key, key.partition(".")[0]} & {*map(mapping.plain_name, seen)}:
            raise Refusal(
                f"ingest.columns.{part}: no record has a column {name!r}, "
                f"they have: {', '.join(sorted(seen)) or 'none'}"
            )


def _written(name: str) -> str:
    """A column's name as it can be written: JSON may name one by half of a surrogate pair."""
    return name.encode("utf-8", "backslashreplace").decode()


def _listed(unused: Counter[str], limit: int = 8) -> str:
    """The columns with the most rows, and how many others there are."""
    shown = [f"{name} ({count:,} rows)" for name, count in unused.most_common(limit)]
    others = (
        [f"{len(unused) - limit:,} more: {FOLDER / publish.CARD}"] if len(unused) > limit else []
    )
    return ", ".join(shown + others)


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
    cap = settings.max_line_mb * 2**20
    own = settings.own_columns()
    layout = Layout.of(own) if own else PUBLIC
    corpus = find(settings.source, settings.revision, settings.split, cap, settings.config, layout)
    ledger = publish.Ledger()
    card: dict[str, Any] = {"stage": "ingest", "params": settings, "max_samples": limit}
    with publish.lock("ingest"), publish.publish_folder(FOLDER, card) as folder:
        with (folder / "quarantine.jsonl").open("w", encoding="utf-8") as quarantine:
            sorter = _Sorter(quarantine, ledger, layout)
            for number, shard in enumerate(_shards(sorter.rows(_sample(corpus.sources, limit)))):
                pq.write_table(
                    shard, folder / f"rows-{number:05}.parquet",
                    compression="zstd", compression_level=3, use_dictionary=["source"],
                )  # fmt: skip
                ledger.rows_out += shard.num_rows
        _check_columns(own, sorter.seen)
        if not ledger.rows_out:
            found = f"{ledger.rows_in} records, all quarantined, the first at {sorter.example}"
            raise Refusal(
                f"{settings.source}: no usable row ({found if ledger.rows_in else 'it is empty'})"
            )
        card["ledger"] = ledger.close()
        card["source_files"] = _by_file(corpus, sorter.files)
        card["columns_not_used"] = dict(sorted(sorter.unused.items()))
    print(f"ingest: {ledger.rows_out} rows, {ledger.dropped.total()} quarantined -> {FOLDER}")
    _print_files(card["source_files"])
    if sorter.unused:
        print(f"  columns not used: {_listed(sorter.unused)}")
