"""Tables and arrays that lie in a file and not in memory, and are read where they lie.

Such a file has no name: it lies in STATE, and the system removes it with the last who reads it,
also where a process is killed. Only what workers on other machines are to open has one, for as long
as a stage works: see `shared_files`. Of what was read the system keeps in memory what fits.
"""

import contextlib
import functools
import mmap
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core.layout import STATE

T = TypeVar("T", bound=np.generic)
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_folder: Path | None = None
_shared: dict[str, pa.Buffer] = {}
"""The files with names, by their paths, as they are mapped here."""


def unnamed() -> IO[bytes]:
    """An empty file that nobody finds, and that is gone when it is closed."""
    STATE.mkdir(exist_ok=True)
    return tempfile.TemporaryFile(dir=STATE)


def written(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Write a table, a batch at a time, and give it back as it lies in the file, batch by batch.

    Args:
        schema: of the batches.
        batches: one is in memory at a time.

    Raises:
        OSError: the disk is full.
    """
    with unnamed() as file:
        _write(file, schema, batches)
        return pa.ipc.open_file(_mapped(file)).read_all()


def _write(file: IO[bytes], schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with pa.ipc.new_file(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            release()
    file.flush()


def _mapped(file: IO[bytes]) -> pa.Buffer:
    place = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _maps.add(place)
    return pa.py_buffer(place)


@contextlib.contextmanager
def shared_files(lock: str) -> Iterator[None]:
    """Give the files of `shared` names for the block, so that other machines open them.

    They lie in STATE and are removed at the end of the block; what a kill left there, at its
    beginning.

    Args:
        lock: the name of the lock (see `cards.lock`) that this process holds, and so the only one
            that writes and removes these files.
    """
    global _folder
    _folder = (STATE / "tables" / lock).absolute()
    shutil.rmtree(_folder, ignore_errors=True)
    _folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(_folder, ignore_errors=True)
        _folder = None
        _shared.clear()


def shared(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Write a table as `written` does, where the workers of `engine.each` open it: until the end of
    the block of `shared_files`, if there is one.

    Raises:
        OSError: the disk is full.
    """
    if _folder is None:
        return written(schema, batches)
    # No name comes twice: a worker keeps what it has opened.
    with tempfile.NamedTemporaryFile(suffix=".arrow", dir=_folder, delete=False) as file:
        _write(file, schema, batches)
        whole = _shared[file.name] = _mapped(file)
    return pa.ipc.open_file(whole).read_all()


def within_reach(table: pa.Table) -> pa.Table:
    """The table as the workers of `engine.each` can open it: written to a file if it lies in none.

    Raises:
        OSError: the disk is full.
    """
    columns = (column.chunk(0) for column in table.columns if column.num_chunks)
    if _folder is None or all(map(_file_of, columns)):
        return table
    return shared(table.schema, table.to_batches())


def _file_of(column: pa.Array) -> str | None:
    """The path of the shared file that a column of texts lies in."""
    offsets = column.buffers()[1]
    address = offsets.address if offsets else 0
    for path, whole in _shared.items():
        if whole.address <= address < whole.address + whole.size:
            return path
    return None


@dataclass(frozen=True, slots=True)
class Place:
    """Where some texts, a `pa.StringArray`, lie: some hundred bytes in place of them."""

    path: str
    """The absolute path of a shared file."""
    buffers: tuple[tuple[int, int] | None, ...]
    """The array's buffers, as Arrow orders them: first byte in the file, and bytes."""
    start: int
    """The number of the first text in them."""
    length: int
    """The number of texts."""

    @classmethod
    def of(cls, texts: pa.StringArray) -> "Place":
        """Find the file that texts lie in.

        Raises:
            ValueError: they lie in none that is shared.
        """
        path = _file_of(texts)
        if path is None:
            raise ValueError("expected texts in a shared file, found them in memory")
        base = _shared[path].address
        # An empty buffer may be anywhere.
        spans = (
            part and ((part.address - base, part.size) if part.size else (0, 0))
            for part in texts.buffers()
        )
        return cls(path, tuple(spans), texts.offset, len(texts))

    def texts(self) -> pa.StringArray:
        """The texts as they lie in the file, which stays mapped in this process."""
        whole = _opened(self.path)
        buffers = [span and whole.slice(*span) for span in self.buffers]
        return pa.StringArray.from_buffers(
            self.length, buffers[1], buffers[2], buffers[0], offset=self.start
        )


@functools.cache
def _opened(path: str) -> pa.Buffer:
    with open(path, "rb") as file:
        return _mapped(file)


def empty(size: int, kind: type, budget: int | None) -> NDArray[Any]:
    """An array of one dimension to be filled: in memory, or where it has more bytes than the
    budget, in a file.

    Raises:
        OSError: the disk is full.
    """
    wanted = size * np.dtype(kind).itemsize
    if budget is None or wanted <= budget:
        return np.empty(size, kind)
    with unnamed() as file:
        # All of it now: a disk that is full later would end the process without a word.
        os.posix_fallocate(file.fileno(), 0, wanted)
        place = mmap.mmap(file.fileno(), wanted)
    _maps.add(place)
    return np.frombuffer(place, kind)


def on_disk(parts: Iterable[NDArray[T]], dtype: type[T]) -> NDArray[T]:
    """Flat arrays, one behind the other, as one; what is written into it stays in memory."""
    with unnamed() as file:
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).data)
        file.flush()
        return np.asarray(np.memmap(file, dtype, "c")) if file.tell() else np.zeros(0, dtype)


def release() -> None:
    """Let go of what was read of all files, which is read again where it is needed: else it counts
    as this process's memory until the system needs the room."""
    for place in list(_maps):
        place.madvise(mmap.MADV_DONTNEED)
