"""Rows in orders of any kind, in two passes through them and memory for a part of them.

The first pass takes rows as they lie in a file and appends those that go into one block of an order
to a file on the disk, as one segment a part and block. The second pass reads the segments of a
block and puts its rows in order.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core.mapped import unnamed

BLOCK_ROWS = 2**14
"""Rows of a block, and of a part: what is in memory at once."""


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


class Arranged:
    """Rows on the disk, in every order that was asked for; the file goes with this process."""

    def __init__(self, parts: Iterable[pa.Table], orders: Mapping[str, NDArray[np.int64]]) -> None:
        """Take the rows to the disk, once for each place that they have in an order.

        Args:
            parts: the rows, of one schema.
            orders: the places of rows among them, by a name; a row may have none, or several.
        """
        self.orders, self.num_bytes = orders, dict.fromkeys(orders, 0)
        """Of the texts of each order's rows, in memory."""
        self._file = unnamed()
        starts = [(name, at) for name in orders for at in range(0, len(orders[name]), BLOCK_ROWS)]
        blocks = {(name, at): np.sort(orders[name][at : at + BLOCK_ROWS]) for name, at in starts}
        self._segments = {block: list[tuple[int, int]]() for block in starts}
        first = 0
        for part in parts:
            for block, places in blocks.items():
                low, high = np.searchsorted(places, [first, first + len(part)])
                if low < high:
                    self._append(block, part.take(pa.array(places[low:high] - first)))
            first += len(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _append(self, block: tuple[str, int], rows: pa.Table) -> None:
        self.num_bytes[block[0]] += sum(
            column.nbytes for column in rows.columns if pa.types.is_string(column.type)
        )
        start = self._file.tell()
        with pa.ipc.new_stream(self._file, rows.schema) as stream:
            stream.write_table(rows)
        self._segments[block].append((start, self._file.tell() - start))

    def blocks(self, name: str) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """The rows of an order, BLOCK_ROWS at a time, behind their places."""
        self._file.flush()
        for at in range(0, len(self.orders[name]), BLOCK_ROWS):
            places = self.orders[name][at : at + BLOCK_ROWS]
            rows = pa.concat_tables([self._read(*one) for one in self._segments[name, at]])
            order = np.empty(len(places), np.int64)
            order[np.argsort(places, kind="stable")] = np.arange(len(places))
            yield places, rows.take(pa.array(order))

    def _read(self, start: int, size: int) -> pa.Table:
        return pa.ipc.open_stream(os.pread(self._file.fileno(), size, start)).read_all()
