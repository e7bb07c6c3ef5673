"""Clean the rows by the recipe, hold out, make the tokenizer.    winnow curate

Writes artifacts/curate: train.parquet, validation.parquet, test.parquet, dropped.jsonl (id, hash,
reason, the id that stays), tokenizer/, card.json with the ledger.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow import config, publish
from winnow.curate import draws, steps, tokenizer
from winnow.curate.texts import content_hashes
from winnow.records import CURATED_SCHEMA, ROW_SCHEMA, Row

SOURCE = Path("artifacts/ingest")
FOLDER = Path("artifacts/curate")
ROW_GROUP = 20_000
"""Rows that a reader of train.parquet has to hold at once."""
DROPPED = ("id", "hash", "reason", "kept")


@dataclass(frozen=True, kw_only=True, slots=True)
class CurateConfig:
    """What is cleaned away, what is held out, and which tokenizer everything uses."""

    steps: tuple[Any, ...]
    """The recipe: a list of steps by name, each with its numbers; see curate/steps.py."""
    validation: int
    """Rows that decide during training."""
    test: int
    """Rows that every arm is judged on, once."""
    seed: int = 0
    tokenizer: str = "bpe"
    """bpe (trained on kept rows), a folder, or a hub id such as gpt2."""
    vocab_size: int = 1024
    """Of bpe."""
    tokenizer_rows: int = 20000
    """Kept rows that bpe is trained on, at most; they are drawn by hash."""


def _read() -> tuple[pa.Table, dict[str, Any]]:
    card = publish.read_card(SOURCE, "winnow ingest")
    shards = sorted(name for name in card["files"] if name.endswith(".parquet"))
    table = pa.concat_tables(pq.read_table(SOURCE / name) for name in shards)
    hashes = content_hashes(table)
    return table.append_column("hash", hashes).append_column("cluster", hashes), card


def _write_dropped(file: IO[str], table: pa.Table, verdict: steps.Verdict) -> None:
    gone, kept = table.select(["id", "hash"]).take(verdict.gone), table["id"].take(verdict.kept)
    columns = [*gone.to_pydict().values(), verdict.reasons, kept.to_pylist()]
    encode = json.JSONEncoder(ensure_ascii=False).encode
    for values in zip(*columns, strict=True):
        file.write(encode(dict(zip(DROPPED, values, strict=True))) + "\n")


def _write_rows(file: Path, table: pa.Table, rows: steps.Positions) -> None:
    """Write rows in their order, a row group at a time."""
    table = table.select(CURATED_SCHEMA.names)
    with pq.ParquetWriter(file, CURATED_SCHEMA, compression="zstd") as writer:
        for start in range(0, len(rows), ROW_GROUP):
            group = rows[start : start + ROW_GROUP]
            among = np.zeros(group[-1] + 1 - group[0], bool)
            among[group - group[0]] = True
            writer.write_table(table.slice(group[0], len(among)).filter(pa.array(among)))


def _tokenizer_texts(table: pa.Table, rows: steps.Positions, number: int, seed: int) -> Any:
    drawn = draws.sample(table, rows, number, seed)
    for row in table.select(ROW_SCHEMA.names).take(drawn).to_pylist():
        yield Row(**row).text


def run() -> None:
    """Apply the recipe in its order, hold out by cluster, publish with the ledger."""
    settings = config.load("curate", CurateConfig)
    wanted = {"validation": settings.validation, "test": settings.test}
    table, source = _read()
    rows = np.arange(len(table))
    ledger = publish.Ledger(rows_in=len(rows))
    card: dict[str, Any] = {
        "stage": "curate",
        "params": settings,
        "inputs": {str(SOURCE): publish.fingerprint(source["files"])},
    }
    with publish.lock("curate"), publish.publish_folder(FOLDER, card) as folder:
        with (folder / "dropped.jsonl").open("w", encoding="utf-8") as file:
            for step in settings.steps:
                table, rows, verdict = steps.apply(step, table, rows)
                _write_dropped(file, table, verdict)
                ledger.dropped.update(verdict.reasons)
        split = draws.hold_out(table, rows, wanted, settings.seed)
        card["splits"] = {}
        for index, name in enumerate(("train", *wanted)):
            card["splits"][name] = int((split == index).sum())
            _write_rows(folder / f"{name}.parquet", table, rows[split == index])
        kept = rows[split == 0]
        ledger.rows_out, ledger.held_out = len(kept), len(rows) - len(kept)
        texts = _tokenizer_texts(table, kept, settings.tokenizer_rows, settings.seed)
        tokenizer.save(settings.tokenizer, texts, settings.vocab_size, folder / "tokenizer")
        card["ledger"] = ledger.close()
    print(
        f"curate: {ledger.rows_out} rows kept, {ledger.dropped.total()} dropped, "
        f"{ledger.held_out} held out -> {FOLDER}"
    )
