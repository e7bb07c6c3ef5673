"""SQuAD as it is published: nested JSON of v1.1 and v2.0, and tables in two layouts."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import TINY, write_params

from winnow.evaluate.answers import rights_of
from winnow.ingest import stage as ingest

ENTRIES = [
    (
        "Normans",
        "The Normans gave their name to Normandy.",
        "Who named it?",
        ["The Normans", "They"],
    ),
    ("Normans", "The Normans gave their name to Normandy.", "What was named?", ["Normandy"]),
    ("Oxygen", "Oxygen has the symbol O.", "Which symbol has oxygen?", ["O", "symbol O"]),
    ("Oxygen", "Oxygen has the symbol O.", "Which symbol has neon?", []),
]
"""Title, context, question and right answers; the last question has none, as only v2.0 has."""


def nested(version: str) -> dict[str, Any]:
    """The official layout."""
    data: dict[str, dict[str, list[Any]]] = {}
    for number, (title, context, question, texts) in enumerate(ENTRIES):
        if not texts and version == "1.1":
            continue
        answers = [{"text": text, "answer_start": 0} for text in texts]
        qa: dict[str, Any] = {"id": f"q{number}", "question": question, "answers": answers}
        if version == "v2.0":
            qa["is_impossible"] = not texts
            if not texts:
                qa["plausible_answers"] = [{"text": "symbol", "answer_start": 15}]
        data.setdefault(title, {}).setdefault(context, []).append(qa)
    articles = [
        {"title": title, "paragraphs": [{"context": c, "qas": qas} for c, qas in parts.items()]}
        for title, parts in data.items()
    ]
    return {"version": version, "data": articles}


def table(is_struct: bool) -> pa.Table:
    """The hub's layout, whose answers are a struct of lists; or flat, with two columns of lists."""
    columns: dict[str, list[Any]] = {"id": [], "title": [], "context": [], "question": []}
    answers, starts = [], []
    for number, (title, context, question, texts) in enumerate(ENTRIES):
        for name, value in zip(columns, (f"q{number}", title, context, question), strict=True):
            columns[name].append(value)
        answers.append(texts)
        starts.append([0] * len(texts))
    if is_struct:
        pairs = zip(answers, starts, strict=True)
        structs = [{"text": texts, "answer_start": places} for texts, places in pairs]
        return pa.table(columns | {"answers": structs})
    return pa.table(columns | {"answers": answers, "answer_start": starts})


@pytest.mark.parametrize("layout", ["1.1", "v2.0", "struct", "flat"])
def test_every_layout_gives_the_same_rows(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layout in ("1.1", "v2.0"):
        file = tmp_path / "data/train.json"
        file.parent.mkdir()
        file.write_text(json.dumps(nested(layout)), encoding="utf-8")
    else:
        (tmp_path / "data").mkdir()
        pq.write_table(table(layout == "struct"), tmp_path / "data/train.parquet")
    params = TINY | {"ingest": {"source": "data", "keep": ["title", "answers"]}}
    write_params(tmp_path, params)
    monkeypatch.chdir(tmp_path)
    ingest.run()
    rows = pq.read_table(tmp_path / "artifacts/ingest/rows-00000.parquet").to_pylist()
    answerable = [entry for entry in ENTRIES if entry[3]]
    found = [
        (
            row["kept:title"],
            row["input"],
            row["instruction"],
            rights_of(row["kept:answers"]),
        )
        for row in rows
    ]
    assert found == answerable
    assert [row["response"] for row in rows] == [entry[3][0] for entry in answerable]
    lines = (tmp_path / "artifacts/ingest/quarantine.jsonl").read_text().splitlines()
    reasons = [json.loads(line)["reason"] for line in lines]
    assert reasons == ([] if layout == "1.1" else ["empty response"])


def test_the_published_rows(
    winnow_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(winnow_data / "squad/squad_v1.1_dev.parquet")
    write_params(tmp_path, TINY | {"ingest": {"source": source, "keep": ["title", "answers"]}})
    monkeypatch.chdir(tmp_path)
    ingest.run()
    rows = pq.read_table(tmp_path / "artifacts/ingest/rows-00000.parquet")
    assert len(rows) == 10_570 and len(set(rows["kept:title"].to_pylist())) == 48
    assert all(map(rights_of, rows["kept:answers"].to_pylist()))
