"""What a corpus consists of: every file of it is read, or named with the reason why not.

A source is a file, a folder of files, a dataset saved by Hugging Face datasets, or a hub id with a
pinned revision. One bad record never costs another one. Nothing but the formats of READERS is read,
nothing that a link inside a folder finds outside of it, and no code that comes with data is run.
"""

import contextlib
import functools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from winnow.core.errors import BUGS, Refusal
from winnow.core.mapping.fields import PUBLIC, Layout
from winnow.core.progress import progress
from winnow.ingest.columns import ARROW_FILE, ARROW_STREAM, PARQUET, read_arrow, read_parquet
from winnow.ingest.csv_text import read_csv
from winnow.ingest.json_text import read_json
from winnow.ingest.reading import COMPRESSIONS, Batch, Meter, Record

Reader = Callable[..., Iterator[Record | Batch]]
"""Of a path and the longest line; of a columnar file also the layout, which says what to read, and
of a text the meter."""
TEXTS: dict[str, Reader] = {
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".jsonlines": read_json,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
}
READERS: dict[str, Reader] = {
    **TEXTS,
    **{kind + packed: read for kind, read in TEXTS.items() for packed in COMPRESSIONS},
    **dict.fromkeys((".parquet", ".parq", ".pq"), read_parquet),
    **dict.fromkeys((".arrow", ".feather"), read_arrow),
}
"""By the end of a file's name, in small letters."""
BEGINNINGS: dict[Reader, tuple[bytes, ...]] = {
    read_parquet: (PARQUET,),
    read_arrow: (ARROW_FILE, ARROW_STREAM),
}
KNOWN = (
    f"{', '.join(TEXTS)} (also {', '.join(COMPRESSIONS)}), .parquet, .parq, .pq, .arrow, .feather"
)

ARCHIVES = {".zip", ".tar", ".tgz", ".7z", ".rar"}
LFS = b"version https://git-lfs.github.com/spec/"
MANY_FILES = 10_000
"""So many are not listed in silence."""
LFS_BYTES = 1024
"""No pointer of Git LFS is longer."""

SKIPPED = {
    "hidden": r"\..*|__MACOSX|~\$.*|thumbs\.db|desktop\.ini",
    "cache": r"__pycache__|cache-[0-9a-f]+(_\d+_of_\d+)?\.arrow|.*\.(lock|incomplete)",
    "checkpoint": r"checkpoints?|checkpoint-\d+",
    "furniture": r"(readme|licen[cs]e|notice)(\.(md|rst|txt))?|citation\.cff|dataset_infos?\.json"
    r"|dataset_dict\.json|state\.json|_success",
}
"""Files and folders that are no data: of the system, of tools, and what a hub's clone brings."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file (or saved dataset) of a corpus: its name in ids and errors, and how to read it."""

    name: str
    read: Callable[[], Iterator[Record | Batch]]
    size: int = 0
    """In bytes."""
    dataset: str = ""
    """The hub dataset that it is of."""
    meter: Meter = field(default_factory=Meter, compare=False)

    @property
    def stem(self) -> str:
        """The name of its rows' source where they name none."""
        return self.dataset or Path(self.name).name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that is not read."""

    name: str
    size: int
    reason: str


@dataclass(slots=True)
class Corpus:
    """What was found, in the order of the names."""

    sources: list[Source] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """Files that are no data, by kind."""

    def leave(self, name: str, size: int, reason: str) -> None:
        """Name a file that is not read, or count it where it is no data."""
        kind = _kind_of_skipped(PurePath(name))
        if kind:
            self.skipped[kind] += 1
        else:
            self.unread.append(Unread(name, size, reason))


def _kind_of_skipped(name: PurePath) -> str:
    return next(
        (
            kind
            for part in name.parts
            for kind, pattern in SKIPPED.items()
            if re.fullmatch(pattern, part, re.IGNORECASE)
        ),
        "",
    )


def _reader(name: str) -> Reader | None:
    return next((read for end, read in READERS.items() if name.lower().endswith(end)), None)


def _with(reader: Reader, layout: Layout, meter: Meter) -> Reader:
    """The reader of a columnar file leaves in it what says nothing; that of a text is metered."""
    if reader in BEGINNINGS:
        return functools.partial(reader, layout=layout)
    return functools.partial(reader, meter=meter)


def _unknown(name: str) -> str:
    """Why a file of this name is not read."""
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes]
    if not suffixes:
        return "no suffix says its format"
    if ARCHIVES & set(suffixes[-2:]):
        return "an archive: unpack it"
    if suffixes[-1] in COMPRESSIONS:
        return f"compressed, and no suffix before {suffixes[-1]} says its format"
    return f"{suffixes[-1]} is no format that is read"


def _reason(path: Path, reader: Reader | None) -> str:
    """Why a regular file is not read; nothing where it is."""
    try:
        with path.open("rb") as file:
            start = file.read(len(LFS))
    except PermissionError:
        return "its permissions forbid it"
    if start == LFS and path.stat().st_size < LFS_BYTES:
        return "a Git LFS pointer: fetch the file with git lfs pull"
    if not reader:
        return _unknown(path.name)
    is_json = start.startswith((b'{"', b'[{"')) and reader is not read_json
    if is_json or (start and not start.startswith(BEGINNINGS.get(reader, b""))):
        return f"it holds something else than its suffix {path.suffix} says"
    return ""


def _size(path: Path) -> int:
    return path.lstat().st_size


def _name(path: Path, root: Path) -> str:
    """In ids and messages a name is text, whatever bytes the file system allows."""
    return os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")


def _from_files(path: Path, cap: int, ratio: int, layout: Layout) -> Corpus:
    """A file, or all files of a folder."""
    corpus = Corpus()
    top = Path(os.path.realpath(path))  # a link that the user names is followed
    items = sorted(path.rglob("*")) if path.is_dir() else [path]
    for item in progress(items, "list", "files", shown=len(items) > MANY_FILES):
        name = _name(item, path if path.is_dir() else path.parent)
        inside = Path(os.path.realpath(item)).is_relative_to(top)
        if inside and item.is_dir():
            continue
        reader = _reader(item.name)
        if not inside:
            reason = "a link out of the folder is not followed"
        elif not item.is_file():
            reason = "it is no regular file"
        elif item != path and _kind_of_skipped(PurePath(name)):
            reason = "it is no data"
        else:
            reason = _reason(item, reader)
        if reason or not reader:
            corpus.leave(name, _size(item), reason)
        else:
            size = item.stat().st_size
            meter = Meter.of(size, ratio)
            read = functools.partial(_with(reader, layout, meter), item, cap)
            corpus.sources.append(Source(name, read, size, meter=meter))
    return corpus


def _saved_files(source: Path, split: str) -> list[Path]:
    """The Arrow files that state.json of a saved dataset names."""
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
    return files


def _read_all(files: list[Path], cap: int, layout: Layout) -> Iterator[Batch]:
    position = 0
    for file in files:
        for batch in read_arrow(file, cap, layout, position):
            yield batch
            position = batch.position + len(batch)


def _from_saved(source: Path, split: str, cap: int, ratio: int, layout: Layout) -> Corpus:
    """What `save_to_disk` of Hugging Face datasets wrote."""
    files = _saved_files(source, split)
    corpus = Corpus()
    size = sum(map(_size, files))
    read = functools.partial(_read_all, files, cap, layout)
    corpus.sources.append(Source(source.name, read, size, meter=Meter.of(size, ratio)))
    for item in sorted(source.rglob("*")):
        if item.is_file() and Path(os.path.realpath(item)) not in files:
            corpus.leave(_name(item, source), _size(item), f"it is not of the split {split!r}")
    return corpus


@contextlib.contextmanager
def _asking_hub(source: str, revision: str) -> Iterator[None]:
    """Turn what the hub's client raises, a dozen unrelated types, into its message on one line."""
    try:
        yield
    except BUGS:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise Refusal(
            f"hub dataset {source}@{revision[:8]} cannot be had ({cause}): check ingest.source, "
            "ingest.config, ingest.split and the network, or name a local file in ingest.source"
        ) from None


