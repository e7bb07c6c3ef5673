"""What every reader gives: records or batches of a file, and the bytes that they are read from."""

import bz2
import io
import lzma
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a source: `value` is what was parsed, or None with the `reason` why not."""

    position: int
    """The line in a text file (from 1), the row elsewhere (from 0)."""
    value: Any = None
    reason: str = ""

    def __len__(self) -> int:
        return 1

    def records(self) -> Iterator["Record"]:
        """Itself: what a batch gives one by one."""
        yield self


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of a columnar source, still in columns."""

    position: int
    """The row of the first one."""
    columns: pa.RecordBatch
    unread: tuple[str, ...] = ()
    """The names of the columns that say nothing and were left in the file."""

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def records(self, offsets: Iterable[int] | None = None) -> Iterator[Record]:
        """All records or some; a value that cannot be read costs the row that it is in."""
        for offset in range(len(self)) if offsets is None else offsets:
            position, value, reason = self.position + offset, None, ""
            try:
                (row,) = self.columns.slice(offset, 1).to_pylist()
                value = {name: _text(field) for name, field in row.items()}
            except UnicodeDecodeError as error:
                reason = f"not UTF-8 at byte {error.start}"
            except (ValueError, OverflowError):  # a date beyond the year 9999
                reason = "a value is out of range"
            yield Record(position, value, reason)


def _text(value: Any) -> Any:
    """Bytes that are UTF-8 as text: what writers without a type for text leave."""
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


ROW_BYTES = 64
"""As many a row counts at least, whatever it holds: an empty one takes time and room as well."""
ALWAYS = 2**24
"""Bytes that any file may give, however small it is."""


EXCESS = "the rest is not read, as the file gives over ingest.max_ratio times its own bytes"


class Excess(OSError):
    """A file gives far more than it holds."""


@dataclass(slots=True)
class Meter:
    """What a source has given, in bytes, and what it may."""

    limit: float = math.inf
    rows: int = 0
    tell: Callable[[str], None] | None = None
    """Shows how far the reading is, where no row shows it."""

    @classmethod
    def of(cls, size: int, ratio: int) -> "Meter":
        """For a source of a size, which may give `ratio` times as much."""
        return cls(max(ALWAYS, ratio * size))

    def unpacked(self, size: int) -> None:
        """Note that a file was unpacked so far.

        Raises:
            Excess: that is too much.
        """
        if self.tell:
            self.tell(f"{size / 2**20:,.0f} MiB")
        if size > self.limit:
            raise Excess(EXCESS)

    @property
    def is_over(self) -> bool:
        """Whether the rows are too much for the source."""
        return self.rows > self.limit


FREE = Meter()
"""Without a limit."""


class _Metered(io.RawIOBase):
    """A stream whose bytes are metered."""

    def __init__(self, stream: Any, meter: Meter) -> None:
        self.stream, self.meter, self.size = stream, meter, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = int(self.stream.readinto(buffer))
        self.size += size
        self.meter.unpacked(self.size)
        return size

    def close(self) -> None:
        self.stream.close()
        super().close()


COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".xz": "xz"}
BROKEN = (OSError, EOFError, lzma.LZMAError)
"""What reading from a compressed file raises where that is damaged or ends too early."""
PIECE = 2**17
"""Bytes that are unpacked at once."""


def is_compressed(path: Path) -> bool:
    """Whether the file's name says so."""
    return path.suffix.lower() in COMPRESSIONS


def _unpacked(path: Path) -> Any:
    compression = COMPRESSIONS.get(path.suffix.lower())
    if compression == "bz2":
        return bz2.open(path)
    if compression == "xz":
        return lzma.open(path)
    file = path.open("rb", buffering=0)
    # Arrow's reader, unlike the Python ones of zstd, says when a file ends too early.
    return pa.input_stream(file, compression=compression) if compression else file


def open_bytes(path: Path, meter: Meter) -> IO[bytes]:
    """The bytes of a file, unpacked; more of them than `meter` allows raise Excess."""
    return io.BufferedReader(_Metered(_unpacked(path), meter), PIECE)


def broken_record(path: Path, position: int, error: BaseException) -> Record:
    """What stands for the rest of a compressed file that breaks off; another's error is raised."""
    if isinstance(error, Excess):
        return Record(position, reason=str(error))
    if not is_compressed(path):
        raise error
    return Record(position, reason=f"compressed file is broken from here: {error}")
