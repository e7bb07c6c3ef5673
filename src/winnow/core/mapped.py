"""Tables and arrays that lie in a file and not in memory, and are read where they lie.

Such a file has no name: it lies in STATE, and the system removes it with the last who reads it,
also where a process is killed. Of what was read the system keeps in memory what fits.
"""

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterable
from typing import IO, Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core.layout import STATE

T = TypeVar("T", bound=np.generic)
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


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
        with pa.ipc.new_file(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                release()
        file.flush()
        place = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _maps.add(place)
    return pa.ipc.open_file(pa.py_buffer(place)).read_all()


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
