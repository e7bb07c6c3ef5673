"""A record's fields by the names that public datasets use, and their values as text."""

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.core.mapping.names import (
    BAD,
    EMPTY,
    GOOD,
    MISSING,
    NAMES,
    OPTIONS,
    TURN_NAMES,
)


class Unmapped(Exception):
    """The record is no instruction-response pair; the message is the reason."""


@functools.lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """A column's name as the tables write it: lower case, with _ between words."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a part may be in: the record's key, or a member of what stands there."""

    name: str
    key: str
    member: str = ""


@dataclass(frozen=True, eq=False)
class Layout:
    """Which columns hold which part."""

    names: Mapping[str, tuple[str, ...]]
    kept: tuple[str, ...] = ()
    """Columns that are carried along, as a table writes their names."""

    @classmethod
    def of(cls, columns: Mapping[str, str], kept: Sequence[str] = ()) -> "Layout":
        """The public names, and one column alone for each part that `columns` names; and those
        that are carried along.

        A named instruction or response is taken from its column even where there are turns.
        """
        named: dict[str, tuple[str, ...]] = {
            part: (plain_name(name),) for part, name in columns.items()
        }
        if {"instruction", "response"} & named.keys():
            others = dict.fromkeys(("conversation", "unlabelled", "wrapped", "key"), ())
            named = others | named
        return cls({**NAMES, **named}, tuple(map(plain_name, kept)))

    @functools.cached_property
    def of_rejected(self) -> "Layout":
        """The same, but that the response is what stands in a column `rejected`."""
        nowhere: dict[str, tuple[str, ...]] = dict.fromkeys(
            ("conversation", "unlabelled", "wrapped", "key"), ()
        )
        return Layout({**self.names, **nowhere, "response": ("rejected",)})

    @functools.cached_property
    def known(self) -> frozenset[str]:
        """Every column that means something."""
        parts = {name for names in self.names.values() for name in names}
        parts |= {name.partition(".")[0] for name in parts}
        return frozenset(parts | {"title", *BAD}).union(*(columns for columns, _ in OPTIONS))


PUBLIC, TURN = Layout(NAMES), Layout(TURN_NAMES)
"""The names of public datasets, and those of a turn."""


def to_text(value: Any, name: str) -> str:
    """The value as text that can be written.

    Null and NaN are empty, numbers and booleans are written as JSON writes them, bytes are UTF-8.
    """
    if value is None or value != value:
        return ""
    if value in (math.inf, -math.inf):
        raise Unmapped(f"{name} is infinite")
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Unmapped(f"{name} is not UTF-8 at byte {error.start}") from None
    if not isinstance(value, str):
        raise Unmapped(f"{name} is a {type(value).__name__}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unmapped(
            f"{name} holds bytes that are not UTF-8 at character {error.start}"
        ) from None
    return value


def has_value(value: Any, empty: str = EMPTY) -> bool:
    """Whether there is something: no null, NaN, list or object of nothing, or text in which nothing
    shows."""
    if isinstance(value, str):
        if empty == EMPTY and "!" <= value[:1] <= "~":
            # Most texts start with a letter, which is quicker seen than a pattern matched.
            return True
        return value != "" and not re.match(empty, value)
    if isinstance(value, list | dict):  # SQuAD's answers to a question that has none are of lists
        return any(map(has_value, value if isinstance(value, list) else value.values()))
    return value is not None and value == value and value != b""


def parsed(value: Any) -> Any:
    """What a column of JSON texts holds; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def to_json(value: Any) -> str:
    """A tool, a call or a result as one line of JSON, without the nulls that a table fills in."""

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: filled(item) for key, item in part.items() if item is not None}
        return [filled(item) for item in part] if isinstance(part, list) else part

    value = parsed(value)
    if isinstance(value, str):
        return to_text(value, "tool")
    text = json.dumps(filled(value), ensure_ascii=False, default=str)
    return to_text(text, "tool")


@functools.lru_cache(maxsize=1024)
def places_of(keys: tuple[str, ...], layout: Layout) -> dict[str, tuple[Column, ...]]:
    """Of every part the columns that a record with these keys has, the preferred one first."""
    places = dict[str, tuple[Column, ...]]()
    for part, names in layout.names.items():
        columns = [
            Column(name, name) if name in keys else Column(name, *name.split(".", 1))
            for name in names
            if name in keys or ("." in name and name.partition(".")[0] in keys)
        ]
        places[part] = tuple(columns)
    return places


class Fields:
    """The values of a record by name, without regard to case, and which of them were taken."""

    def __init__(self, record: Mapping[Any, Any], layout: Layout) -> None:
        self.names = [str(name) for name in record]
        self.values = dict[str, Any]()
        self.taken = set[str]()
        for name, value in record.items():
            key = plain_name(str(name))
            if key not in self.values or not has_value(self.values[key]):
                self.values[key] = value
        self.places = places_of(tuple(filter(layout.known.__contains__, self.values)), layout)

    def _value(self, column: Column) -> Any:
        value = self.values[column.key]
        if not column.member:
            return value
        value = parsed(value)
        return value.get(column.member) if isinstance(value, dict) else None

    def filled(self, part: str) -> Iterator[tuple[Column, Any]]:
        """The filled columns of a part that no other part has, and their values."""
        empty = MISSING if part == "input" else EMPTY
        for column in self.places[part]:
            if column.key not in self.taken and has_value(value := self._value(column), empty):
                yield column, value

    def take(self, part: str) -> tuple[str, Any]:
        """The first filled column of a part, which no other part can have then, and its name."""
        for column, value in self.filled(part):
            self.taken.add(column.key)
            return column.name, value
        return "", None

    def has(self, part: str) -> bool:
        """Whether there is a column for a part, filled or not."""
        return any(column.key not in self.taken for column in self.places[part])

    def is_good(self) -> bool:
        """Whether nothing marks the answer as bad."""
        marks = {
            name: str(self.values[name]).casefold() for name in BAD.keys() & self.values.keys()
        }
        self.taken |= {name for name, mark in marks.items() if mark in BAD[name] | GOOD}
        return not any(mark in BAD[name] for name, mark in marks.items())
