"""Read any source record by record; a broken record comes out with the reason instead of data.

A source is a file, a folder of files, a dataset saved by Hugging Face datasets, or a hub id with a
pinned revision. One bad record never costs another one: JSON lines are split on bytes before they
are decoded, and each is decoded and parsed alone. Nothing but these formats is opened, nothing that
a link inside a folder finds outside of it, and no code that comes with data is ever run.
"""

import csv
import functools
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.errors import Refusal
from winnow.ingest.mapping import PUBLIC, Layout, flat


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a source: `value` is what was parsed, or None with the `reason` why not."""

    position: int
    """The line in a text file (from 1), the row elsewhere (from 0)."""
    value: Any = None
    reason: str = ""

    def __len__(self) -> int:
        return 1

    def records(self) -> Iterator["Record"]:
        """Itself: what a batch gives one by one."""
        yield self


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of a columnar source, still in columns."""

    position: int
    """The row of the first one."""
    columns: pa.RecordBatch
    unread: tuple[str, ...] = ()
    """The names of the columns that say nothing and were left in the file."""

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def records(self, offsets: Iterable[int] | None = None) -> Iterator[Record]:
        """All records or some; bytes that are not UTF-8 cost the row that they are in."""
        for offset in range(len(self)) if offsets is None else offsets:
            position, value, reason = self.position + offset, None, ""
            try:
                (value,) = self.columns.slice(offset, 1).to_pylist()
            except UnicodeDecodeError as error:
                reason = f"not UTF-8 at byte {error.start}"
            yield Record(position, value, reason)


@dataclass(frozen=True, slots=True)
class Source:
    """One file (or dataset) of a corpus: its name in ids and errors, and how to read it."""

    name: str
    read: Callable[[], Iterator[Record | Batch]]

    @property
    def stem(self) -> str:
        """The name of its rows' source where they name none."""
        return Path(self.name).name.partition(".")[0]


COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}


def _open(path: Path) -> IO[bytes]:
    file = path.open("rb")
    if path.suffix in COMPRESSIONS:
        # Arrow's reader, unlike the Python ones of zstd, says when a file ends too early.
        return io.BufferedReader(pa.input_stream(file, compression=COMPRESSIONS[path.suffix]))
    return file


# pandas writes NaN for what is missing.
DECODER = json.JSONDecoder(parse_constant=float)


def _parse(line: bytes) -> tuple[Any, str]:
    """Parse one JSON line; a broken one gives the reason."""
    try:
        return DECODER.decode(line.decode("utf-8")), ""
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 at byte {error.start}"
    except RecursionError:
        return None, "JSON is nested too deeply"
    except json.JSONDecodeError as error:
        return None, f"malformed JSON: {error.msg.removesuffix(' at')} at column {error.colno}"
    except ValueError as error:  # ours, or int()'s: "Exceeds the limit (4300 digits) for ...: ..."
        return None, f"malformed JSON: {str(error).partition(':')[0]}"


def _lines(file: IO[bytes], cap: int) -> Iterator[tuple[int, bytes | None]]:
    """Number the lines of a file from 1; one longer than `cap` bytes comes as None, unread."""
    number = 0
    while line := file.readline(cap):
        number += 1
        whole: bytes | None = line
        while len(line) == cap and not line.endswith(b"\n"):
            line, whole = file.readline(cap), None
        yield number, whole


def _read_jsonl(path: Path, cap: int) -> Iterator[Record]:
    number = 0
    with _open(path) as file:
        try:
            for number, line in _lines(file, cap):
                if line is None:
                    yield Record(number, reason=f"line is longer than {cap} bytes")
                    continue
                if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise Refusal(f"{path} is UTF-16: convert it to UTF-8")
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    value, reason = _parse(line)
                    yield Record(number, value, reason)
        except OSError as error:
            if path.suffix not in COMPRESSIONS:
                raise
            yield Record(number + 1, reason=f"compressed file is broken from here: {error}")


