"""Rows in orders of any kind, in two passes through them and memory for a part of them.

The first pass takes rows as they lie in a file and appends those that go into one block of an order
to a file on the disk, as one segment a part and block. The second pass reads the segments of a
block and puts its rows in order.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core import engine
from winnow.core.mapped import unnamed

PART_ROWS, BLOCK_ROWS = 2**13, 2**15
"""Rows of a part, of which several wait in memory for each core, once for every order that they are
in; and of a block, of which a core has one. Of either, fewer cut the other's into shorter segments.
"""
Block = tuple[str, int]
"""The name of an order, and the place in it of the first row."""


def cut(tables: Iterable[pa.Table], sizes: Iterable[int], ahead: int = 0) -> Iterator[pa.Table]:
    """The rows of tables, in tables of these sizes: slices of arrays that go on behind them for so
    many rows `ahead`, where there are as many."""
    rest = iter(tables)
    held: Any = next(rest, None)
    for size in sizes:
        while len(held) < size + ahead and (more := next(rest, None)) is not None:
            held = pa.concat_tables([held, more]).combine_chunks()
        yield held.slice(0, size)
        held = held.slice(size)


def _num_bytes(texts: pa.Array) -> int:
    """The bytes of texts and their offsets, without the bits that say which are there."""
    size: int = texts.nbytes
    return size if texts.buffers()[0] is None else size - _bitmap(len(texts))


def _bitmap(rows: int) -> int:
    return -(-rows // 8)


def _segments(
    blocks: Mapping[Block, NDArray[np.int64]], numbered: tuple[int, pa.RecordBatch]
) -> list[tuple[Block, int, pa.Buffer]]:
    """What of a part goes into each block: the bytes of its texts in memory, and its rows as
    Arrow's bytes."""
    (first, part), found = numbered, []
    for block, places in blocks.items():
        low, high = np.searchsorted(places, [first, first + len(part)])
        if low < high:
            rows = part.take(pa.array(places[low:high] - first))
            texts = (_num_bytes(one) for one in rows.columns if pa.types.is_string(one.type))
            found.append((block, sum(texts), rows.serialize()))
    return found


class Arranged:
    """Rows on the disk, in every order that was asked for; the file goes with this process."""

    def __init__(self, parts: Iterable[pa.Table], orders: Mapping[str, NDArray[np.int64]]) -> None:
        """Take the rows to the disk, once for each place that they have in an order.

        Args:
            parts: the rows, of one schema.
            orders: the places of rows among them, by a name; a row may have none, or several.
        """
        self.orders, self.num_bytes = orders, dict.fromkeys(orders, 0)
        """Of the texts of each order's rows, as a table has that was taken of them at once."""
        self._file = unnamed()
        starts = [(name, at) for name in orders for at in range(0, len(orders[name]), BLOCK_ROWS)]
        blocks = {(name, at): np.sort(orders[name][at : at + BLOCK_ROWS]) for name, at in starts}
        self._segments = {block: list[tuple[int, int]]() for block in starts}
        for found in engine.each(partial(_segments, blocks), self._numbered(parts)):
            for block, num_bytes, segment in found:
                self.num_bytes[block[0]] += num_bytes
                self._segments[block].append((self._file.tell(), segment.size))
                self._file.write(segment)
        self._file.flush()
        for name, order in orders.items():
            kinds = self._schema.types if len(order) else []
            self.num_bytes[name] += _bitmap(len(order)) * sum(map(pa.types.is_string, kinds))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _numbered(self, parts: Iterable[pa.Table]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Parts behind the place of their first row; one of more than 2 GiB of text is several."""
        first = 0
        for part in parts:
            self._schema = part.schema
            for batch in part.to_batches():
                yield first, batch
                first += len(batch)

    def blocks(self, name: str) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """The rows of an order, BLOCK_ROWS at a time, behind their places."""
        for at in range(0, len(self.orders[name]), BLOCK_ROWS):
            places = self.orders[name][at : at + BLOCK_ROWS]
            rows = pa.Table.from_batches(self._read(*one) for one in self._segments[name, at])
            order = np.empty(len(places), np.int64)
            order[np.argsort(places, kind="stable")] = np.arange(len(places))
            yield places, rows.take(pa.array(order))

    def _read(self, start: int, size: int) -> pa.RecordBatch:
        segment = pa.py_buffer(os.pread(self._file.fileno(), size, start))
        return pa.ipc.read_record_batch(segment, self._schema)
