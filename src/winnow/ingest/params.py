"""The section `ingest` of params.yaml."""

from dataclasses import asdict, dataclass
from typing import Annotated

from winnow.core.params import Count, Range, Text


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnNames:
    """A column of one's own for each part; a part without one goes by the public names."""

    conversation: Text | None = None
    instruction: Text | None = None
    input: Text | None = None
    response: Text | None = None
    source: Text | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig:
    """Where the corpus is."""

    source: Text
    """A file, a folder, a saved dataset, or a hub id together with `revision`."""
    revision: Text | None = None
    config: Text | None = None
    """The name of a hub dataset's configuration, where it has several."""
    split: Text = "train"
    max_samples: Count | None = None
    """Rows to read at most, from all files alike; None reads all."""
    max_line_mb: Annotated[int, Range("[1, 1024]")] = 16
    """A longer line or row is quarantined, in MiB."""
    max_memory_mb: Annotated[int, Range("[64, 1000000]")] = 2048
    """Reading may take so much more memory than the process has, in MiB."""
    max_ratio: Annotated[int, Range("[1, 1000000]")] = 200
    """Times its own bytes that a file may give, from 16 MiB on; the rest of it is not read."""
    max_quarantined: Count = 10_000
    """Records of one reason that the quarantine lists; the others are counted."""
    columns: ColumnNames | None = None
    """None goes by the public names alone."""

    keep: tuple[Text, ...] = ()
    """Columns that say nothing of a pair and are carried along for a scorer, as text. Rows of
    Parquet and Arrow files are then mapped one by one. `rejected` is carried along as the answer
    that it holds: the row is then a pair."""

    def own_columns(self) -> dict[str, str]:
        """The columns that are named here, by part."""
        named = asdict(self.columns) if self.columns else {}
        return {part: name for part, name in named.items() if name is not None}
