"""The section `ingest` of params.yaml."""

from dataclasses import asdict, dataclass

from winnow import config


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnNames:
    """A column of one's own for each part; a part without one goes by the public names."""

    conversation: str | None = None
    instruction: str | None = None
    input: str | None = None
    response: str | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig:
    """Where the corpus is."""

    source: str
    """A file, a folder, a saved dataset, or a hub id together with `revision`."""
    revision: str | None = None
    config: str | None = None
    """The name of a hub dataset's configuration, where it has several."""
    split: str = "train"
    max_samples: int | None = None
    """Rows to read at most, from all files alike; None reads all."""
    max_line_mb: int = 16
    """A longer line is quarantined unread, in MiB."""
    columns: ColumnNames | None = None
    """None goes by the public names alone."""

    def __post_init__(self) -> None:
        """Refuse what nothing can be read by."""
        config.at_least(self, 1, "max_samples", "max_line_mb")

    def own_columns(self) -> dict[str, str]:
        """The columns that are named here, by part."""
        named = asdict(self.columns) if self.columns else {}
        return {part: name for part, name in named.items() if name is not None}
