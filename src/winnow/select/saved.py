"""A saved dataset of Hugging Face, written as its rows come: the bytes that the library `datasets`
writes of a table, without the table and without the library, which takes long to import."""

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from winnow.select.arranged import cut

SHARD_BYTES, BATCH_BYTES, BATCH_ROWS = 500_000_000, 100_000_000, 1000
"""The library's: of a file, and of a record batch."""
AHEAD_ROWS = 2**12
"""Rows in memory behind a batch: Arrow fills up what it writes with the bytes behind it, up to 63,
which are the same ones only if they are there."""
STATE: dict[str, Any] = {
    "_format_columns": None,
    "_format_kwargs": {},
    "_format_type": None,
    "_output_all_columns": False,
    "_split": None,
}


def save(
    folder: Path,
    columns: Sequence[str],
    rows: Iterable[pa.Table],
    number: int,
    num_bytes: int,
    fingerprint: str,
) -> None:
    """Write a split.

    Args:
        folder: of the split; it is made.
        columns: names of the rows' columns, all of them texts.
        rows: in tables of any size.
        number: of the rows.
        num_bytes: that they take in memory, which decides in how many files they lie.
        fingerprint: from their content: the library's own is random, and would change equal bytes.
    """
    folder.mkdir(parents=True)
    shards = min(number, num_bytes // SHARD_BYTES + 1)
    names = [f"data-{shard:05d}-of-{shards:05d}.arrow" for shard in range(shards)]
    features = {name: {"dtype": "string", "_type": "Value"} for name in columns}
    schema = pa.schema([(name, pa.string()) for name in columns]).with_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    batch = max(1, min(BATCH_ROWS, number * BATCH_BYTES // max(1, num_bytes)))
    sizes = [_batches(len(range(shard, number, shards)), batch) for shard in range(shards)]
    tables = cut(rows, itertools.chain.from_iterable(sizes), AHEAD_ROWS)
    for name, parts in zip(names, sizes, strict=True):
        with (folder / name).open("wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for table in itertools.islice(tables, len(parts)):
                writer.write_table(table.combine_chunks())
    state = STATE | {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": fingerprint[:16],
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True))
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))


def _batches(number: int, size: int) -> list[int]:
    """Rows of each record batch of a file."""
    return [min(size, number - start) for start in range(0, number, size)]
