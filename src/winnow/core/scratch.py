"""Files without a name, for what is too large for memory."""

import tempfile
from collections.abc import Iterable
from typing import IO, TypeVar

import numpy as np
import numpy.typing as npt

from winnow.core.layout import STATE

T = TypeVar("T", bound=np.generic)


def scratch() -> IO[bytes]:
    """An empty file on the project's disk, which goes when it is closed or its process ends."""
    STATE.mkdir(exist_ok=True)
    return tempfile.TemporaryFile(dir=STATE)


def mapped(parts: Iterable[npt.NDArray[T]], dtype: type[T]) -> npt.NDArray[T]:
    """Flat arrays, one behind the other, as one that lies on the disk: the system keeps of it in
    memory what there is room for. What is written into it stays in memory."""
    with scratch() as file:
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).data)
        file.flush()
        return np.asarray(np.memmap(file, dtype, "c")) if file.tell() else np.zeros(0, dtype)
