"""Clean the rows by the recipe, hold out, make the tokenizer.    winnow curate

Writes artifacts/curate: train.parquet, validation.parquet, test.parquet (with the columns that
ingest kept), dropped.parquet (DROPPED_SCHEMA), tokenizer/, card.json with the ledger; and
artifacts/curate_metrics.json with what every step took.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.core import cards, engine, files, params
from winnow.core.layout import CURATED, CURATION_METRICS, INGESTED
from winnow.core.records import CURATED_SCHEMA, DROPPED_SCHEMA, KEPT, ROW_SCHEMA, Row
from winnow.core.texts import content_hashes
from winnow.curate import draws, groups, steps, tokenizer, topics
from winnow.curate.params import CurateConfig
from winnow.curate.verdict import Positions, Verdict

ROW_GROUP = 20_000
"""Rows that a reader of train.parquet has to hold at once."""


def _read() -> tuple[pa.Table, dict[str, Any]]:
    card = cards.read_card(INGESTED, "winnow ingest")
    shards = sorted(name for name in card["files"] if name.endswith(".parquet"))
    table = pa.concat_tables(pq.read_table(INGESTED / name) for name in shards)
    hashes = content_hashes(table)
    return table.append_column("hash", hashes).append_column("cluster", hashes), card


def _dropped(table: pa.Table, step: int, verdict: Verdict) -> pa.Table:
    """The rows that a step drops, as it was given them, as DROPPED_SCHEMA."""
    # Not `take`, which joins all chunks first and fails above 2 GiB of text.
    among = np.isin(np.arange(len(table)), verdict.gone, assume_unique=True)
    gone = table.select([*ROW_SCHEMA.names, "hash"]).filter(pa.array(among))
    number = pa.array(np.full(len(gone), step, np.int32))
    columns = [*gone.columns, number, pa.array(verdict.reasons, pa.string()), verdict.because]
    return pa.table(columns, schema=DROPPED_SCHEMA)


def _write_rows(file: Path, table: pa.Table, rows: Positions) -> None:
    """Write rows in their order, a row group at a time, with what ingest kept beside them."""
    kept = [name for name in table.column_names if name.startswith(KEPT)]
    table = table.select([*CURATED_SCHEMA.names, *kept])
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for start in range(0, len(rows), ROW_GROUP):
            group = rows[start : start + ROW_GROUP]
            among = np.zeros(group[-1] + 1 - group[0], bool)
            among[group - group[0]] = True
            writer.write_table(table.slice(group[0], len(among)).filter(pa.array(among)))


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
    # Not `take` of all, which joins the chunks first and fails above 2 GiB of text.
    among = np.isin(np.arange(len(table)), drawn, assume_unique=True)
    texts = table.select(ROW_SCHEMA.names).filter(pa.array(among))
    for row in texts.take(np.argsort(np.argsort(drawn))).to_pylist():
        yield Row(**row).text


def run() -> None:
    """Apply the recipe in its order, hold out by cluster, publish with the ledger."""
    settings = params.load("curate", CurateConfig)
    settings.check()
    warnings: list[str] = []
    with cards.lock("curate"), engine.running():
        try:
            _curate(settings, warnings)
        finally:  # what a later step failed at may be what an earlier one warned of
            for warning in warnings:
                print(f"curate: warning: {warning}", flush=True)


def _curate(settings: CurateConfig, warnings: list[str]) -> None:
    asked = {"validation": settings.validation, "test": settings.test}
    table, source = _read()
    rows = np.arange(len(table))
    for step in settings.steps:  # a faulty file is named before the others work for an hour
        steps.apply(step, table.slice(0, 0), rows[:0])
    ledger = cards.Ledger(rows_in=len(rows))
    card: dict[str, Any] = {
        "stage": "curate",
        "params": settings,
        "inputs": {str(INGESTED): files.fingerprint(source["files"])},
        "warnings": warnings,
    }
    with cards.publish_folder(CURATED, card) as folder:
        costs = []
        path = folder / "dropped.parquet"
        with pq.ParquetWriter(path, DROPPED_SCHEMA, compression="zstd") as file:
            for number, step in enumerate(settings.steps):
                began = time.perf_counter()
                given, before = table, rows
                table, rows, verdict = steps.apply(step, given, before)
                file.write_table(_dropped(given, number, verdict))
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
