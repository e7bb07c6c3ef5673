"""Read the corpus that params.yaml names into canonical rows.    winnow ingest [--max-samples N]

Writes artifacts/ingest: rows-*.parquet, quarantine.jsonl (file, position, reason), card.json with
what became of every file of the source.
"""

import contextlib
import functools
import json
import math
import re
import resource
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.core import cards, params
from winnow.core.errors import Refusal
from winnow.core.layout import INGESTED
from winnow.core.mapping.columns import Columns, is_filled, to_columns
from winnow.core.mapping.fields import PUBLIC, Layout, Unmapped, plain_name
from winnow.core.mapping.pair import Pair, to_pair
from winnow.core.progress import progress
from winnow.core.records import ROW_SCHEMA
from winnow.core.threads import behind
from winnow.ingest.columns import BATCH_ROWS
from winnow.ingest.kept import kept_texts, schema_of
from winnow.ingest.params import IngestConfig
from winnow.ingest.reading import EXCESS, ROW_BYTES, Batch, Record
from winnow.ingest.sources import Corpus, Source, find

SHARD_BYTES = 2**26
"""Of a file, before compression: while one is written, from memory, the next is read. A matter of
layout, not of results."""


REASON_CHARACTERS = 500
"""Of a quarantined record's reason, which may name all columns that it has."""
COLUMNS = 10_000
"""Names of columns that are counted one by one."""
OTHERS = "(other columns)"


@contextlib.contextmanager
def _memory(size: int) -> Iterator[None]:
    """Let allocations fail that would take the process over `size` bytes more than it has."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():  # nothing is enforced where Linux is not
        yield
        return
    pa.array([""])  # Arrow's allocator reserves addresses when it is first used
    taken = int(statistics.read_text().split()[5]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    soft, hard = (math.inf if limit < 0 else limit for limit in before)
    resource.setrlimit(resource.RLIMIT_DATA, (int(min(soft, hard, taken + size)), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _row(source: Source, record: Record, layout: Layout = PUBLIC) -> tuple[dict[str, str], Pair]:
    """A record as a row, and what it was made of."""
    if record.reason:
        raise Unmapped(record.reason)
    pair = to_pair(record.value, layout)
    kept = kept_texts(record.value, pair, layout) if layout.kept else {}
    return kept | {
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
    texts["source"] = pc.if_else(is_filled(texts["source"]), texts["source"], source.stem)
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


def _write(folder: Path, ledger: cards.Ledger, numbered: tuple[int, pa.Table]) -> None:
    """Write a file's rows, and count them."""
    number, shard = numbered
    pq.write_table(
        shard,
        folder / f"rows-{number:05}.parquet",
        compression="zstd",
        compression_level=3,
        use_dictionary=["source"],
    )
    ledger.rows_out += shard.num_rows


def _short(columns: Columns, cap: float) -> Columns:
    """Leave rows that are longer than `cap` to be looked at one by one."""
    if sum(text.nbytes for text in columns.texts.values()) <= cap:
        return columns
    lengths = functools.reduce(pc.add, map(pc.binary_length, columns.texts.values()))
    return columns._replace(plain=pc.and_(columns.plain, pc.less_equal(lengths, cap)))


@dataclass(slots=True)
class _Waiting:
    """Rows that are few yet."""

    schema: pa.Schema
    rows: list[dict[str, str]] = field(default_factory=list)
    characters: int = 0

    @property
    def is_full(self) -> bool:
        """Whether they are enough for a batch."""
        return len(self.rows) >= BATCH_ROWS or self.characters > SHARD_BYTES

    def add(self, row: dict[str, str]) -> int:
        """Add a row and say how many characters it has."""
        size = sum(map(len, row.values()))
        self.rows.append(row)
        self.characters += size
        return size

    def take(self) -> Iterator[pa.RecordBatch]:
        """All of them, where there are any."""
        if self.rows:
            yield pa.RecordBatch.from_pylist(self.rows, schema=self.schema)
            self.rows, self.characters = [], 0


