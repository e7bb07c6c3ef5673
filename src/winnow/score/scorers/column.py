"""The user's own number: a column of the corpus, or of a file beside it.

Rows without one keep no score, and are counted by the reason. What a file says of rows that there
are not is counted as well. The numbers are held in memory, some 150 bytes a row.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from winnow.core.errors import Refusal
from winnow.core.params import Text
from winnow.score.scorers import Ready, Scores, Settings

if TYPE_CHECKING:
    import pyarrow as pa

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
            return _Column(dict(corpus.kept(self.column)), "id")
        numbers = _collected(self, self.file)
        ready = _Column(numbers, self.by)
        if self.by == "line" and len(names := corpus.file_names()) > 1:
            raise Refusal(f"by: line is for a corpus of one file, found {', '.join(names[:3])}")
        return ready


def _collected(settings: Column, file: str) -> dict[str, float | str]:
    from winnow.score import tables

    found: dict[str, float | str] = {}
    for key, value in _pairs(settings, tables.records("file", file), file):
        given = tables.number(value)
        if found.setdefault(key, given) != given:
            raise Refusal(f"file: {file} has two numbers for {settings.by} {key!r}: keep one")
    if not found:
        raise Refusal(f"file: {file} holds no record")
    return found


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


@dataclass(slots=True)
class _Column(Ready):
    numbers: dict[str, float | str]
    by: str
    met: set[str] = field(default_factory=set)

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        keys = rows["hash" if self.by == "hash" else "id"].to_pylist()
        if self.by == "line":
            keys = [key.rpartition(":")[2] for key in keys]
        self.met.update(key for key in keys if key in self.numbers)
        return [self.numbers.get(key, "no record") for key in keys]

    def notes(self) -> Mapping[str, Any]:
        if self.numbers and not self.met:
            first = next(iter(self.numbers))
            raise Refusal(f"its {len(self.numbers)} records are about no row, the first {first!r}")
        return {"records_of_no_row": len(self.numbers) - len(self.met)}
