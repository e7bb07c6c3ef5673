"""Clean the rows by the recipe, hold out, make the tokenizer.    winnow curate

Writes artifacts/curate: train.parquet, validation.parquet, test.parquet (with the columns that
ingest kept), dropped.parquet (DROPPED_SCHEMA), tokenizer/, card.json with the ledger; and
artifacts/curate_metrics.json with what every step took.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.core import cards, engine, files, mapped, params
from winnow.core.layout import CURATED, CURATION_METRICS, INGESTED
from winnow.core.records import CURATED_SCHEMA, DROPPED_SCHEMA, KEPT, ROW_SCHEMA, Row
from winnow.core.texts import hash_chunks, marked, rows_at
from winnow.curate import draws, groups, steps, tokenizer, topics
from winnow.curate.params import CurateConfig
from winnow.curate.verdict import Positions, Verdict, marks

ROW_GROUP = 20_000
"""Rows that a reader of a file has to hold at once."""


def _shards(folder: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    for name in names:
        yield from pq.read_table(folder / name).to_batches()


def _read() -> tuple[pa.Table, dict[str, Any]]:
    """The table of all rows, which lies in files, with their content hashes."""
    card = cards.read_card(INGESTED, "winnow ingest")
    shards = sorted(name for name in card["files"] if name.endswith(".parquet"))
    schema = pq.read_schema(INGESTED / shards[0])
    table = mapped.shared(schema, _shards(INGESTED, shards))
    name = pa.schema([("hash", pa.string())])
    batches = (pa.record_batch([chunk], schema=name) for chunk in hash_chunks(table))
    hashes = mapped.written(name, batches)["hash"]
    return table.append_column("hash", hashes).append_column("cluster", hashes), card


def _dropped(table: pa.Table, step: int, verdict: Verdict) -> pa.Table:
    """The rows that a step drops, as it was given them, as DROPPED_SCHEMA, in a file."""
    among = marks(len(table), verdict.gone)
    table = table.select([*ROW_SCHEMA.names, "hash"])

    def batches() -> Iterator[pa.RecordBatch]:
        at = 0
        for gone in marked(table, among):
            here = slice(at, at + len(gone))
            number = pa.array(np.full(len(gone), step, np.int32))
            columns = [number, pa.array(verdict.reasons[here], pa.string()), verdict.because[here]]
            found = pa.table([*gone.columns, *columns], schema=DROPPED_SCHEMA)
            yield from found.combine_chunks().to_batches()
            at += len(gone)

    return mapped.written(DROPPED_SCHEMA, batches())


def _write_rows(file: Path, table: pa.Table, rows: Positions) -> None:
    """Write rows in their order, a row group at a time, with what ingest kept beside them."""
    kept = [name for name in table.column_names if name.startswith(KEPT)]
    table = table.select([*CURATED_SCHEMA.names, *kept])
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for start in range(0, len(rows), ROW_GROUP):
            group = rows[start : start + ROW_GROUP]
            among = marks(group[-1] + 1 - group[0], group - group[0])
            batches = marked(table.slice(group[0], len(among)), among)
            writer.write_table(pa.Table.from_batches(batches, table.schema))


def _hold_out(
    table: pa.Table, rows: Positions, asked: dict[str, int], settings: CurateConfig
) -> tuple[NDArray[np.int8], list[str]]:
    """See draws.hold_out: of all rows, or of the named sources' alone."""
    among = np.ones(len(rows), bool)
    if settings.hold_out_sources is not None:
        among = draws.of_sources(table, rows, settings.hold_out_sources)
    split = np.zeros(len(rows), np.int8)
    split[among], short = draws.hold_out(table, rows[among], asked, settings.seed)
    return split, short


def _tokenizer_texts(table: pa.Table, rows: Positions, number: int, seed: int) -> Any:
    drawn = draws.sample(table, rows, number, seed)
    texts = rows_at(table.select(ROW_SCHEMA.names), np.sort(drawn))
    for row in texts.take(np.argsort(np.argsort(drawn))).to_pylist():
        yield Row(**row).text


def run() -> None:
    """Apply the recipe in its order, hold out by cluster, publish with the ledger."""
    settings = params.load("curate", CurateConfig)
    settings.check()
    warnings: list[str] = []
    with cards.lock("curate"), mapped.shared_files("curate"), engine.running():
        try:
            _curate(settings, warnings)
        finally:  # what a later step failed at may be what an earlier one warned of
            for warning in warnings:
                print(f"curate: warning: {warning}", flush=True)


def _curate(settings: CurateConfig, warnings: list[str]) -> None:
    asked = {"validation": settings.validation, "test": settings.test}
    table, source = _read()
    rows = np.arange(len(table))
    recipe = settings.recipe()
    for step in recipe:  # a faulty file is named before the others work for an hour
        steps.apply(step, table.slice(0, 0), rows[:0])
    ledger = cards.Ledger(rows_in=len(rows))
    card: dict[str, Any] = {
        "stage": "curate",
        "params": {key: value for key, value in asdict(settings).items() if key != "partition_mb"},
        "inputs": {str(INGESTED): files.fingerprint(source["files"])},
        "warnings": warnings,
    }
    with cards.publish_folder(CURATED, card) as folder:
        costs = []
        path = folder / "dropped.parquet"
        with pq.ParquetWriter(path, DROPPED_SCHEMA, compression="zstd") as file:
            for number, step in enumerate(recipe):
                began = time.perf_counter()
                given, before = table, rows
                table, rows, verdict = steps.apply(step, given, before)
                file.write_table(_dropped(given, number, verdict), ROW_GROUP)
                ledger.dropped.update(verdict.reasons)
                seconds = time.perf_counter() - began
                costs.append({"step": step["name"], "rows": len(before), "seconds": seconds})
                warnings += steps.warnings(step, given, before, verdict, settings.alarm_share)
        if settings.topics:
            table = topics.by_topic(table, rows, settings.topics)
        if settings.group:
            table = groups.joined(table, rows, settings.group)
        if settings.held_out:
            split = np.zeros(len(rows), np.int8)
            taken = groups.taken(settings.held_out, table, rows, [*asked])
            card["inputs"][settings.held_out] = taken.fingerprint
        else:
            split, short = _hold_out(table, rows, asked, settings)
            warnings += short
        card["splits"] = {}
        for index, name in enumerate(("train", *asked)):
            card["splits"][name] = int((split == index).sum())
            _write_rows(folder / f"{name}.parquet", table, rows[split == index])
        kept = rows[split == 0]
        ledger.rows_out, ledger.held_out = len(kept), len(rows) - len(kept)
        if settings.held_out:
            card["splits"] |= taken.copy(folder)
            # They come in here, and not by ingest.
            ledger.held_out = sum(taken.sizes.values())
            ledger.rows_in += ledger.held_out
        texts = _tokenizer_texts(table, kept, settings.tokenizer_rows, settings.seed)
        tokenizer.save(settings.tokenizer, texts, settings.vocab_size, folder / "tokenizer")
        card["ledger"] = ledger.close()
    files.write_sealed(CURATION_METRICS, {"steps": costs})
    print(
        f"curate: {ledger.rows_out} rows kept, {ledger.dropped.total()} dropped, "
        f"{ledger.held_out} held out -> {CURATED}"
    )
