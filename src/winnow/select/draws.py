"""The rows and scores of draws, from the folders of earlier stages to those that trainings read."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from winnow.core import engine
from winnow.core.layout import CURATED, SCORED, scores_name
from winnow.core.progress import progress
from winnow.core.records import CURATED_SCHEMA, DIMENSIONS, REJECTED
from winnow.select import saved
from winnow.select.arranged import PART_ROWS, Arranged, cut


def fingerprint(hashes: Iterable[str]) -> str:
    """The SHA-256 of rows by their content hashes, in their order."""
    digest = hashlib.sha256()
    for one in hashes:
        digest.update(one.encode())
    return digest.hexdigest()


def spreadsheet_safe(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cells that no spreadsheet takes for a formula (OWASP ASVS 1.2.10)."""
    formulas = pc.match_substring_regex(texts, r"^[=+\-@\t\r\x00]")
    return pc.if_else(formulas, pc.binary_join_element_wise("'", texts, ""), texts)


def write(
    folder: Path,
    orders: Mapping[str, NDArray[np.int64]],
    fingerprints: Mapping[str, str],
    scorers: Iterable[str],
) -> None:
    """Write every draw as a dataset of its rows and the shared validation split, and its scores.

    It reads the texts once, has a part of them for each core in memory, and takes as much of the
    disk as the draws themselves, until it ends.

    Args:
        folder: of all draws.
        orders: the places of each draw's rows in the curated file, in the draw's order.
        fingerprints: of each draw's rows.
        scorers: columns of scores that are written beside the documented ones, where they are.
    """
    there = pq.read_schema(SCORED / "train.parquet").names
    numbers = ["score", *DIMENSIONS, *(name for name in scorers if name in there)]
    texts = _text_names("train")
    validation = pq.read_table(CURATED / "validation.parquet", columns=_text_names("validation"))
    held_out = fingerprint(validation["hash"].to_pylist())
    with Arranged(_parts({CURATED: texts, SCORED: numbers}), orders) as rows:

        def one(draw: str) -> None:
            (folder / draw).mkdir(parents=True)
            splits = json.dumps({"splits": ["train", "validation"]})
            (folder / draw / "dataset_dict.json").write_text(splits)
            with _cells(folder / scores_name(draw), numbers) as cells:
                train = _texts_of(rows.blocks(draw), cells, len(texts))
                size = len(orders[draw]), rows.num_bytes[draw]
                saved.save(folder / draw / "train", texts, train, *size, fingerprints[draw])
            size = len(validation), validation.nbytes
            names = validation.column_names
            saved.save(folder / draw / "validation", names, [validation], *size, held_out)

        # The largest first, so that no core waits long for the last one.
        largest = sorted(orders, key=lambda draw: -len(orders[draw]))
        for _ in progress(engine.each(one, largest), "select", "draws", len(orders)):
            pass


def _text_names(split: str) -> list[str]:
    """Of a curated split's columns, and of what ingest kept the rejected answer, which a training
    reads."""
    kept = [name for name in pq.read_schema(CURATED / f"{split}.parquet").names if name == REJECTED]
    return [*CURATED_SCHEMA.names, *kept]


def _parts(columns: Mapping[Path, list[str]]) -> Iterator[pa.Table]:
    """The rows of several folders' files side by side, PART_ROWS at a time."""
    sources = {
        folder: pq.ParquetFile(folder / "train.parquet", pre_buffer=False) for folder in columns
    }
    (number,) = {file.metadata.num_rows for file in sources.values()}
    sizes = [min(PART_ROWS, number - start) for start in range(0, number, PART_ROWS)]
    read = [cut(_batches(sources[folder], columns[folder]), sizes) for folder in columns]
    for parts in zip(*read, strict=True):
        # A scorer may be called like a text, so names do not tell the columns apart: places do.
        names = [name for part in parts for name in part.column_names]
        yield pa.table([column for part in parts for column in part.columns], names)


def _batches(file: pq.ParquetFile, names: list[str]) -> Iterator[pa.Table]:
    for batch in file.iter_batches(PART_ROWS, columns=names):
        yield pa.Table.from_batches([batch]).select(names)


def _cells(path: Path, numbers: Iterable[str]) -> csv.CSVWriter:
    named = [(name, pa.float64()) for name in numbers]
    schema = pa.schema([("idx", pa.int64()), ("id", pa.string()), *named])
    return csv.CSVWriter(path, schema, write_options=csv.WriteOptions(quoting_style="needed"))


def _texts_of(
    blocks: Iterable[tuple[NDArray[np.int64], pa.Table]], cells: csv.CSVWriter, width: int
) -> Iterator[pa.Table]:
    """So many columns of blocks, whose scores, which are behind them, are written."""
    for places, block in blocks:
        # What is not a number is an empty cell.
        scores = [pa.array(one.to_pandas(), from_pandas=True) for one in block.columns[width:]]
        ids = spreadsheet_safe(block["id"])
        cells.write_table(pa.table([places, ids, *scores], [*map(str, range(len(scores) + 2))]))
        yield block.select([*range(width)])