def _download(
    source: str, revision: str, url: str, reader: Reader, cap: int
) -> Iterator[Record | Batch]:
    from datasets import DownloadManager

    with _asking_hub(source, revision):
        path = Path(DownloadManager().download(url))
    yield from reader(path, cap)


def _from_hub(
    source: str, revision: str, split: str, config: str | None, cap: int, ratio: int, layout: Layout
) -> Corpus:
    """The files of a hub dataset that its card or their names give to the split.

    Which they are is for the datasets library to say; read they are as those of a folder.
    """
    from datasets import load_dataset_builder
    from fsspec.core import url_to_fs

    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise Refusal(f"ingest.revision: expected a commit of 40 hex digits, found {revision!r}")
    with _asking_hub(source, revision):
        builder = load_dataset_builder(source, name=config, revision=revision)
        files, root = url_to_fs(builder.base_path)
        listing: dict[str, Any] = files.find(root, detail=True)
    urls = builder.config.data_files or {}
    if split not in urls:
        raise Refusal(f"{source}: no split {split!r}; it has {', '.join(map(str, urls)) or 'none'}")
    corpus, chosen = Corpus(), {url.rpartition("://")[2]: url for url in urls[split]}
    for place in sorted(listing.keys() | chosen.keys()):
        name = place.removeprefix(root).lstrip("/")
        size = listing.get(place, {}).get("size", 0)
        reader = _reader(name)
        if place not in chosen:
            reason = f"it is not of the split {split!r} of {builder.config.name!r}"
            corpus.leave(name, size, reason)
        elif not reader:
            corpus.leave(name, size, _unknown(name))
        else:
            meter = Meter.of(size, ratio)
            reader = _with(reader, layout, meter)
            read = functools.partial(_download, source, revision, chosen[place], reader, cap)
            corpus.sources.append(Source(name, read, size, source.rpartition("/")[2], meter))
    return corpus


def find(
    source: str,
    revision: str | None,
    split: str,
    cap: int,
    ratio: int,
    config: str | None = None,
    layout: Layout = PUBLIC,
) -> Corpus:
    """List what a source consists of, in the order of its names.

    Args:
        source: a path, or a hub id if `revision` is given.
        revision: the hub dataset's commit.
        split: of a saved or hub dataset.
        cap: the longest line or field that is read, in bytes.
        ratio: times its own bytes that a file may give.
        config: of a hub dataset that has several.
        layout: the columns that say anything; the others of a columnar file need not be read.

    Raises:
        Refusal: nothing is there, or nothing that can be read.
    """
    path = Path(source)
    if revision is not None:
        corpus = _from_hub(source, revision, split, config, cap, ratio, layout)
    elif not path.exists():
        raise Refusal(
            f"ingest.source: no file or folder {source!r} (a hub id needs ingest.revision too)"
        )
    elif (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        corpus = _from_saved(path, split, cap, ratio, layout)
    else:
        corpus = _from_files(path, cap, ratio, layout)
    if not corpus.sources:
        named = "; ".join(f"{file.name}: {file.reason}" for file in corpus.unread[:3])
        raise Refusal(
            f"{source} holds no corpus file{f' ({named})' if named else ''}; known are {KNOWN}"
        )
    return corpus
