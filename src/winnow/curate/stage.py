"""Clean the rows by the recipe, hold out, make the tokenizer.    winnow curate

Writes artifacts/curate: train.parquet, validation.parquet, test.parquet, dropped.jsonl (id, hash,
reason, the id that stays), tokenizer/, card.json with the ledger.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from winnow import config, publish
from winnow.curate import steps, tokenizer
from winnow.records import CURATED_SCHEMA, ROW_SCHEMA, Row, content_hash

SOURCE = Path("artifacts/ingest")
FOLDER = Path("artifacts/curate")


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
    """bpe (trained on the kept rows), a folder, or a hub id such as gpt2."""
    vocab_size: int = 1024
    """Of bpe."""


def _read() -> tuple[pd.DataFrame, dict[str, Any]]:
    card = publish.read_card(SOURCE, "winnow ingest")
    shards = sorted(name for name in card["files"] if name.endswith(".parquet"))
    table = pa.concat_tables(pq.read_table(SOURCE / name) for name in shards)
    rows = table.to_pandas()
    parts = zip(rows["instruction"], rows["input"], rows["response"], strict=True)
    rows["hash"] = [content_hash(*part) for part in parts]
    rows["cluster"] = rows["hash"]
    return rows, card


def _texts(rows: pd.DataFrame) -> Any:
    for values in rows[ROW_SCHEMA.names].itertuples(index=False):
        yield Row(*values).text


def run() -> None:
    """Apply the recipe in its order, hold out by cluster, publish with the ledger."""
    settings = config.load("curate", CurateConfig)
    wanted = {"validation": settings.validation, "test": settings.test}
    rows, source = _read()
    ledger = publish.Ledger(rows_in=len(rows))
    card: dict[str, Any] = {
        "stage": "curate",
        "params": settings,
        "inputs": {str(SOURCE): publish.fingerprint(source["files"])},
    }
    with publish.lock("curate"), publish.publish_folder(FOLDER, card) as folder:
        with (folder / "dropped.jsonl").open("w", encoding="utf-8") as file:
            for step in settings.steps:
                before = rows
                rows, dropped = steps.apply(step, before)
                for position, drop in sorted(dropped.items()):
                    row = before.iloc[position]
                    entry = {"id": row["id"], "hash": row["hash"]}
                    entry |= {"reason": drop.reason, "kept": drop.kept}
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                    ledger.dropped[drop.reason] += 1
        split = steps.hold_out(rows, wanted, settings.seed)
        for name in ("train", *wanted):
            part = rows[split == name]
            table = pa.Table.from_pandas(part, schema=CURATED_SCHEMA, preserve_index=False)
            table = table.replace_schema_metadata(None)
            pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
        kept = rows[split == "train"]
        ledger.rows_out, ledger.held_out = len(kept), len(rows) - len(kept)
        tokenizer.save(settings.tokenizer, _texts(kept), settings.vocab_size, folder / "tokenizer")
        card["ledger"] = ledger.close()
        card["splits"] = split.value_counts().sort_index().to_dict()
    print(
        f"curate: {ledger.rows_out} rows kept, {ledger.dropped.total()} dropped, "
        f"{ledger.held_out} held out -> {FOLDER}"
    )
