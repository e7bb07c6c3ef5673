"""The page of rows that curation removed, beside what they collided with."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jinja2 import Environment
from markupsafe import Markup
from pyarrow import dataset

from winnow.analyze.report.page import shortened
from winnow.analyze.study import SPLITS
from winnow.core.layout import CURATED
from winnow.core.records import ROW_SCHEMA, Row

TEMPLATE = Path(__file__).with_name("removed.html")
SCRIPT = """\
const box = document.querySelector("input"), rows = [...document.querySelectorAll("article")];
const texts = rows.map(row => row.textContent.toLowerCase());
function search() {
  const wanted = box.value.toLowerCase();
  rows.forEach((row, index) => row.hidden = !texts[index].includes(wanted));
  document.querySelector("output").textContent = rows.filter(row => !row.hidden).length;
}
box.addEventListener("input", search);
box.value = decodeURIComponent(location.hash.slice(1));
search();
"""
PER_REASON = 20
"""Rows shown; dropped.parquet holds them all."""


def _sample() -> pa.Table:
    """Of every step and reason the rows with the smallest content hashes."""
    dropped = pq.read_table(CURATED / "dropped.parquet")
    keys = ("step", "reason", "hash", "id")
    dropped = dropped.take(pc.sort_indices(dropped, [(key, "ascending") for key in keys]))
    groups = pc.binary_join_element_wise(dropped["step"].cast(pa.string()), dropped["reason"], ":")
    codes = groups.combine_chunks().dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    rank = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    return dropped.filter(pa.array(rank < PER_REASON))


def _texts_of(ids: pa.Array) -> dict[str, str]:
    """The texts of rows, kept or dropped, by id."""
    found = dict[str, str]()
    for name in (*SPLITS, "dropped"):
        # Of a million rows a few are held.
        rows = dataset.dataset(CURATED / f"{name}.parquet")
        matches = rows.to_table(ROW_SCHEMA.names, filter=pc.field("id").isin(ids))
        found |= {row["id"]: _text(row) for row in matches.to_pylist()}
    return found


def _text(row: Mapping[str, str]) -> str:
    return shortened(Row(**{name: row[name] for name in ROW_SCHEMA.names}).text)


def removed_page(environment: Environment, steps: Sequence[object], style: Markup) -> str:
    """A page of removed rows beside what they collided with, and a box to search in it.

    Its one script is known to the page's own policy by its hash, so no text of a row can be one.
    """
    sample = _sample()
    others = _texts_of(sample["because"].combine_chunks().drop_null())
    rows = [
        row | {"text": _text(row), "other": others.get(row["because"])}
        for row in sample.to_pylist()
    ]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        rows=rows,
        steps=steps,
        style=style,
        script=Markup(SCRIPT),
        digest=digest,
        per_reason=PER_REASON,
    )
