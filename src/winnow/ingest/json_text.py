"""Files of JSON as people have them: lines, one array, a table, or values one after the other.

What a file holds is told by its beginning, not by its name: `.json` files hold lines and `.jsonl`
files hold arrays. JSON lines are split on bytes before they are decoded, and each is decoded and
parsed alone.
"""

import io
import itertools
import json
import re
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from winnow.core.errors import Refusal
from winnow.core.mapping.fields import PUBLIC, Unmapped, plain_name
from winnow.core.mapping.names import NAMES
from winnow.core.mapping.pair import to_pair
from winnow.ingest.reading import BROKEN, FREE, Excess, Meter, Record, broken_record, open_bytes

BOM = b"\xef\xbb\xbf"
SPACE = re.compile(r"[ \t\r\n]*")
WINDOW = 2**16
"""Characters that are read at once of a file that is not read by lines."""
WHOLE = 16
"""Times the longest line: so long may one value be that is not on one line."""
LOOKED_AT = 20
"""Rows of a table by which its layout is told."""
DENSE = 4
"""Times its values that a table by columns may have cells."""


# pandas writes NaN for what is missing.
DECODER = json.JSONDecoder(parse_constant=float)


def _reason(error: Exception, place: str = "") -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    if isinstance(error, RecursionError):
        return "JSON is nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"malformed JSON: {error.msg.removesuffix(' at')}{place}"
    # int()'s: "Exceeds the limit (4300 digits) for ...: ..."
    return f"malformed JSON: {str(error).partition(':')[0]}"


