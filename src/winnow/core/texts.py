"""The normalised texts of a table's rows, in bulk, and their content hashes.

What `records.normalise` and `records.content_hash` say of one row is said here of a million: the
texts stay in Arrow's buffers, a numba kernel folds them, and only rows with a character that has
no single simple image go through Python.
"""

import functools
import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core import engine, words
from winnow.core.progress import progress
from winnow.core.records import INVISIBLE, JOINERS, normalise, prose
from winnow.core.shingles import fold_rows
from winnow.core.utf8 import Bytes, Places, buffers

PARTS = ("instruction", "input", "response")
CHUNK_ROWS = 2048
"""Rows that a thread works on at once: a matter of memory, not of results."""


Texts = tuple[Bytes, Places, Places]
"""UTF-8 bytes, and where each row's text starts and ends in them."""
T = TypeVar("T")


@functools.cache
def _images(bare: bool) -> NDArray[np.int64]:
    """By code point, what it becomes in NFKC and lower case wherever it stands; -1 if that varies.

    An image is UTF-8, its first byte the lowest of the number; white space becomes a space, and so
    does, of `bare` ones, all that `words.bare` takes for one; 0 for what is invisible.
    It varies for joiners, for what composes with its neighbours (Unicode Standard Annex 15, section
    9: quick check) and for the capital sigma; images longer than the character are left out too.
    """
    characters = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    composing = {mark for char in characters for mark in unicodedata.normalize("NFD", char)[1:]}
    images = np.full(0x20000, -1)
    for char in characters:
        form = unicodedata.normalize("NFKC", char)
        lower = words.bare(form.lower()) if bare else form.lower()
        lower = " " if lower.isspace() else lower
        varies = any(c == "Σ" or c in composing or unicodedata.combining(c) for c in form)
        single = lower == " " or lower.split() == [lower]
        if not varies and single and len(lower.encode()) <= len(char.encode()):
            images[ord(char)] = int.from_bytes(lower.encode(), "little")
    for char in filter(INVISIBLE.match, characters):
        images[ord(char)] = 0
    images[list(map(ord, JOINERS))] = -1
    return images


def fold(batch: pa.RecordBatch, bare: bool = False) -> Texts:
    """What `records.normalise` makes of every row of a batch; if `bare`, letters and digits."""
    parts = tuple(buffers(batch[name]) for name in PARTS)
    size = sum(int(offsets[-1]) - int(offsets[0]) for _, offsets in parts)
    out = np.empty(size + len(PARTS) * len(batch), np.uint8)
    starts, ends = np.empty((2, len(batch)), np.int64)
    used = fold_rows(parts, _images(bare), out, starts, ends)
    rest = np.flatnonzero(ends < 0)
    if not len(rest):
        return out, starts, ends
    rows = batch.select(PARTS).take(pa.array(rest)).to_pylist()
    whole = [normalise(**row) for row in rows]
    texts = [(" ".join(words.bare(text).split()) if bare else text).encode() for text in whole]
    ends[rest] = used + np.cumsum([len(text) for text in texts])
    starts[rest] = ends[rest] - [len(text) for text in texts]
    return np.append(out[:used], np.frombuffer(b"".join(texts), np.uint8)), starts, ends


Part = tuple[pa.RecordBatch, NDArray[np.int64]]
"""A stretch of the table's texts, and which of its rows are meant."""


def parts(table: pa.Table, positions: NDArray[np.int64]) -> Iterator[Part]:
    """The rows at ascending positions, in parts for the engine."""
    batches = table.select(PARTS).to_batches(max_chunksize=CHUNK_ROWS)
    bounds = np.cumsum([0, *(len(batch) for batch in batches)])
    places = np.searchsorted(positions, bounds)
    for index, batch in enumerate(batches):
        yield batch, positions[places[index] : places[index + 1]] - bounds[index]


def taken(part: Part) -> pa.RecordBatch:
    """The rows of a part."""
    batch, inside = part
    return batch if len(inside) == len(batch) else batch.take(inside)


def _on_part(work: Callable[[Texts], T], bare: bool, part: Part) -> tuple[int, T]:
    rows = taken(part)
    return len(rows), work(fold(rows, bare))


def each(
    table: pa.Table,
    positions: NDArray[np.int64],
    work: Callable[[Texts], T],
    name: str,
    bare: bool = False,
) -> Iterator[T]:
    """Do some work on the folded texts of the rows at ascending positions, in chunks, by the engine
    (see `engine.each`). The results come in the order of the rows.
    """
    on_part = functools.partial(_on_part, work, bare)
    with progress(None, name, "rows", len(positions)) as bar:
        for rows, result in engine.each(on_part, parts(table, positions)):
            bar.update(rows)
            yield result


def _digests(texts: Texts) -> str:
    view, spans = texts[0].data, zip(texts[1].tolist(), texts[2].tolist(), strict=True)
    return b"".join(hashlib.blake2b(view[a:b], digest_size=16).digest() for a, b in spans).hex()


def plain(table: pa.Table, positions: NDArray[np.int64]) -> pa.Array:
    """`records.prose` of some rows."""
    return prose(table.select(PARTS).take(positions)).combine_chunks()


def content_hashes(table: pa.Table) -> pa.Array:
    """`records.content_hash` of every row."""
    hashes = "".join(each(table, np.arange(len(table)), _digests, "hash")).encode()
    offsets = np.arange(0, len(hashes) + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(len(table), pa.py_buffer(offsets), pa.py_buffer(hashes))
