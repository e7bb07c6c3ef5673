"""A column of some rows as numbers: read a chunk at a time, as it may lie in a file."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.core.texts import parts, taken
from winnow.curate.verdict import Positions


def codes(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The different values of a column, in the order of their first rows, and each row's code."""
    return column.dictionary_encode().combine_chunks()


def codes_at(table: pa.Table, name: str, rows: Positions) -> pa.DictionaryArray:
    """`codes` of a column at ascending positions; in memory are the different values, and 4 bytes
    a row."""
    found = [taken(part)[name].dictionary_encode() for part in parts(table.select([name]), rows)]
    kind = pa.dictionary(pa.int32(), table.schema.field(name).type)
    return pa.chunked_array(found, kind).combine_chunks()


def keys(names: pa.Array, seed: int | str) -> NDArray[np.uint64]:
    """A number a name, as good as random: the hash of name and seed."""
    salted = pc.binary_join_element_wise(names, str(seed), ":").to_numpy(zero_copy_only=False)
    found: NDArray[np.uint64] = pd.util.hash_array(salted, categorize=False)
    return found


def keys_at(table: pa.Table, name: str, rows: Positions, seed: int) -> NDArray[np.uint64]:
    """`keys` of a column at ascending positions; in memory are 8 bytes a row."""
    found, at = np.empty(len(rows), np.uint64), 0
    for part in parts(table.select([name]), rows):
        size = len(part.inside)
        found[at : at + size], at = keys(taken(part)[name], seed), at + size
    return found
