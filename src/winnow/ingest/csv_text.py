"""CSV and its kin: the delimiter told by the header, and a stray quote that costs its own line."""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from winnow.core.errors import Refusal
from winnow.ingest.reading import BROKEN, FREE, Meter, Record, broken_record, open_bytes

DELIMITERS = ",;\t|"
SAMPLE = 2**16
"""Characters of a file by which its delimiter is told."""
ROW_LINES = 5
"""Lines from which on a quoted text is looked at for rows that two stray quotes enclose."""
ESCAPED = re.compile(r'(?<!\\)((?:\\\\)*)\\"')
r"""A quote as `\"`, which some writers leave instead of two quotes."""


class _Lines:
    """The lines of a file, of which those of one record can be read again.

    A line and a record of more than `cap` characters are errors; such a line is never held.
    """

    def __init__(self, file: IO[str], cap: int) -> None:
        self.file, self.cap = file, cap
        self.number = self.size = self.torn = 0
        self.is_escaped = False
        self.taken: list[str | None] = []
        self.waiting: deque[str | None] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        # A quote that was open here was open when the lines were read before, and never closed.
        if self.taken and self.number < self.torn:
            raise csv.Error("a quote is never closed")
        line = self.waiting.popleft() if self.waiting else self._read()
        if line == "":
            raise StopIteration
        self.taken.append(line)
        self.number += 1
        self.size += len(line or "")
        if line is None or self.size > self.cap:
            what = "line" if len(self.taken) == 1 else "record"
            raise csv.Error(f"{what} is longer than {self.cap} characters")
        return ESCAPED.sub(r'\1""', line) if self.is_escaped else line

    def _read(self) -> str | None:
        line = self.file.readline(self.cap)
        if len(line) < self.cap:
            return line
        while line and not line.endswith(("\n", "\r")):
            line = self.file.readline(self.cap)
        return None

    def start(self) -> None:
        """A new record begins."""
        self.taken.clear()
        self.size = 0

    def back(self, keep: int) -> None:
        """Read all lines of the record again but the first `keep`."""
        self.waiting.extendleft(reversed(self.taken[keep:]))
        self.number -= len(self.taken) - keep
        del self.taken[keep:]


def _are_rows(lines: list[str | None], reader: Any, width: int) -> bool:
    """Whether a record of many lines is rather one stray quote, many rows, and another stray quote.

    Each line of it would then be a row without the quotes; a text of so many lines hardly is.
    """
    if len(lines) < ROW_LINES:
        return False
    bare = ((line or "").replace('"', "") for line in lines)
    rows = csv.reader(bare, delimiter=reader.dialect.delimiter)
    return all(len(row) == width and all(map(str.strip, row)) for row in rows)


def _fields(lines: _Lines, reader: Any, width: int) -> tuple[list[str], str]:
    """The next record's fields, or the reason why it is none: then its first line is spent.

    Raises:
        StopIteration: there is none.
    """
    lines.start()
    reasons = []
    for is_escaped in (False, True):
        lines.is_escaped = is_escaped
        try:
            fields = next(reader)
            if not fields or (len(fields) == width and not _are_rows(lines.taken, reader, width)):
                return fields, ""
            is_open = len(fields) == width
            reasons.append(
                "malformed CSV: a quote is open over lines that are rows"
                if is_open
                else f"{len(fields)} fields where the header has {width}"
            )
        except csv.Error as error:
            reasons.append(f"malformed CSV: {error}")
        if not any(line and '\\"' in line for line in lines.taken):
            break
        if not is_escaped:
            end = lines.number
            lines.back(keep=0)
            lines.size = 0
    lines.torn = max(lines.torn, lines.number if len(reasons) == 1 else end)
    lines.back(keep=1)
    return [], reasons[0]


def _delimiter(sample: str, first: str) -> str:
    """The delimiter by which the first lines have most often as many fields as the header.

    Args:
        sample: the beginning of the file.
        first: what is taken where several do as well.
    """
    lines = io.StringIO(sample, newline="").readlines()
    whole = lines if len(lines) < 2 or len(sample) < SAMPLE else lines[:-1]

    def fit(delimiter: str) -> tuple[bool, float, int]:
        try:
            header, *rows = [row for row in csv.reader(whole, delimiter=delimiter) if row] or [[]]
        except csv.Error:
            return False, 0, 0
        alike = sum(len(row) == len(header) for row in rows)
        return len(header) > 1, alike / len(rows) if rows else 1.0, len(header)

    return max(first + DELIMITERS.replace(first, ""), key=fit)


def _sample(path: Path, cap: int, meter: Meter) -> str:
    """The first lines of a file, as far as they can be read."""
    sample = ""
    try:
        with _open_text(path, meter) as file:
            while len(sample) < SAMPLE and (line := file.readline(cap)):
                sample += line
    except BROKEN as error:
        broken_record(path, 1, error)  # what can be read is read, and the break counted then
    return sample


def _open_text(path: Path, meter: Meter) -> IO[str]:
    # Undecodable bytes become lone surrogates, which quarantine their own row later on.
    return io.TextIOWrapper(open_bytes(path, meter), "utf-8-sig", "surrogateescape", newline="")


def _header(lines: _Lines, path: Path, sample: str) -> tuple[list[str], Any]:
    """The names of the columns, and the reader of what follows."""
    named = re.match(r"\s*sep=(.)[\r\n]", sample)
    if named:  # a line by which Excel is told
        next(lines)
        delimiter = named[1]
    else:
        delimiter = _delimiter(sample, "\t" if ".tsv" in path.name.lower() else ",")
    is_spaced = bool(re.search(re.escape(delimiter) + " ", re.split("[\r\n]", sample)[0]))
    reader = csv.reader(lines, strict=True, delimiter=delimiter, skipinitialspace=is_spaced)
    try:
        while (header := next(reader, None)) == []:
            lines.start()
    except csv.Error as error:
        raise Refusal(f"{path}: the header is no line of CSV: {error}") from None
    return [name.strip() for name in header or ()], reader


def read_csv(path: Path, cap: int, meter: Meter = FREE) -> Iterator[Record]:
    """Read the records of a file of delimited text, whose first line names the columns.

    Args:
        path: the file, compressed or not.
        cap: the longest line and record that are read, in characters.
        meter: of what is unpacked.

    Raises:
        Refusal: it is UTF-16, or its header cannot be read.
    """
    csv.field_size_limit(cap)
    position = 0
    try:
        sample = _sample(path, cap, meter)
        if sample.startswith(("\udcff\udcfe", "\udcfe\udcff")):
            raise Refusal(f"{path} is UTF-16: convert it to UTF-8")
        with _open_text(path, meter) as file:
            lines = _Lines(file, cap)
            header, reader = _header(lines, path, sample)
            while True:
                try:
                    fields, reason = _fields(lines, reader, len(header))
                except StopIteration:
                    return
                position = lines.number - len(lines.taken) + 1
                if reason:
                    yield Record(position, reason=reason)
                elif fields:
                    yield Record(position, dict(zip(header, fields, strict=True)))
    except BROKEN as error:
        yield broken_record(path, position + 1, error)