def _parse(line: bytes) -> tuple[Any, str]:
    """Parse one JSON line; a broken one gives the reason."""
    try:
        return DECODER.decode(line.decode("utf-8")), ""
    except json.JSONDecodeError as error:
        return None, _reason(error, f" at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return None, _reason(error)


def _lines(file: IO[bytes], cap: int) -> Iterator[tuple[int, bytes | None]]:
    """Number the lines of a file from 1; one longer than `cap` bytes comes as None, unread."""
    number = 0
    while line := file.readline(cap):
        number += 1
        whole: bytes | None = line.removeprefix(BOM) if number == 1 else line
        try:
            while len(line) == cap and not line.endswith(b"\n"):
                line, whole = file.readline(cap), None
        except Excess as error:
            raise Excess(f"line is longer than {cap} bytes, {error}") from None
        yield number, whole


def _by_line(path: Path, file: IO[bytes], cap: int) -> Iterator[Record]:
    """A record a line, each at its line."""
    for number, line in _lines(file, cap):
        if line is None:
            yield Record(number, reason=f"line is longer than {cap} bytes")
        elif line.strip():
            yield Record(number, *_parse(line))


class _Window:
    """A text through a window that grows until it holds the value that is read."""

    def __init__(self, path: Path, file: IO[bytes], limit: int) -> None:
        self.path = path
        self.file = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
        self.limit, self.text, self.at, self.line = limit, "", 0, 1

    def _grow(self) -> bool:
        # As much again as is waiting: a long value is decoded a few times, not for every piece.
        waiting = len(self.text) - self.at
        more = self.file.read(min(max(WINDOW, waiting), max(1, self.limit + 1 - waiting)))
        if more:
            self.text, self.at = self.text[self.at :] + more, 0
        return bool(more)

    def move(self, to: int) -> None:
        """Go to a place of the window."""
        self.line += self.text.count("\n", self.at, to)
        self.at = to

    def sign(self) -> str:
        """The next character that is no white space, where the window then stands; or nothing."""
        while True:
            space = SPACE.match(self.text, self.at)
            assert space
            self.move(space.end())
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._grow():
                return ""

    def value(self) -> Any:
        """The value that starts here.

        Raises:
            ValueError: it is none; the window still stands at its start.
            Refusal: it is too long.
            RecursionError: it is nested too deeply.
        """
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated") or error.pos > len(self.text) - WINDOW
                if is_cut and len(self.text) - self.at > self.limit:
                    raise Refusal(
                        f"{self.path}: one JSON value is longer than {self.limit} characters: "
                        "convert it to JSON lines"
                    ) from None
                if not is_cut or not self._grow():
                    raise
            else:
                # A number may go on where the window ends: 1 | 2, 1. | 5, 1e- | 5.
                if end + 2 < len(self.text) or not self._grow():
                    self.move(end)
                    return value

    def next_object(self) -> None:
        """Go to the next line that an object starts."""
        while (place := self.text.find("\n{", self.at)) < 0:
            self.move(max(self.at, len(self.text) - 1))
            if not self._grow():
                self.move(len(self.text))
                return
        self.move(place + 1)


def _elements(window: _Window) -> Iterator[Record]:
    """The elements of an array, one in memory at a time."""
    window.sign()
    window.move(window.at + 1)
    number = 0
    while (sign := window.sign()) != "]":
        if number and sign != ",":
            raise ValueError(f"a comma is missing after element {number}")
        if number:
            window.move(window.at + 1)
            window.sign()
        yield Record(number, window.value())
        number += 1
    window.move(window.at + 1)
    if window.sign():
        raise ValueError("extra data after the array")


def _array(path: Path, file: IO[bytes], cap: int) -> Iterator[Record]:
    """One array, each element at its place."""
    try:
        yield from _elements(_Window(path, file, cap))
    except Refusal:
        raise
    except (ValueError, RecursionError) as error:
        reason = f"{_reason(error)}: as one array it is all or nothing, use JSON lines"
        raise Refusal(f"{path}: {reason}") from None


def _values(path: Path, file: IO[bytes], cap: int) -> Iterator[Record]:
    """Values one after the other, over any number of lines; a single one may be a table."""
    window, position = _Window(path, file, WHOLE * cap), 0
    while window.sign():
        is_first, position = not position, max(window.line, position + 1)
        try:
            value = window.value()
        except Refusal:
            raise
        except (ValueError, RecursionError) as error:
            yield Record(position, reason=_reason(error))
            window.next_object()
            continue
        rows = _table(value) if is_first else None
        if rows is None or window.sign():
            yield Record(position, value)
        else:
            yield from (Record(row, value) for row, value in enumerate(rows))


def _pages(path: Path, file: IO[bytes], cap: int) -> Iterator[Record]:
    """Lines that hold many rows each, in an array or a table; each row at its place in the file."""
    number = 0
    for record in _by_line(path, file, cap):
        value = record.value
        rows = value if isinstance(value, list) else _table(value)
        for row in [value] if rows is None else rows:
            yield Record(number, row, record.reason)
            number += 1


NAMED = replace(PUBLIC, names={**PUBLIC.names, "unlabelled": ()})
"""Without the names under which turns have no roles, as they are those of a table's rows too."""


def _is_row(value: Any) -> bool:
    try:
        to_pair(value, NAMED)
    except (Unmapped, RecursionError):
        return False
    return True


SHARED = frozenset({*NAMES["input"], *NAMES["system"], *NAMES["tools"], "title"})
"""What a record says for all rows of a list in it, such as the context of SQuAD's questions, and
the title of the article that these are about."""


def _is_list_of_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _is_wrapped(name: str) -> bool:
    return plain_name(name) in NAMES["wrapped"]


def _instance(record: dict[str, Any], lists: Container[str], row: dict[str, Any]) -> dict[str, Any]:
    """An instance of a task as a row: what the task says, but for its lists of rows, and its own.

    Super-NaturalInstructions lists an instance's right outputs.
    """
    task = {name: value for name, value in record.items() if name not in lists}
    own = {
        "targets" if isinstance(value, list) and name == "output" else name: value
        for name, value in row.items()
    }
    return task | own


def _tables(value: dict[str, Any]) -> Iterator[list[Any]]:
    """The rows of a value by every layout that it could be in."""
    columns, data = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(data, list):  # pandas: split
        names = [str(name) for name in columns]
        if all(isinstance(row, list) and len(row) == len(names) for row in data):
            yield [dict(zip(names, row, strict=True)) for row in data]
    parts = list(value.values())
    if parts and all(isinstance(part, dict) for part in parts):
        yield parts  # pandas: index
        keys = dict.fromkeys(key for part in parts for key in part)  # pandas: columns
        if len(keys) * len(parts) <= DENSE * sum(map(len, parts)):
            yield [{name: part.get(key) for name, part in value.items()} for key in keys]
    if len(parts) > 1 and all(
        isinstance(part, list) and len(part) == len(parts[0]) for part in parts
    ):
        yield [dict(zip(value, row, strict=True)) for row in zip(*parts, strict=True)]
    lists = {name: part for name, part in value.items() if _is_list_of_rows(part)}
    if wrapped := [part for name, part in lists.items() if _is_wrapped(name)]:
        yield [_instance(value, lists, row) for part in wrapped for row in part]
        return
    shared = {name: part for name, part in value.items() if plain_name(name) in SHARED}
    entries = [[{**shared, **row} for row in part] if shared else part for part in lists.values()]
    yield [row for part in entries if any(map(_is_row, part[:LOOKED_AT])) for row in part]
    within = [*(part for part in parts if isinstance(part, dict)), *itertools.chain(*entries)]
    yield [row for part in within for row in (_table(part) or ())]
    if len(entries) == 1 and not any({"role", "from"} & row.keys() for row in entries[0]):
        yield entries[0]


def _table(value: Any) -> list[Any] | None:
    """The rows of a value that is a table and not a row; where none can be mapped, as many rows."""
    if not isinstance(value, dict) or not any(isinstance(p, dict | list) for p in value.values()):
        return None
    if _is_row(value):
        return None
    several = None
    try:
        for rows in _tables(value):
            if any(map(_is_row, rows[:LOOKED_AT])):
                return rows
            several = several or (rows if len(rows) > 1 else None)
    except RecursionError:
        return None
    return several


Shape = Callable[[Path, IO[bytes], int], Iterator[Record]]


def _of_lines(first: Any) -> Shape:
    """The layout of a file whose first line is whole, and not the last one."""
    rows = first if isinstance(first, list) else _table(first) or []
    if isinstance(first, dict) and any(map(_is_wrapped, first)):
        return _pages
    return _pages if any(map(_is_row, rows[:LOOKED_AT])) else _by_line


def _is_value(path: Path, file: IO[bytes], cap: int) -> bool:
    """Whether a file starts with a value, over any number of lines; of an array its first row."""
    window = _Window(path, file, WHOLE * cap)
    try:
        if window.sign() == "[":
            window.move(window.at + 1)
            window.sign()
            return isinstance(window.value(), dict) and window.sign() in (",", "]")
        return isinstance(window.value(), dict)
    except Refusal:
        raise
    except (ValueError, RecursionError):
        return False


def _shape(path: Path, cap: int, meter: Meter) -> Shape:
    """Tell how a file is laid out, from its first line and whether that is the last one."""
    with open_bytes(path, meter) as file:
        filled = (line for _, line in _lines(file, cap) if line is None or line.strip())
        first = next(filled, b"5")
        if first and first.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise Refusal(f"{path} is UTF-16: convert it to UTF-8")
        # A long run of blank lines is no reason to read all of it: a part of it decides.
        is_last = not file.read(WINDOW).strip()
    if first and is_last and first.lstrip().startswith(b"["):
        return _array  # which is never held whole
    value, reason = _parse(first) if first else (None, "long")
    if not reason:
        return _values if is_last and isinstance(value, dict) else _of_lines(value)
    with open_bytes(path, meter) as file:
        sign = file.read(WINDOW).removeprefix(BOM).lstrip()[:1]
    if sign == b"[" and (is_last or ".json" in map(str.lower, path.suffixes)):
        return _array
    if first is None:
        return _values if sign == b"{" and is_last else _by_line
    with open_bytes(path, meter) as file:
        whole = _array if sign == b"[" else _values
        return whole if sign in (b"[", b"{") and _is_value(path, file, cap) else _by_line


def read_json(path: Path, cap: int, meter: Meter = FREE) -> Iterator[Record]:
    """Read the records of a file of JSON.

    Args:
        path: the file, compressed or not.
        cap: the longest line that is read, in bytes, and element of an array, in characters.
        meter: of what is unpacked.

    Raises:
        Refusal: it is UTF-16, one array that is not whole, or one value that is too long.
    """
    position = 0
    try:
        shape = _shape(path, cap, meter)
    except BROKEN:
        # What comes before the break is read, and the break counted then.
        shape = _by_line
    try:
        with open_bytes(path, meter) as file:
            for record in shape(path, file, cap):
                yield record
                position = record.position
    except BROKEN as error:
        yield broken_record(path, position + 1, error)
