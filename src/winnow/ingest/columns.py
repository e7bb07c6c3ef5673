"""Parquet and Arrow files, batch by batch, with the columns that make a row."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core.errors import Refusal
from winnow.core.mapping.columns import flat
from winnow.core.mapping.fields import PUBLIC, Layout
from winnow.ingest.reading import Batch

BATCH_ROWS, BATCH_BYTES = 4096, 2**26
"""What of a Parquet file is in memory at once: so many rows, or fewer where they are long."""
FIRST_ROWS = 16
"""Rows that are read to see how long they are, as a footer cannot say what repeats."""

BUFFER = 2**20
"""Bytes that are read at once of a column, which may be as long as the file."""

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""What Arrow's writer ends a stream with, and its reader does not miss."""

DAMAGE = (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError)

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
"""How the files begin."""


def _batch_rows(file: pq.ParquetFile, columns: list[str] | None) -> int:
    """Rows of a batch, by the footer and by the first rows themselves."""
    groups = map(file.metadata.row_group, range(file.num_row_groups))
    longest: list[int] = [group.total_byte_size // max(1, group.num_rows) for group in groups]
    for batch in file.iter_batches(FIRST_ROWS, row_groups=[0], columns=columns):
        longest.append(batch.nbytes // len(batch))
        break
    return min(BATCH_ROWS, max(1, BATCH_BYTES // max([1, *longest])))


def read_parquet(path: Path, cap: int, layout: Layout = PUBLIC) -> Iterator[Batch]:
    """Read a Parquet file.

    Raises:
        Refusal: it is damaged: it is read whole or not at all.
    """
    position = 0
    try:
        file = pq.ParquetFile(
            path, page_checksum_verification=True, buffer_size=BUFFER, pre_buffer=False
        )
        columns = flat(file.schema_arrow, layout)
        names = list(columns.values()) if columns else file.schema_arrow.names
        unread = tuple(name for name in file.schema_arrow.names if name not in names)
        read = names if columns else None
        rows = _batch_rows(file, read) if file.metadata.num_rows else BATCH_ROWS
        for batch in file.iter_batches(rows, columns=read):
            # A name with a dot in it is read along with the column that its first part names.
            yield Batch(position, batch.select(names) if columns else batch, unread)
            position += batch.num_rows
        if position != file.metadata.num_rows:
            raise OSError(f"it holds {position} rows and says {file.metadata.num_rows}")
    except MemoryError:
        raise
    except DAMAGE as error:
        raise Refusal(f"{path} is not a readable Parquet file: {error}") from None


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a file in either of Arrow's formats: of a stream or of a file."""
    # Read, not mapped: a file that is cut off while it is mapped would end the process.
    with path.open("rb") as file:
        if file.read(len(ARROW_FILE)) == ARROW_FILE:
            with pa.ipc.open_file(file) as whole:
                yield from map(whole.get_batch, range(whole.num_record_batches))
            return
        file.seek(0)
        with pa.ipc.open_stream(file) as reader:
            yield from reader
        file.seek(-len(END_OF_STREAM), os.SEEK_END)
        if file.read() != END_OF_STREAM:
            raise OSError("it is cut off")


def read_arrow(path: Path, cap: int, layout: Layout = PUBLIC, position: int = 0) -> Iterator[Batch]:
    """Read an Arrow file, whose first row has this position.

    Raises:
        Refusal: it is damaged: it is read whole or not at all.
    """
    try:
        for batch in _batches(path):
            batch.validate(full=True)  # its offsets come from the file as they are
            columns = flat(batch.schema, layout)
            names = list(columns.values()) if columns else batch.schema.names
            unread = tuple(name for name in batch.schema.names if name not in names)
            yield Batch(position, batch.select(names) if columns else batch, unread)
            position += batch.num_rows
    except MemoryError:
        raise
    except DAMAGE as error:
        raise Refusal(f"{path} is not a readable Arrow file: {error}") from None