@dataclass(slots=True)
class _Sorter:
    """Sends every record to the rows or, with the reason, to the quarantine."""

    quarantine: IO[str]
    ledger: cards.Ledger
    layout: Layout = PUBLIC
    files: dict[str, cards.Ledger] = field(default_factory=dict)
    """The ledger of every source."""
    example: str = ""
    """The first record that is no row."""
    unused: Counter[str] = field(default_factory=Counter)
    """Rows by column that they have nothing of."""
    seen: set[str] = field(default_factory=set)
    """All columns, where one was named."""
    cap: float = math.inf
    """Characters of a row, at most."""
    listed: float = math.inf
    """Records of one reason that the quarantine lists, at most."""
    source: str = ""
    """What is read now."""

    def sample(
        self, sources: list[Source], limit: int | None
    ) -> Iterator[tuple[Source, Record | Batch]]:
        """All records; under a limit the first ones of every source, as evenly as they allow."""
        left = limit
        with progress(None, "ingest", "rows", limit) as bar:
            for index, source in enumerate(sources):
                self.source, source.meter.tell = source.name, bar.tell
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
                    if source.meter.is_over:
                        yield source, Record(part.position + len(part), reason=EXCESS)
                        break

    def rows(self, parts: Iterable[tuple[Source, Record | Batch]]) -> Iterator[pa.RecordBatch]:
        """Sort the records and batches of sources; gives the rows, in their order."""
        waiting = _Waiting(schema_of(self.layout))
        for source, part in parts:
            if source.name not in self.files:
                self.files[source.name] = cards.Ledger()
            columns = to_columns(part.columns, self.layout) if isinstance(part, Batch) else None
            if self.layout is not PUBLIC:
                names = (name for name in _names(part) if self._is_told(name))
                self.seen.update(names)
            if columns and isinstance(part, Batch):
                yield from waiting.take()
                rows = self._filled(source, part, columns)
                source.meter.rows += rows.nbytes + ROW_BYTES * len(part)
                yield rows
            else:
                yield from self._one_by_one(source, part, waiting)
        yield from waiting.take()

    def _one_by_one(
        self, source: Source, part: Record | Batch, waiting: "_Waiting"
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a part whose records must say each what they are."""
        count = 0
        for record in part.records():
            row = self._row(source, record)
            source.meter.rows += ROW_BYTES
            if row:
                count += 1
                source.meter.rows += waiting.add(row)
            if waiting.characters > SHARD_BYTES:
                yield from waiting.take()
            if source.meter.is_over:
                break
        if waiting.is_full:
            yield from waiting.take()
        if isinstance(part, Batch):
            self._leave(part, count)

    def _filled(self, source: Source, batch: Batch, columns: Columns) -> pa.RecordBatch:
        """The rows of a batch, the plain ones at once and the others by their records."""
        columns = _short(columns, self.cap)
        rows, plain = _rows(source, batch, columns), columns.plain.to_numpy(zero_copy_only=False)
        self._count_in(source, len(rows))
        self._use(columns.unused)
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
        self._use(Counter(dict.fromkeys(batch.unread, num_rows)))

    def _count_in(self, source: Source, count: int) -> None:
        self.ledger.rows_in += count
        self.files[source.name].rows_in += count

    def _use(self, unused: Mapping[str, int]) -> None:
        """Count columns that rows have nothing of."""
        for name, count in unused.items():
            known = name in self.unused or len(self.unused) < COLUMNS
            self.unused[name if known else OTHERS] += count

    def _is_told(self, name: str) -> bool:
        """Whether a column is among those that a named one is looked for in."""
        key = plain_name(name)
        return len(self.seen) < COLUMNS or key in self.layout.known or key in self.layout.kept

    def _row(self, source: Source, record: Record) -> dict[str, str] | None:
        self._count_in(source, 1)
        try:
            row, pair = _row(source, record, self.layout)
            if sum(map(len, row.values())) > self.cap:
                raise Unmapped(f"row is longer than {self.cap} characters")
            unused = (name for name in pair.unused if plain_name(name) not in self.layout.kept)
            self._use(dict.fromkeys(map(_written, unused), 1))
            return row
        except RecursionError:
            reason = "the record is nested too deeply"
        except Unmapped as error:
            reason = str(error)
        self.example = self.example or f"{source.name}:{record.position}: {reason}"
        kind = _kind(reason)
        for ledger in (self.ledger, self.files[source.name]):
            ledger.dropped[kind] += 1
        if self.ledger.dropped[kind] <= self.listed:
            self._list(source.name, record.position, reason)
        return None

    def _list(self, file: str | None, position: int | None, reason: str) -> None:
        entry = {"file": file, "position": position, "reason": reason[:REASON_CHARACTERS]}
        self.quarantine.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        """Say of every reason how many records the quarantine does not list."""
        for kind, count in self.ledger.dropped.items():
            if count > self.listed:
                self._list(None, None, f"{count - self.listed:,} more records: {kind}")


@functools.lru_cache(maxsize=1024)
def _kind(reason: str) -> str:
    """A reason without the places and names, which make every bad record a reason of its own."""
    return re.sub(r"(?s)( at \w+ \d+|, found: .*)$", "", reason)


@contextlib.contextmanager
def _within_memory(size: int, sorter: _Sorter) -> Iterator[None]:
    """Read in so many MiB.

    Raises:
        Refusal: they are not enough for a file.
    """
    try:
        with _memory(size * 2**20):
            yield
    except (MemoryError, pa.ArrowCapacityError):
        raise Refusal(
            f"{sorter.source}: reading it takes more memory than ingest.max_memory_mb = {size}"
        ) from None


def _check_columns(demanded: list[tuple[str, str]], seen: set[str]) -> None:
    """Refuse a column that params.yaml names and no record has."""
    for part, name in demanded:
        key = plain_name(name)
        if not {key, key.partition(".")[0]} & {*map(plain_name, seen)}:
            raise Refusal(
                f"ingest.{part}: no record has a column {name!r}, "
                f"they have: {', '.join(sorted(seen)) or 'none'}"
            )


def _written(name: str) -> str:
    """A column's name as it can be written: JSON may name one by half of a surrogate pair."""
    return name.encode("utf-8", "backslashreplace").decode()


def _listed(unused: Counter[str], limit: int = 8) -> str:
    """The columns with the most rows, and how many others there are."""
    shown = [f"{name} ({count:,} rows)" for name, count in unused.most_common(limit)]
    others = (
        [f"{len(unused) - limit:,} more: {INGESTED / cards.CARD}"] if len(unused) > limit else []
    )
    return ", ".join(shown + others)


def _by_file(corpus: Corpus, ledgers: dict[str, cards.Ledger]) -> dict[str, Any]:
    """What became of every file: read with its rows, left with the reason, or no data at all."""
    read = []
    for source in corpus.sources:
        ledger = ledgers.get(source.name, cards.Ledger())
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
        print(f"  and {len(lines) - SHOWN:,} other files, in {INGESTED / cards.CARD}")
    if files["skipped"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in files["skipped"].items())
        print(f"  skipped, as no data: {kinds}")


def run(max_samples: int | None = None) -> None:
    """Read, map and publish; quarantine what cannot be a row.

    Raises:
        Refusal: no usable row was found; the message names the first bad record.
    """
    settings = params.load("ingest", IngestConfig)
    limit = max_samples if max_samples is not None else settings.max_samples
    if limit is not None and limit < 1:
        raise Refusal(f"--max-samples: expected a number above 0, found {limit}")
    cap = settings.max_line_mb * 2**20
    own = settings.own_columns()
    layout = Layout.of(own, settings.keep) if own or settings.keep else PUBLIC
    demanded = [(f"columns.{part}", name) for part, name in own.items()]
    demanded += [("keep", name) for name in settings.keep]
    corpus = find(
        settings.source,
        settings.revision,
        settings.split,
        cap,
        settings.max_ratio,
        settings.config,
        layout,
    )
    ledger = cards.Ledger()
    card: dict[str, Any] = {"stage": "ingest", "params": settings, "max_samples": limit}
    with cards.lock("ingest"), cards.publish_folder(INGESTED, card) as folder:
        with (folder / "quarantine.jsonl").open("w", encoding="utf-8") as quarantine:
            sorter = _Sorter(quarantine, ledger, layout, cap=cap, listed=settings.max_quarantined)
            with _within_memory(settings.max_memory_mb, sorter):
                parts = sorter.sample(corpus.sources, limit)
                shards = enumerate(_shards(sorter.rows(parts)))
                behind(functools.partial(_write, folder, ledger), shards)
            sorter.close()
        _check_columns(demanded, sorter.seen)
        if not ledger.rows_out:
            found = f"{ledger.rows_in} records, all quarantined, the first at {sorter.example}"
            raise Refusal(
                f"{settings.source}: no usable row ({found if ledger.rows_in else 'it is empty'})"
            )
        card["ledger"] = ledger.close()
        card["source_files"] = _by_file(corpus, sorter.files)
        card["columns_not_used"] = dict(sorted(sorter.unused.items()))
    print(f"ingest: {ledger.rows_out} rows, {ledger.dropped.total()} quarantined -> {INGESTED}")
    _print_files(card["source_files"])
    if sorter.unused:
        print(f"  columns not used: {_listed(sorter.unused)}")
