"""Read any source record by record; a broken record comes out with the reason instead of data.

A source is a file, a folder of files, a dataset saved by Hugging Face datasets, or a hub id with a
pinned revision. One bad record never costs another one: JSON lines are split on bytes before they
are decoded, and each is decoded and parsed alone.
"""

import csv
import functools
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a source: `value` is what was parsed, or None with the `reason` why not."""

    position: int
    """The line in a text file (from 1), the row elsewhere (from 0)."""
    value: Any = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One file (or dataset) of a corpus: its name in ids and errors, and how to read it."""

    name: str
    read: Callable[[], Iterator[Record]]


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zst":
        return io.BufferedReader(zstandard.open(path, "rb"))
    return path.open("rb")


def _refuse(token: str) -> float:
    raise ValueError(f"{token} is not a JSON value")


def _parse(line: bytes) -> tuple[Any, str]:
    """Parse one JSON line; a broken one gives the reason."""
    try:
        return json.loads(line.decode("utf-8"), parse_constant=_refuse), ""
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 at byte {error.start}"
    except RecursionError:
        return None, "JSON is nested too deeply"
    except json.JSONDecodeError as error:
        return None, f"malformed JSON: {error.msg.removesuffix(' at')} at column {error.colno}"
    except ValueError as error:
        return None, f"malformed JSON: {error}"


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
                    raise ValueError(f"{path} is UTF-16: convert it to UTF-8")
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    value, reason = _parse(line)
                    yield Record(number, value, reason)
        except (EOFError, zstandard.ZstdError, gzip.BadGzipFile) as error:
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
        raise ValueError(f"{path}: {reason}: as one array it is all or nothing, use JSON lines")
    for number, value in enumerate(values):
        yield Record(number, value)


def _read_csv(path: Path, cap: int) -> Iterator[Record]:
    csv.field_size_limit(cap)
    # Undecodable bytes become lone surrogates, which quarantine their own row later on.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = next(reader, [])
        while True:
            start = reader.line_num + 1
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


def _read_parquet(path: Path, cap: int) -> Iterator[Record]:
    position = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
            for value in batch.to_pylist():
                yield Record(position, value)
                position += 1
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {error}") from None


READERS: dict[str, Callable[[Path, int], Iterator[Record]]] = {
    ".jsonl": _read_jsonl,
    ".jsonl.gz": _read_jsonl,
    ".jsonl.zst": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _suffix(path: Path) -> str | None:
    return next((suffix for suffix in READERS if path.name.endswith(suffix)), None)


def _from_dataset(source: str, split: str) -> Source:
    from datasets import DatasetDict, load_from_disk

    def read() -> Iterator[Record]:
        dataset = load_from_disk(source)
        if isinstance(dataset, DatasetDict):
            if split not in dataset:
                raise ValueError(f"{source} has no split {split!r}; it has {', '.join(dataset)}")
            dataset = dataset[split]
        yield from (Record(number, value) for number, value in enumerate(dataset))

    return Source(Path(source).name, read)


def _from_hub(source: str, revision: str, split: str) -> Source:
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ValueError(f"ingest.revision: expected a commit of 40 hex digits, found {revision!r}")

    def read() -> Iterator[Record]:
        from datasets import load_dataset

        try:
            rows = iter(load_dataset(source, revision=revision, split=split, streaming=True))
            first = next(rows, None)
        except Exception as error:  # the hub's client raises a dozen unrelated types when offline
            raise ValueError(
                f"hub dataset {source}@{revision[:8]} cannot be had ({type(error).__name__}): "
                "check the id and the network, or name a local file in ingest.source"
            ) from None
        if first is not None:
            yield Record(0, first)
            yield from (Record(number, value) for number, value in enumerate(rows, start=1))

    return Source(source.rpartition("/")[2], read)


def find(source: str, revision: str | None, split: str, cap: int) -> list[Source]:
    """List what a source consists of, in the order of its names.

    Args:
        source: a path, or a hub id if `revision` is given.
        revision: the hub dataset's commit.
        split: of a saved or hub dataset.
        cap: the longest line or field that is read, in bytes.

    Raises:
        ValueError: nothing is there, or nothing that can be read.
    """
    if revision is not None:
        return [_from_hub(source, revision, split)]
    path = Path(source)
    if not path.exists():
        raise ValueError(
            f"ingest.source: no file or folder {source!r} (a hub id needs ingest.revision too)"
        )
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return [_from_dataset(source, split)]
    root = path if path.is_dir() else path.parent
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    known = [(item, suffix) for item in files if (suffix := _suffix(item))]
    if not known:
        raise ValueError(f"{source} holds no corpus file; known are {', '.join(READERS)}")
    return [
        Source(str(item.relative_to(root)), functools.partial(READERS[suffix], item, cap))
        for item, suffix in known
    ]
