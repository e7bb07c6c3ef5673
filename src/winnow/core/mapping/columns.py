"""The rule of pair.py for the plain rows of a batch at once, and which rows are not plain."""

from collections import Counter
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from winnow.core.mapping.fields import PUBLIC, Column, Layout, places_of, plain_name
from winnow.core.mapping.names import (
    EMPTY,
    MISSING,
)
from winnow.core.mapping.turns import ASKS


def _is_text(kind: pa.DataType) -> bool:
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return pa.types.is_null(kind) or any(is_it(kind) for is_it in text)


PLAIN = ("response", "instruction", "input")
"""The parts of a table that is mapped as a whole, in the order in which they take their columns."""


def flat(schema: pa.Schema, layout: Layout = PUBLIC) -> dict[str, str] | None:
    """The columns that say anything, where all are text and each is one part of a pair.

    Returns:
        The names in the schema by the names in the tables; None if each row must say what it is.
    """
    if layout.kept:
        return None
    names = {plain_name(name): name for name in schema.names}
    known = {key: name for key, name in names.items() if key in layout.known}
    places = places_of(tuple(known), layout)
    plain = {column.key for part in (*PLAIN, "source") for column in places[part]} | {"title"}
    plain -= {"chosen", *layout.names["conversation"]}
    if len(names) < len(schema.names) or not known.keys() <= plain:
        return None
    taken = set[str]()
    for part in PLAIN[:2]:
        first = next((column.key for column in places[part] if column.key not in taken), None)
        if first is None:
            return None
        taken.add(first)
    return known if all(_is_text(schema.field(name).type) for name in known.values()) else None


class Columns(NamedTuple):
    """The plain rows of a batch, mapped."""

    texts: dict[str, pa.Array]
    """Strings without nulls by part."""
    plain: pa.Array
    """Which rows are mapped; the rule must look at the others one by one."""
    unused: Counter[str]
    """The filled columns that those rows have nothing of."""


def to_columns(batch: pa.RecordBatch, layout: Layout = PUBLIC) -> Columns | None:
    """`to_pair` for the plain rows of a batch at once.

    Returns:
        None where all rows must be mapped one by one: turns, what is no text, or is not UTF-8.
    """
    names = flat(batch.schema, layout)
    if names is None:
        return None
    columns = {}
    for key, name in names.items():
        column = batch.column(name)
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return None
        columns[key] = column.cast(pa.string()).fill_null("")
    mapped = _mapped(columns, places_of(tuple(names), layout), len(batch))
    unused = Counter({names[key]: num_rows for key, num_rows in mapped.unused.items()})
    return mapped._replace(unused=unused)


def _mapped(
    columns: dict[str, pa.Array], places: dict[str, tuple[Column, ...]], count: int
) -> Columns:
    """Map columns of text by the places of the parts; what is left of `columns` is not used."""
    texts = dict[str, pa.Array]()
    plain = pa.repeat(pa.scalar(True), count)
    for part in PLAIN:
        rest = [column.key for column in places[part] if column.key in columns]
        texts[part] = columns.pop(rest[0]) if rest else pa.repeat("", count)
        filled = is_filled(texts[part], MISSING if part == "input" else EMPTY)
        if part == "input":
            placeholders = pc.and_not(pc.not_equal(texts[part], ""), filled)
            if pc.any(placeholders).as_py():
                texts[part] = pc.if_else(placeholders, "", texts[part])
        if part != "input" or len(rest) > 1:
            # Where the first column of several is empty, the row goes by the next one.
            plain = pc.and_(plain, filled)
    plain = pc.and_not(plain, pc.match_substring_regex(texts["instruction"], ASKS))
    for column in places["source"]:
        texts["source"] = columns.pop(column.key)
    unused = {key: pc.and_(plain, is_filled(column, MISSING)) for key, column in columns.items()}
    return Columns(
        texts, plain, Counter({key: pc.sum(rows).as_py() or 0 for key, rows in unused.items()})
    )


def is_filled(column: pa.Array, empty: str = EMPTY) -> pa.Array:
    """Which texts show something, as the rule for a row sees it."""
    return pc.invert(pc.match_substring_regex(column, empty))
