"""The normalised texts of a table's rows, in bulk, and their content hashes.

What `records.normalise` and `records.content_hash` say of one row is said here of a million: the
texts stay in Arrow's buffers, a numba kernel folds them, and only rows with a character that has
no single simple image go through Python.
"""

import functools
import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core import engine, mapped, words
from winnow.core.progress import progress
from winnow.core.records import INVISIBLE, JOINERS, normalise, prose
from winnow.core.shingles import fold_rows
from winnow.core.threads import once
from winnow.core.utf8 import Bytes, Places, buffers

PARTS = ("instruction", "input", "response")
CHUNK_ROWS = 2048
"""Rows that a thread works on at once: a matter of memory, not of results."""
RELEASED = 32
"""Chunks that are read before a mapped table is let go of: as little."""

Texts = tuple[Bytes, Places, Places]
"""UTF-8 bytes, and where each row's text starts and ends in them."""
T = TypeVar("T")


@once
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


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a table, and which of its rows are meant.

    Another process is sent where the stretch lies, at most five kilobytes, and opens it there; one
    that lies in no shared file (see `mapped.shared_files`) cannot be sent.
    """

    stretch: pa.RecordBatch
    """At most CHUNK_ROWS rows."""
    inside: NDArray[np.int16]
    """The places of the meant rows in it, ascending."""

    def __reduce__(self) -> tuple[Any, ...]:
        places = [mapped.Place.of(column) for column in self.stretch.columns]
        return _part_at, (self.stretch.schema.names, places, self.inside)


def _part_at(names: list[str], places: list[mapped.Place], inside: NDArray[np.int16]) -> Part:
    mapped.release()  # what the part before was read from
    return Part(pa.record_batch([place.texts() for place in places], names), inside)


def parts(table: pa.Table, positions: NDArray[np.int64]) -> Iterator[Part]:
    """The rows at ascending positions, in parts for the engine; stretches without any are none."""
    if not len(positions):
        return
    first = int(positions[0])
    table = table.slice(first, int(positions[-1]) + 1 - first)
    start = first
    for index, batch in enumerate(table.to_batches(max_chunksize=CHUNK_ROWS)):
        among = slice(*np.searchsorted(positions, (start, start + len(batch))))
        if among.start < among.stop:
            yield Part(batch, (positions[among] - start).astype(np.int16))
        if index % RELEASED == 0:
            mapped.release()
        start += len(batch)


def taken(part: Part) -> pa.RecordBatch:
    """The rows of a part."""
    is_whole = len(part.inside) == len(part.stretch)
    return part.stretch if is_whole else part.stretch.take(part.inside)


def rows_at(table: pa.Table, positions: NDArray[np.int64]) -> pa.Table:
    """The rows at ascending positions, copied."""
    # Not by `take` of the table, which joins its chunks first and fails above 2 GiB of text.
    return pa.Table.from_batches(map(taken, parts(table, positions)), table.schema)


def marked(table: pa.Table, among: NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
    """The rows that are marked, copied, by the chunks of the table."""
    start = 0
    for batch in table.to_batches():
        yield batch.filter(pa.array(among[start : start + len(batch)]))
        mapped.release()
        start += len(batch)


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

    A table in memory is first written to a file where workers are to open it.
    """
    on_part = functools.partial(_on_part, work, bare)
    table = mapped.within_reach(table.select(PARTS))
    with progress(None, name, "rows", len(positions)) as bar:
        for rows, result in engine.each(on_part, parts(table, positions)):
            bar.update(rows)
            yield result


def _digests(texts: Texts) -> str:
    view, spans = texts[0].data, zip(texts[1].tolist(), texts[2].tolist(), strict=True)
    return b"".join(hashlib.blake2b(view[a:b], digest_size=16).digest() for a, b in spans).hex()


def plain(table: pa.Table, positions: NDArray[np.int64]) -> pa.Array:
    """`records.prose` of rows at ascending positions."""
    return prose(rows_at(table.select(PARTS), positions)).combine_chunks()


def hash_chunks(table: pa.Table) -> Iterator[pa.Array]:
    """`records.content_hash` of every row, by the chunks of the table."""
    found = each(table, np.arange(len(table)), _digests, "hash")
    for chunk in table["response"].chunks:
        digits = ""
        while len(digits) < 32 * len(chunk):
            digits += next(found)
        offsets = np.arange(0, len(digits) + 1, 32, dtype=np.int32)
        content = pa.py_buffer(digits.encode())
        yield pa.StringArray.from_buffers(len(chunk), pa.py_buffer(offsets), content)


def content_hashes(table: pa.Table) -> pa.Array:
    """`records.content_hash` of every row."""
    return pa.chunked_array(hash_chunks(table), pa.string()).combine_chunks()
