"""Columns of the corpus that say nothing of a pair and are carried along for a scorer."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from winnow.core.mapping.fields import Layout, Unmapped, plain_name, to_text
from winnow.core.records import KEPT, ROW_SCHEMA


def schema_of(layout: Layout) -> pa.Schema:
    """What ingest writes: ROW_SCHEMA, and a text for each column that is carried along."""
    return pa.schema([*ROW_SCHEMA, *((f"{KEPT}{name}", pa.string()) for name in layout.kept)])


def kept_texts(record: Mapping[Any, Any], layout: Layout) -> dict[str, str]:
    """What a record has in those columns, as text; what is no text and no number is empty."""
    values = {plain_name(str(name)): value for name, value in record.items()}
    texts = {}
    for name in layout.kept:
        try:
            texts[f"{KEPT}{name}"] = to_text(values.get(name), name)
        except Unmapped:
            texts[f"{KEPT}{name}"] = ""
    return texts
