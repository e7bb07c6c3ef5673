"""Read the corpus that params.yaml names into canonical rows.    winnow ingest [--max-samples N]

Writes artifacts/ingest: rows-*.parquet, quarantine.jsonl (file, position, reason), card.json.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from winnow import config, publish
from winnow.ingest.mapping import Unmapped, to_pair, to_text
from winnow.ingest.sources import Record, Source, find
from winnow.progress import progress
from winnow.records import ROW_SCHEMA

FOLDER = Path("artifacts/ingest")
SHARD_ROWS = 100_000
"""Rows a file, and so the rows that are held in memory: a matter of layout, not of results."""


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


def _sample(sources: list[Source], limit: int | None) -> Iterator[tuple[Source, Record]]:
    """All records; under a limit the first ones of every source, as evenly as they allow."""
    left = limit
    for index, source in enumerate(sources):
        quota = None if left is None else -(-left // (len(sources) - index))
        for taken, record in enumerate(source.read()):
            if quota is not None and left is not None:
                if taken >= quota:
                    break
                left -= 1
            yield source, record


def _row(source: Source, record: Record) -> dict[str, str]:
    if record.reason:
        raise Unmapped(record.reason)
    instruction, context, response = to_pair(record.value)
    named = record.value.get("source")
    stem = Path(source.name).name.partition(".")[0]
    return {
        "id": f"{source.name}:{record.position}",
        "source": to_text(named, "source") if isinstance(named, str) and named else stem,
        "instruction": instruction,
        "input": context,
        "response": response,
    }


class _Shards:
    """Collects rows and writes them as numbered Parquet files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows, self.number = folder, list[dict[str, str]](), 0

    def add(self, row: dict[str, str]) -> None:
        self.rows.append(row)
        if len(self.rows) == SHARD_ROWS:
            self.flush()

    def flush(self) -> None:
        table = pa.Table.from_pylist(self.rows, schema=ROW_SCHEMA)
        pq.write_table(table, self.folder / f"rows-{self.number:05}.parquet", compression="zstd")
        self.rows, self.number = [], self.number + 1


def run(max_samples: int | None = None) -> None:
    """Read, map and publish; quarantine what cannot be a row.

    Raises:
        ValueError: no usable row was found; the message names the first bad record.
    """
    settings = config.load("ingest", IngestConfig)
    limit = max_samples if max_samples is not None else settings.max_samples
    if limit is not None and limit < 1:
        raise ValueError(f"--max-samples: expected a number above 0, found {limit}")
    sources = find(
        settings.source, settings.revision, settings.split, settings.max_line_mb * 1024 * 1024
    )
    ledger, example = publish.Ledger(), ""
    card = {"stage": "ingest", "params": settings, "max_samples": limit}
    with publish.lock("ingest"), publish.publish_folder(FOLDER, card) as folder:
        shards = _Shards(folder)
        with (folder / "quarantine.jsonl").open("w", encoding="utf-8") as quarantine:
            for source, record in progress(_sample(sources, limit), "ingest", "rows", limit):
                ledger.rows_in += 1
                try:
                    shards.add(_row(source, record))
                    ledger.rows_out += 1
                except Unmapped as error:
                    reason = str(error)
                    example = example or f"{source.name}:{record.position}: {reason}"
                    # Places and names in a reason would make every bad row a reason of its own.
                    ledger.dropped[re.sub(r"( at \w+ \d+|, found: .*)$", "", reason)] += 1
                    entry = {"file": source.name, "position": record.position, "reason": reason}
                    quarantine.write(json.dumps(entry, ensure_ascii=False) + "\n")
        if not ledger.rows_out:
            found = f"{ledger.rows_in} records, all quarantined, the first at {example}"
            raise ValueError(
                f"{settings.source}: no usable row ({found if ledger.rows_in else 'it is empty'})"
            )
        shards.flush()
        card["ledger"] = ledger.close()
    print(f"ingest: {ledger.rows_out} rows, {ledger.dropped.total()} quarantined -> {FOLDER}")