def _read_json(path: Path, cap: int) -> Iterator[Record]:
    """A .json file is one array of records, or JSON lines under another name."""
    with path.open("rb") as file:
        is_array = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    if not is_array:
        yield from _read_jsonl(path, cap)
        return
    values, reason = _parse(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    if reason:
        raise Refusal(f"{path}: {reason}: as one array it is all or nothing, use JSON lines")
    for number, value in enumerate(values):
        yield Record(number, value)


class _CsvLines:
    """The lines of a CSV file; one of more than `cap` characters is an error, and unread."""

    def __init__(self, file: IO[str], cap: int) -> None:
        self.file, self.cap, self.number = file, cap, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.file.readline(self.cap)
        self.number += 1
        if not line:
            raise StopIteration
        if len(line) == self.cap:
            while line and not line.endswith(("\n", "\r")):
                line = self.file.readline(self.cap)
            raise csv.Error(f"line is longer than {self.cap} characters")
        return line


def _read_csv(path: Path, cap: int) -> Iterator[Record]:
    csv.field_size_limit(cap)
    # Undecodable bytes become lone surrogates, which quarantine their own row later on.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = _CsvLines(file, cap)
        reader = csv.reader(lines, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise Refusal(f"{path}: the header is no line of CSV: {error}") from None
        if header and header[0].startswith(("\udcff\udcfe", "\udcfe\udcff")):
            raise Refusal(f"{path} is UTF-16: convert it to UTF-8")
        while True:
            start = lines.number + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Record(start, reason=f"malformed CSV: {error}")
                continue
            if len(fields) == len(header):
                yield Record(start, dict(zip(header, fields, strict=True)))
            elif fields:
                yield Record(
                    start, reason=f"{len(fields)} fields where the header has {len(header)}"
                )


BATCH_ROWS = 4096
"""Rows of a Parquet file that are in memory at once."""

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""What Arrow's writer ends a stream with, and its reader does not miss."""


def _read_parquet(path: Path, cap: int, layout: Layout = PUBLIC) -> Iterator[Batch]:
    position = 0
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        columns = flat(file.schema_arrow, layout)
        names = list(columns.values()) if columns else file.schema_arrow.names
        unread = tuple(name for name in file.schema_arrow.names if name not in names)
        for batch in file.iter_batches(BATCH_ROWS, columns=names if columns else None):
            # A name with a dot in it is read along with the column that its first part names.
            yield Batch(position, batch.select(names) if columns else batch, unread)
            position += batch.num_rows
        if position != file.metadata.num_rows:
            raise OSError(f"it holds {position} rows and says {file.metadata.num_rows}")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Refusal(f"{path} is not a readable Parquet file: {error}") from None


def _read_arrow(paths: list[Path], layout: Layout = PUBLIC) -> Iterator[Batch]:
    position = 0
    for path in paths:
        try:
            # Read, not mapped: a file that is cut off while it is mapped would end the process.
            with path.open("rb") as file, pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    batch.validate(full=True)  # its offsets come from the file as they are
                    columns = flat(batch.schema, layout)
                    names = list(columns.values()) if columns else batch.schema.names
                    unread = tuple(name for name in batch.schema.names if name not in names)
                    yield Batch(position, batch.select(names) if columns else batch, unread)
                    position += batch.num_rows
                file.seek(-len(END_OF_STREAM), os.SEEK_END)
                if file.read() != END_OF_STREAM:
                    raise OSError("it is cut off")
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise Refusal(f"{path} is not a readable Arrow file: {error}") from None


READERS: dict[str, Callable[[Path, int], Iterator[Record | Batch]]] = {
    ".jsonl": _read_jsonl,
    ".jsonl.gz": _read_jsonl,
    ".jsonl.zst": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _suffix(path: Path) -> str:
    return next((suffix for suffix in READERS if path.name.endswith(suffix)), "")


def _from_dataset(source: Path, split: str, layout: Layout) -> Source:
    """What `save_to_disk` of Hugging Face datasets wrote: the Arrow files that state.json names."""
    folder = source
    try:
        if (source / "dataset_dict.json").exists():
            splits = json.loads((source / "dataset_dict.json").read_bytes())["splits"]
            if split not in splits:
                raise Refusal(f"no split {split!r}; it has {', '.join(splits)}")
            folder = source / split
        state = json.loads((folder / "state.json").read_bytes())
        names = [str(entry["filename"]) for entry in state["_data_files"]]
        files = [Path(os.path.realpath(folder)) / name for name in names]
        for file in files:
            if not file.is_file() or str(file) != os.path.realpath(file):
                raise Refusal(f"state.json names {file.name!r}, which is no file of its folder")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Refusal(f"{source} is not a dataset that can be read: {error}") from None
    return Source(source.name, functools.partial(_read_arrow, files, layout))


def _from_hub(source: str, revision: str, split: str) -> Source:
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise Refusal(f"ingest.revision: expected a commit of 40 hex digits, found {revision!r}")

    def read() -> Iterator[Record]:
        from datasets import load_dataset

        try:
            rows = iter(load_dataset(source, revision=revision, split=split, streaming=True))
            first = next(rows, None)
        except Exception as error:  # the hub's client raises a dozen unrelated types when offline
            raise Refusal(
                f"hub dataset {source}@{revision[:8]} cannot be had ({type(error).__name__}): "
                "check the id and the network, or name a local file in ingest.source"
            ) from None
        if first is not None:
            yield Record(0, first)
            yield from (Record(number, value) for number, value in enumerate(rows, start=1))

    return Source(source.rpartition("/")[2], read)


def _refused(reason: str) -> Iterator[Record | Batch]:
    """A file that must not be opened, as one record with the reason."""
    yield Record(0, reason=reason)


def find(
    source: str, revision: str | None, split: str, cap: int, layout: Layout = PUBLIC
) -> tuple[list[Source], Counter[str]]:
    """List what a source consists of, in the order of its names.

    Args:
        source: a path, or a hub id if `revision` is given.
        revision: the hub dataset's commit.
        split: of a saved or hub dataset.
        cap: the longest line or field that is read, in bytes.
        layout: the columns that say anything; the others of a columnar file need not be read.

    Returns:
        The sources, and how many other files there are by suffix, none of which is opened. A file
        that must not be opened is a source of one record with the reason.

    Raises:
        Refusal: nothing is there, or nothing that can be read.
    """
    if revision is not None:
        return [_from_hub(source, revision, split)], Counter()
    path = Path(source)
    if not path.exists():
        raise Refusal(
            f"ingest.source: no file or folder {source!r} (a hub id needs ingest.revision too)"
        )
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return [_from_dataset(path, split, layout)], Counter()
    root = path if path.is_dir() else path.parent
    top = Path(os.path.realpath(path))  # a link that the user names is followed
    sources, others = [], Counter[str]()
    for item in sorted(path.rglob("*")) if path.is_dir() else [path]:
        inside = Path(os.path.realpath(item)).is_relative_to(top)
        suffix = _suffix(item)
        if inside and item.is_dir():
            continue
        if not suffix and (inside or item.is_file()):
            others[item.suffix] += 1
            continue
        # In ids and messages a name is text, whatever bytes the file system allows.
        name = os.fsencode(item.relative_to(root)).decode("utf-8", "backslashreplace")
        read: Callable[[], Iterator[Record | Batch]]
        if not inside:
            read = functools.partial(_refused, "a link out of the corpus folder is not followed")
        elif not item.is_file():
            read = functools.partial(_refused, "it is no regular file")
        else:
            read = functools.partial(READERS[suffix], item, cap)
            if suffix == ".parquet":
                read = functools.partial(_read_parquet, item, cap, layout)
        sources.append(Source(name, read))
    if not sources:
        raise Refusal(f"{source} holds no corpus file; known are {', '.join(READERS)}")
    return sources, others
