"""Draws are written as the library `datasets` writes them, however small the parts in memory.

pytest tests/select/test_saved.py
"""

import hashlib
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from winnow.select import arranged, saved
from winnow.select.arranged import Arranged, cut

WIDTHS = (0, 3, 40, 400)
"""Letters of a cell, at most: a column that is nearly empty, and long ones."""


def table(number: int, seed: int) -> pa.Table:
    dice = np.random.default_rng(seed)
    texts = [["ä" * int(size) for size in dice.integers(0, w + 1, number)] for w in WIDTHS]
    return pa.table(dict(zip("abcd", texts, strict=True)))


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@example(number=1990, block=100, shard=100_000, repeats=False, seed=0)
@settings(max_examples=30, deadline=None)
@given(
    number=st.integers(1, 5000),
    block=st.integers(100, 3000),
    shard=st.integers(100_000, 3_000_000),
    repeats=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_bytes_are_the_librarys(
    tmp_path_factory: pytest.TempPathFactory,
    number: int,
    block: int,
    shard: int,
    repeats: bool,
    seed: int,
) -> None:
    folder, rows = tmp_path_factory.mktemp("saved"), table(number, seed)
    dice = np.random.default_rng(seed)
    order = dice.integers(0, number, number) if repeats else dice.permutation(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(arranged, "BLOCK_ROWS", block)
        patch.setattr(saved, "SHARD_BYTES", shard)
        patch.setattr(datasets.config, "MAX_SHARD_SIZE", shard)
        sizes = [min(block, number - at) for at in range(0, number, block)]
        with Arranged(cut([rows], sizes), {"one": order, "none": order[:0]}) as found:
            blocks = [part for _, part in found.blocks("one")]
            assert max(map(len, blocks)) <= block
            size = found.num_bytes["one"]
        whole = rows.take(pa.array(order)).combine_chunks()
        assert size == whole.nbytes
        digest = hashlib.sha256(b"").hexdigest()
        saved.save(folder / "ours", rows.column_names, blocks, number, size, digest)
        datasets.Dataset(whole, fingerprint=digest[:16]).save_to_disk(folder / "theirs")
    assert files_in(folder / "ours") == files_in(folder / "theirs")


def test_a_part_in_several_pieces_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows, order = table(9, 0), np.array([8, 0, 4, 3])
    pieces = pa.concat_tables([rows.slice(0, 4), rows.slice(4)])
    with Arranged([pieces, rows], {"one": np.append(order, order + 9)}) as found:
        (block,) = [part for _, part in found.blocks("one")]
    assert block.to_pylist() == 2 * rows.take(pa.array(order)).to_pylist()


def peak(number: int) -> int:
    """Bytes that Arrow holds at most, while so many rows are put in an order and written."""
    own = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(own)
    pa.set_memory_pool(pool)
    try:
        order, folder = np.random.default_rng(0).permutation(number), Path(f"rows-{number}")
        parts = (table(1000, at) for at in range(number // 1000))
        with Arranged(parts, {"one": order}) as found:
            rows = (part for _, part in found.blocks("one"))
            saved.save(folder, list("abcd"), rows, number, found.num_bytes["one"], "0" * 16)
        return pool.max_memory()
    finally:
        pa.set_memory_pool(own)


def test_memory_does_not_grow_with_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(arranged, "BLOCK_ROWS", 1000)
    monkeypatch.setattr(saved, "AHEAD_ROWS", 1000)
    assert peak(40_000) < 1.2 * peak(10_000)
