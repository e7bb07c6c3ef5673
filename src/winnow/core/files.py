"""How a file is written and read: atomically, as JSON with sorted keys, with a checksum.

A file appears whole or not at all (temporary file in the same folder, fsync, rename, fsync of the
folder).
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from winnow.core.errors import Refusal

CHECKSUM = "sha256"
T = TypeVar("T")


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def dump(value: Any) -> str:
    """JSON text with sorted keys; dataclasses become objects; NaN and infinities are refused."""
    return json.dumps(
        value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False, default=_plain
    )


def fingerprint(value: Any) -> str:
    """The SHA-256 of a value's JSON text: equal values, equal fingerprints."""
    return hashlib.sha256(dump(value).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_hash(data: bytes) -> str:
    """The SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def versions(*libraries: str) -> dict[str, str]:
    """The installed version of each library that decides a result."""
    return {name: importlib.metadata.version(name) for name in libraries}


def git_commit() -> str | None:
    """The checked-out commit, with `-dirty` where tracked files differ; None outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file that becomes `path` when the block ends well, and vanishes if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name, so that what a kill leaves is written over: two processes at one file hold a lock.
    temporary = path.with_name(f".{path.name}.tmp")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with temporary.open(mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically."""
    with atomic_file(path, "w") as file:
        file.write(dump(value) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that a stage wrote; a missing or torn one is an error that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refusal(f"{path} is missing: run the stage that makes it") from None
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{path} is not valid JSON ({error}): run its stage again") from None


def read_split(folder: Path) -> Any:
    """A split of a saved dataset as an Arrow table, memory-mapped; without the library datasets,
    which takes long to import."""
    # Here, as what only checks params.yaml needs no Arrow.
    import pyarrow as pa

    names = [part["filename"] for part in read_json(folder / "state.json")["_data_files"]]
    parts = (pa.ipc.open_stream(pa.memory_map(str(folder / name))) for name in names)
    return pa.concat_tables([part.read_all() for part in parts])


def _contract(kind: Any, value: Any) -> Any:
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        values = {
            part.name: _contract(hints[part.name], value[part.name])
            for part in fields(kind)
            if part.name in value or part.default is MISSING
        }
        return cast(Any, kind)(**values)
    if get_origin(kind) is list:
        return [_contract(get_args(kind)[0], item) for item in value]
    return value


def contract(kind: type[T], value: Any, path: Path) -> T:
    """JSON's values as the dataclass that both ends of a file import; other keys are left out.

    Raises:
        Refusal: a key is missing; the message names it and the file, `path`.
    """
    try:
        return cast(T, _contract(kind, value))
    except KeyError as error:
        raise Refusal(f"{path} has no {error}: run its stage again") from None


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Write an object as JSON, atomically, with a checksum of the rest and of the file's name."""
    write_json(path, value | {CHECKSUM: fingerprint({path.name: value})})


def read_sealed(path: Path, command: str) -> dict[str, Any]:
    """Read what `write_sealed` wrote.

    Raises:
        Refusal: the file is missing or holds anything else; the message names the command.
    """
    made_by(command, path)
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(path.read_bytes())
        if isinstance(value, dict):
            checksum = value.pop(CHECKSUM, None)
            if checksum == fingerprint({path.name: value}):
                return value
    raise Refusal(f"{path} is not what `{command}` wrote: run it again")


def made_by(command: str, path: Path) -> Path:
    """A path that a command makes.

    Raises:
        Refusal: it is not there; the message names the command.
    """
    if not path.exists():
        raise Refusal(f"{path} is missing: run `{command}`")
    return path
