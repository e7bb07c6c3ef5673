"""Columns of the corpus that say nothing of a pair and are carried along for a scorer; and the
answer to which its response was preferred, for a training that compares them."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from winnow.core.mapping.fields import Layout, Unmapped, plain_name, to_json, to_text
from winnow.core.mapping.pair import Pair, rejected_in
from winnow.core.records import KEPT, REJECTED, ROW_SCHEMA


def schema_of(layout: Layout) -> pa.Schema:
    """What ingest writes: ROW_SCHEMA, and a text for each column that is carried along."""
    return pa.schema([*ROW_SCHEMA, *((f"{KEPT}{name}", pa.string()) for name in layout.kept)])


def kept_texts(record: Mapping[Any, Any], pair: Pair, layout: Layout) -> dict[str, str]:
    """What a record has in those columns, as text: lists and objects as JSON, such as SQuAD's
    `answers`; what is no text otherwise is empty.

    Raises:
        Unmapped: `rejected` is kept, and is no answer to the question of the record's pair.
    """
    values = {plain_name(str(name)): value for name, value in record.items()}
    texts = {}
    for name in layout.kept:
        if f"{KEPT}{name}" == REJECTED:
            texts[REJECTED] = rejected_in(record, pair, layout)
            continue
        try:
            value = values.get(name)
            as_text = to_json(value) if isinstance(value, list | dict) else to_text(value, name)
            texts[f"{KEPT}{name}"] = as_text
        except Unmapped:
            texts[f"{KEPT}{name}"] = ""
    return texts
