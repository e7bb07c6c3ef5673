"""Text as bytes, for kernels that read UTF-8 straight from Arrow's buffers."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.core.kernels import njit

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


def buffers(texts: pa.Array) -> tuple[Bytes, Places]:
    """The bytes of an array of strings, and where each text starts and the last one ends."""
    large = texts.cast(pa.large_string())
    _, offsets, data = large.buffers()
    places = np.frombuffer(offsets, np.int64, len(large) + 1, 8 * large.offset)
    content = np.frombuffer(data or b"", np.uint8)
    places.flags.writeable = content.flags.writeable = False  # one type, so one compiled kernel
    return content, places


@njit(cache=True, nogil=True, inline="always")
def code_point(data, at):
    """The code point at a place, and its length in bytes."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 31) << 6 | data[at + 1] & 63, 2
    if first < 0xF0:
        return (first & 15) << 12 | (data[at + 1] & 63) << 6 | data[at + 2] & 63, 3
    high = (first & 7) << 18 | (data[at + 1] & 63) << 12
    return high | (data[at + 2] & 63) << 6 | data[at + 3] & 63, 4


@njit(cache=True, nogil=True)
def seek(data, at, end, kinds, sought):
    """The place of the next character that is of one of some classes; the end if there is none.

    Args:
        data: bytes of UTF-8.
        at: where to start.
        end: where to stop.
        kinds: the classes of every code point, as bits.
        sought: the bits of the classes.
    """
    at = np.uint64(at)
    while at < end:
        code, size = code_point(data, at)
        if kinds[code] & sought:
            break
        at += np.uint64(size)
    return at
