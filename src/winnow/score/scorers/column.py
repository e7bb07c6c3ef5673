"""The user's own number: a column of the corpus, or of a file beside it.

Rows without one keep no score, and are counted by the reason. What a file says of rows that there
are not is counted as well. Of a record 26 bytes are held in memory: a hash of what names its row,
and its number.
"""

import hashlib
import itertools
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from winnow.core.errors import Refusal
from winnow.core.params import Text
from winnow.score.scorers import Ready, Scores, Settings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from winnow.score.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Column(Settings):
    """Where the numbers are."""

    column: Text
    """Its name: of the corpus, where `ingest.keep` names it, or of the file."""
    file: Text | None = None
    """CSV, JSON lines or Parquet, in place of the corpus."""
    id: Text | None = None
    """The file's column that says which row a record is about; `id` or `hash`, as `by` says. By
    line it may be left out: a record is then about the row at its own place."""
    by: Literal["id", "hash", "line"] = "id"
    """What that column holds: the id of the score table, the content hash, or the place of the row
    in the corpus's one file, which is what its id ends with."""

    def files(self) -> Mapping[str, str]:
        return {"file": self.file} if self.file else {}

    def kept_column(self) -> str | None:
        return None if self.file else self.column

    def prepare(self, corpus: "Corpus") -> Ready:
        if self.file is None:
            return _Column(corpus.kept(self.column), "id")
        ready = _Column(_read(self, self.file), self.by)
        if ready.doubtful is not None:
            key, _ = next(itertools.islice(_read(self, self.file), ready.doubtful, None))
            raise Refusal(f"file: {self.file} has two numbers for {self.by} {key!r}: keep one")
        if not len(ready.keys):
            raise Refusal(f"file: {self.file} holds no record")
        if self.by == "line" and len(names := corpus.file_names()) > 1:
            raise Refusal(f"by: line is for a corpus of one file, found {', '.join(names[:3])}")
        return ready


def _read(settings: Column, file: str) -> Iterator[tuple[str, float | str]]:
    """What names the row of each record, and its number or why there is none."""
    from winnow.score import tables

    for key, value in _pairs(settings, tables.records("file", file), file):
        yield key, tables.number(value)


def _pairs(
    settings: Column, records: Iterable[tuple[int, dict[str, Any]]], file: str
) -> Iterator[tuple[str, Any]]:
    """Which row each record is about, and its cell."""
    by_place = settings.by == "line" and settings.id is None
    name = settings.id or settings.by
    for place, record in records:
        for wanted in {settings.column} if by_place else {settings.column, name}:
            if wanted not in record:
                raise Refusal(
                    f"file: {file}, at {place}: no column {wanted!r}, but {', '.join(record)}"
                )
        yield str(place if by_place else record[name]), record[settings.column]


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class _Column(Ready):
    """The numbers, in the order of the hashes of their keys."""

    def __init__(self, pairs: Iterable[tuple[str, float | str]], by: str) -> None:
        import numpy as np

        self.by, self.first, self.reasons = by, "", [""]
        digests, numbers, codes = bytearray(), array("d"), bytearray()
        for key, given in pairs:
            self.first = self.first or key
            reason = given if isinstance(given, str) else ""
            if reason not in self.reasons:
                self.reasons.append(reason)
            digests += _digest(key)
            numbers.append(0.0 if isinstance(given, str) else given)
            codes.append(self.reasons.index(reason))
        self._sort(np.frombuffer(digests, "S16"), np.array(numbers), np.array(codes))

    def _sort(
        self,
        keys: "NDArray[np.bytes_]",
        numbers: "NDArray[np.float64]",
        codes: "NDArray[np.uint8]",
    ) -> None:
        import numpy as np

        order = np.argsort(keys, kind="stable")
        keys, numbers, codes = keys[order], numbers[order], codes[order]
        is_same = keys[1:] == keys[:-1]
        differs = (numbers[1:] != numbers[:-1]) | (codes[1:] != codes[:-1])
        self.doubtful = min(order[1:][is_same & differs].tolist(), default=None)
        """The place of the first record that says another thing of a row than one before it."""
        is_first = np.append(True, ~is_same)[: len(keys)]
        self.keys, self.numbers, self.codes = keys[is_first], numbers[is_first], codes[is_first]
        self.is_met = np.zeros(len(self.keys), bool)

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        import numpy as np

        keys = rows["hash" if self.by == "hash" else "id"].to_pylist()
        if self.by == "line":
            keys = [key.rpartition(":")[2] for key in keys]
        wanted = np.frombuffer(b"".join(map(_digest, keys)), "S16")
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        is_there = self.keys[at] == wanted
        self.is_met[at[is_there]] = True
        numbers, codes = self.numbers[at].tolist(), self.codes[at].tolist()
        return [
            (self.reasons[code] or number) if there else "no record"
            for number, code, there in zip(numbers, codes, is_there.tolist(), strict=True)
        ]

    def notes(self) -> Mapping[str, Any]:
        if len(self.keys) and not self.is_met.any():
            raise Refusal(
                f"its {len(self.keys)} records are about no row, the first {self.first!r}"
            )
        return {"records_of_no_row": int((~self.is_met).sum())}
