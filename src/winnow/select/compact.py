"""The score table as cuts read it: some 45 bytes a row, and no text."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

PART_ROWS = 2**16
"""Rows whose hashes are texts at once: a matter of memory, not of results."""
ORDER = [("hash", "ascending"), ("id", "ascending")]


def compact(column: Callable[[str], pa.ChunkedArray], names: Iterable[str]) -> pd.DataFrame:
    """Read the columns that a cut reads, one at a time.

    Args:
        column: gives a column of the score table by its name.
        names: of numbers, 8 bytes a row each; beside them id, hash and source are read.

    Returns:
        The numbers; `source` as a category, a byte or two; `hash` as bytes, 16 of a content hash;
        and `tie`, 4 bytes: the row's place in the order of hash and id, by which rows of equal
        keys are ordered.
    """
    rows = {name: column(name).to_pandas() for name in dict.fromkeys(names)}
    parts = pa.table({"hash": column("hash")}).to_batches(PART_ROWS)
    hashes = pa.chunked_array([_bytes(part["hash"]) for part in parts])
    order = pc.sort_indices(pa.table({"hash": hashes, "id": column("id")}), ORDER)
    ties = np.empty(len(order), np.int32)
    ties[order] = np.arange(len(order), dtype=np.int32)
    hashes = hashes.to_pandas(types_mapper=pd.ArrowDtype)
    source = column("source").to_pandas().astype("category")
    return pd.DataFrame(rows | {"source": source, "hash": hashes, "tie": ties})


def _bytes(hashes: pa.Array) -> pa.Array:
    """Hexadecimal texts of one length as what they spell."""
    digits = bytes.fromhex("".join(hashes.to_pylist()))
    size = len(digits) // max(1, len(hashes))
    buffers = [None, pa.py_buffer(digits)]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(hashes), buffers)


def digits(hashes: pd.Series) -> Iterator[str]:
    """The hexadecimal texts of hashes, of which a part is in memory at a time."""
    for start in range(0, len(hashes), PART_ROWS):
        yield from (one.hex() for one in hashes.iloc[start : start + PART_ROWS].to_numpy())
