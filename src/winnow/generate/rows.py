"""Rows of a user's file, of which a method makes others.

Each line of the file is a JSON object, or the file is a Parquet table such as curate's: the
instruction under `instruction`, `question` or `prompt`; maybe the input under `input` or `context`;
the response under `response`, `output` or `answer`; maybe a `topic` and an `id`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from winnow.core.errors import Refusal
from winnow.core.params import Range, Text, brief
from winnow.generate.methods import Recipe, seeds

NAMES = {
    "instruction": ("instruction", "question", "prompt"),
    "input": ("input", "context"),
    "response": ("response", "output", "answer"),
    "topic": ("topic",),
}
"""What the parts of a row may be called; the first that is there counts."""
COLUMNS = ("id", *(name for names in NAMES.values() for name in names))
Replies = Annotated[int, Range("[1, 1000]")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A row of the user's."""

    id: str
    """Its own, or the file's name and the line's number."""
    instruction: str
    input: str = ""
    response: str = ""
    topic: str = ""

    @property
    def question(self) -> str:
        """The instruction, with the input on the next line where there is one."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction


def _part(record: Mapping[str, Any], part: str) -> str:
    value = next((record[name] for name in NAMES[part] if name in record), None)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refusal(f"{part} is {brief.repr(value)}, but is to be text")
    if not value.isprintable() and any("\ud800" <= char <= "\udfff" for char in value):
        raise Refusal(f"{part} holds half a character (a lone surrogate): mend the line")
    return value.strip()


def _given(line: bytes, place: str) -> Given:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"no JSON ({error})") from None
    if not isinstance(record, dict):
        raise Refusal(f"expected an object, found {brief.repr(record)}")
    parts = {part: _part(record, part) for part in NAMES}
    if not parts["instruction"]:
        raise Refusal(f"no text under {', '.join(NAMES['instruction'])}")
    own = record.get("id")
    return Given(id=place if own in (None, "") else str(own), **parts)


def _parquet(path: str) -> list[bytes]:
    """The rows of a table such as curate's train.parquet, as lines of JSON."""
    import pyarrow as pa  # here, as params.yaml is checked without it
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        columns = [name for name in COLUMNS if name in table.schema_arrow.names]
        return [json.dumps(row).encode() for row in table.read(columns).to_pylist()]
    except (pa.ArrowException, TypeError) as error:
        raise OSError(f"no table of rows ({str(error).splitlines()[0]})") from None


def read(key: str, path: str, needed: tuple[str, ...] = ()) -> list[Given]:
    """The rows of a file, in its order; empty lines are none.

    Args:
        key: of params.yaml, which names the file.
        path: of JSON lines, or of a Parquet table with those columns as text.
        needed: parts that every row has beside its instruction.

    Raises:
        Refusal: there is no such file, it has no row, or a line is none; the message begins with
            the key and names the line.
    """
    try:
        lines = (
            _parquet(path) if path.endswith(".parquet") else Path(path).read_bytes().splitlines()
        )
    except OSError as error:
        raise Refusal(f"{key}: {path}: {error.strerror or error}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _given(line, f"{Path(path).name}:{number}")
            for part in needed:
                if not getattr(row, part):
                    raise Refusal(f"no text under {', '.join(NAMES[part])}")
        except Refusal as error:
            raise Refusal(f"{key}: {path} line {number}: {error}") from None
        rows.append(row)
    if not rows:
        raise Refusal(f"{key}: {path} has no row")
    return rows


@dataclass(frozen=True, kw_only=True, slots=True)
class OfRows(Recipe):
    """A method that goes through the rows of a file in its order, shard after shard, once: the
    last shard may be a short one, and rows behind it are not asked."""

    rows: Text
    """The file."""

    def times(self) -> int:
        """How often in a row each row is asked."""
        return 1

    def needed(self) -> tuple[str, ...]:
        """Parts that every row has beside its instruction."""
        return ()

    def files(self) -> Mapping[str, str]:
        return {"rows": self.rows}

    def check(self) -> None:
        found = len(read("rows", self.rows, self.needed()))
        if found * self.times() <= (self.shards - 1) * self.requests:
            raise Refusal(
                f"rows: {self.rows} has {found} rows, which are {found * self.times()} requests, "
                f"but {self.shards} shards of {self.requests} need more than "
                f"{(self.shards - 1) * self.requests}: lower shards or requests"
            )

    def shard(self, seed: int) -> list[tuple[Given, int]]:
        """The rows of a shard, each as often as it is asked there, with the requests' seeds.

        Args:
            seed: of the shard, from which follows the shard's place.
        """
        rows, start = read("rows", self.rows, self.needed()), (seed - self.seed) * self.requests
        places = range(start, min(start + self.requests, len(rows) * self.times()))
        asked = [rows[place // self.times()] for place in places]
        return list(zip(asked, seeds(seed, len(asked)), strict=True))
