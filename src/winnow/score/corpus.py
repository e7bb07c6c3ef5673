"""The curated rows as scorers see them, and what has been scored of them so far."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.core import cards
from winnow.core.errors import Refusal
from winnow.core.files import read_sealed
from winnow.core.layout import INGESTED
from winnow.core.mapping.fields import plain_name
from winnow.core.records import KEPT
from winnow.score.tables import number

SPLITS = ("train", "validation", "test", "dropped")
"""What was dropped is scored too, to say what dropping it did to the score."""

KEPT_ROWS = 100_000
"""Cells that are read at once: a matter of memory."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Where some rows lie: what another machine is sent in place of them."""

    file: Path
    """The absolute path of a split's file."""
    number: int

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Read the rows, so many at a time."""
        yield from _open(self.file).iter_batches(rows, [self.number])


def _open(file: Path) -> pq.ParquetFile:
    # With its buffer the reader would hold all that it has read of the file.
    return pq.ParquetFile(file, pre_buffer=False)


@dataclass(frozen=True)
class Corpus:
    """A finished curation."""

    folder: Path
    scores: Mapping[str, pa.Table]
    """By split the score table as it is so far, in the order of the rows; it lies in files."""

    def batches(self, split: str, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of a split, so many at a time."""
        yield from _open(self.folder / f"{split}.parquet").iter_batches(rows)

    def row_groups(self, split: str) -> Iterator[RowGroup]:
        """The row groups of a split, in the order of the rows."""
        file = (self.folder / f"{split}.parquet").absolute()
        for group in range(pq.read_metadata(file).num_row_groups):
            yield RowGroup(file, group)

    def num_rows(self) -> int:
        """Rows of all splits."""
        return sum(map(len, self.scores.values()))

    def kept(self, column: str) -> Iterator[tuple[str, float | str]]:
        """The ids of the corpus's rows, and the number in a column that ingest kept or why there
        is none.

        Raises:
            Refusal: it kept no such column.
        """
        card = cards.read_card(INGESTED, "winnow ingest")
        self.check_ingested()
        name = f"{KEPT}{plain_name(column)}"
        for shard in sorted(file for file in card["files"] if file.endswith(".parquet")):
            file = _open(INGESTED / shard)
            if name not in file.schema_arrow.names:
                raise Refusal(
                    f"column: ingest kept no column {column!r}: name it in ingest.keep, and run "
                    "`winnow ingest` and `winnow curate`"
                )
            for batch in file.iter_batches(KEPT_ROWS, columns=["id", name]):
                cells = map(number, batch[name].to_pylist())
                yield from zip(batch["id"].to_pylist(), cells, strict=True)

    def check_ingested(self) -> None:
        """Refuse rows that were curated of another ingest than the one that is there."""
        card = read_sealed(self.folder / cards.CARD, "winnow curate")
        cards.check_inputs(self.folder, card, "winnow curate")

    def file_names(self) -> list[str]:
        """The files that the rows come from, by their ids."""
        ids = (chunk for table in self.scores.values() for chunk in table["id"].chunks)
        names = (pc.replace_substring_regex(chunk, ":[^:]*$", "").unique() for chunk in ids)
        return sorted({name for some in names for name in some.to_pylist()})

    @property
    def tokenizer(self) -> Path:
        """The folder of the corpus's tokenizer."""
        return (self.folder / "tokenizer").absolute()

    @cached_property
    def test_hashes(self) -> frozenset[str]:
        """The content hashes of the test rows, which no scorer may learn from."""
        file = self.folder / "test.parquet"
        return frozenset(pq.read_table(file, columns=["hash"])["hash"].to_pylist())
