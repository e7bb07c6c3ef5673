"""What ingest read and curation did: files, the gain of every step, removed rows, what leaks."""

import base64
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jinja2 import Environment
from markupsafe import Markup
from pyarrow import dataset

from winnow.analyze.results import read_tier_rows
from winnow.core import cards, files
from winnow.core.layout import ARTIFACTS
from winnow.core.records import ROW_SCHEMA, Row

CURATED, SCORED = ARTIFACTS / "curate", ARTIFACTS / "score"
KEPT = ("train", "validation", "test")
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
PER_REASON, MAX_TEXT = 20, 700
"""Rows shown of every reason, and characters of a text; dropped.parquet holds them all."""
Json = dict[str, Any]


def source_files() -> Json:
    """What became of every file of the corpus: rows and reasons, or why it is not read."""
    card: Json = files.read_json(ARTIFACTS / "ingest" / cards.CARD)["source_files"]
    return card


def file_counts(source_files: Json) -> Json:
    """Numbers of files and of rows by reason."""
    dropped = Counter[str]()
    for file in source_files["read"]:
        dropped.update(file["dropped"])
    counts = {name: len(source_files[name]) for name in ("read", "not_read")}
    counts["skipped"] = sum(source_files["skipped"].values())
    return {"files": counts, "rows_dropped": dict(dropped)}


def _totals(scores: pa.Table) -> np.ndarray:
    """The number of rows, their tokens, and the sum of their scores."""
    sums = [pc.sum(scores[name]).as_py() or 0 for name in ("num_tokens", "score")]
    return np.array([len(scores), *sums], dtype=np.float64)


def gains() -> list[Json]:
    """Per step of the recipe: rows, tokens and mean score before it and after, and its seconds."""
    steps = files.read_sealed(ARTIFACTS / "curate_metrics.json", "winnow curate")["steps"]
    number = pq.read_table(CURATED / "dropped.parquet", columns=["step"])["step"]
    columns = ["num_tokens", "score"]
    dropped = pq.read_table(SCORED / "dropped.parquet", columns=columns)
    before = _totals(dropped)
    for split in KEPT:
        before += _totals(pq.read_table(SCORED / f"{split}.parquet", columns=columns))
    found = []
    for index, step in enumerate(steps):
        after = before - _totals(dropped.filter(pc.equal(number, index)))
        row: Json = {"step": step["step"], "seconds": step["seconds"]}
        for name, (rows, tokens, score) in (("before", before), ("after", after)):
            mean = score / rows if rows else None
            row[name] = {"rows": int(rows), "tokens": int(tokens), "mean_score": mean}
        found.append(row)
        before = after
    return found


def columns_not_used() -> dict[str, int]:
    """The columns of the corpus that rows have nothing of, by how many rows, the most first."""
    counts: dict[str, int] = files.read_json(ARTIFACTS / "ingest/card.json")["columns_not_used"]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def leakage(tiers: list[str]) -> Json:
    """Per tier and held-out split: the tier's rows in a duplicate cluster of which the split has
    rows, and such clusters. The hold-out goes by cluster, so anything but 0 is a fault."""
    clusters = {
        split: pq.read_table(CURATED / f"{split}.parquet", columns=["cluster"])["cluster"]
        for split in KEPT
    }
    found: Json = {}
    for tier in tiers:
        own = clusters["train"].take(read_tier_rows(tier))
        found[tier] = {}
        for split in KEPT[1:]:
            shared = own.filter(pc.is_in(own, value_set=clusters[split].combine_chunks()))
            found[tier][split] = {"rows": len(shared), "clusters": len(shared.unique())}
    return found


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
    for name in (*KEPT, "dropped"):
        rows = dataset.dataset(CURATED / f"{name}.parquet")  # of a million rows a few are held
        wanted = rows.to_table(ROW_SCHEMA.names, filter=pc.field("id").isin(ids))
        found |= {row["id"]: _text(row) for row in wanted.to_pylist()}
    return found


def _text(row: Json) -> str:
    whole = Row(**{name: row[name] for name in ROW_SCHEMA.names}).text
    return whole if len(whole) <= MAX_TEXT else whole[:MAX_TEXT].rstrip() + " …"


def removed_page(environment: Environment, steps: list[Json], style: Markup) -> str:
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
