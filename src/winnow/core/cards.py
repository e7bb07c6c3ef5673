"""How a folder is published: cards, locks, ledgers.

A folder is complete when it holds `card.json`, which is written last and names every other file
with its size and SHA-256, the folder, the inputs and the parameters that made it, and holds a
checksum of itself. Each stage opens another one's folder by `read_card`: what it reads is what was
written, to the last bit, or is refused.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from winnow.core.errors import Refusal
from winnow.core.files import (
    dump,
    file_hash,
    fingerprint,
    read_json,
    read_sealed,
    sync,
    write_sealed,
)
from winnow.core.layout import STATE

CARD = "card.json"


@contextlib.contextmanager
def publish_folder(target: Path, card: dict[str, Any]) -> Iterator[Path]:
    """Fill a temporary folder that replaces `target`, with its card, when the block ends well.

    Args:
        target: the folder to publish; an older version of it is replaced as a whole.
        card: what made it (stage, inputs, params); the block may add to it until it ends. The
            folder's path and the files' sizes and hashes are added here. Nothing in a card
            depends on the time of day.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
    partial = target.with_name(f".{target.name}.partial")
    for left in (partial, _gone(target)):  # by a kill
        _remove(left)
    partial.mkdir()
    try:
        yield partial
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        for path in files:
            sync(path)
        card["folder"] = str(target)
        card["files"] = {
            str(path.relative_to(partial)): {
                "bytes": path.stat().st_size,
                "sha256": file_hash(path),
            }
            for path in files
        }
        write_sealed(partial / CARD, card)
        if target.exists():
            discard(target)
        os.replace(partial, target)
        sync(target.parent)
    finally:
        _remove(partial)


def _remove(folder: Path) -> None:
    """Remove a folder, or the link in its place and nothing behind it."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _gone(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.gone")


def discard(folder: Path) -> None:
    """Remove a folder of unfinished work: a kill leaves all of it under its name, or nothing."""
    gone = _gone(folder)
    _remove(gone)
    os.replace(folder, gone)
    _remove(gone)


def _is_as(path: Path, entry: dict[str, Any]) -> bool:
    """Whether a file has the size and the hash of its entry on a card."""
    return (
        path.is_file()
        and path.stat().st_size == entry["bytes"]
        and file_hash(path) == entry["sha256"]
    )


def read_card(folder: Path, command: str, *names: str) -> dict[str, Any]:
    """Read the card of a finished folder, after checking against it what is read of the folder.

    Args:
        folder: what another stage published.
        command: what makes it.
        names: the files and folders in it that are read; none stands for all.

    Returns:
        The card; under `files` those that are read.

    Raises:
        Refusal: there is no card, it is another folder's, or a file differs; the message names the
            command to run.
    """
    if not (folder / CARD).is_file():
        raise Refusal(f"{folder} is missing or unfinished: run `{command}` first")
    card = read_sealed(folder / CARD, command)
    place = Path(card["folder"]).parts
    if folder.absolute().parts[-len(place) :] != place:
        raise Refusal(f"{folder} holds what belongs into {card['folder']}: run `{command}` again")
    card["files"] = check_files(folder, card["files"], command, *names)
    return card


def check_files(
    folder: Path, files: dict[str, dict[str, Any]], command: str, *names: str
) -> dict[str, dict[str, Any]]:
    """Compare the files of a folder with the entries of its card, as `read_card` does."""
    read: dict[str, dict[str, Any]] = {}
    for name in names or (".",):
        below = {file: files[file] for file in files if Path(file).is_relative_to(name)}
        if names and not below:
            raise Refusal(f"{folder / name} is missing: run `{command}`")
        read |= below
    for file, entry in read.items():
        if not _is_as(folder / file, entry):
            raise Refusal(f"{folder / file} is not what its card says: run `{command}` again")
    return read


def check_inputs(folder: Path, card: dict[str, Any], command: str) -> None:
    """Refuse a folder that was made of other folders than those that are in their places now.

    Raises:
        Refusal: it was, or one of those has no card.
    """
    for source, files in card["inputs"].items():
        if fingerprint(read_sealed(Path(source) / CARD, command)["files"]) != files:
            raise Refusal(f"{folder} was made of another {source}: run `{command}` again")


def is_complete(folder: Path) -> bool:
    """Whether a folder has its card and every file on it is there with its size and hash."""
    try:
        read_card(folder, "")
    except Refusal:
        return False
    return True


def is_made_of(folder: Path, key: dict[str, Any]) -> bool:
    """Whether a folder is complete and its card says that it was made of what `key` says."""
    return is_complete(folder) and read_json(folder / CARD).get("key") == json.loads(dump(key))


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a named lock, so that two processes never work on one folder.

    The kernel drops the lock with its holder, however that one ends: there is no stale lock.
    """
    path = STATE / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise Refusal(f"{name} is in use by process {holder}: wait for it or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@dataclass(slots=True)
class Ledger:
    """Where every row of a stage went: rows in = rows out + dropped by reason + held out."""

    rows_in: int = 0
    rows_out: int = 0
    held_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def close(self) -> dict[str, Any]:
        """The ledger as a dictionary, after checking that the account is balanced."""
        assert self.rows_in == self.rows_out + self.held_out + self.dropped.total(), self
        return asdict(self) | {"dropped": dict(sorted(self.dropped.items()))}
