"""A linear model learns from a labelled file, and says no to a file that cannot teach."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import WORDS

from winnow.core.texts import PARTS, content_hashes
from winnow.curate.linear import linear

HALVES = {True: WORDS[::2], False: WORDS[1::2]}


def some_rows(number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows whose label shows in their words, nine of ten words at least."""
    dice = random.Random(seed)
    rows = []
    for place in range(number):
        label = place % 3 > 0
        words = [
            dice.choice(HALVES[label if dice.random() < 0.95 else not label]) for _ in range(40)
        ]
        rows.append(
            {"instruction": " ".join(words[:9]), "response": " ".join(words[9:]), "label": label}
        )
    return rows


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows as curate has them."""
    found = pa.table({name: [row.get(name, "") for row in rows] for name in PARTS})
    return found.append_column("hash", content_hashes(found))


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_like_the_ones_labelled_false_go(tmp_path: Path) -> None:
    known, new = some_rows(300), some_rows(90, seed=1)
    labelled = write(tmp_path / "labelled.jsonl", known)
    given = np.arange(90)[1:]
    verdict = linear(table(new), given, labelled=str(labelled))
    assert verdict.gone.tolist() == [row for row in given if not new[row]["label"]]
    assert set(verdict.reasons) == {"linear model below 0.5"}
    assert all(float(share) < 0.5 for share in verdict.because.to_pylist())
    assert len(linear(table(new), given, labelled=str(labelled), minimum=1.0).gone) == len(given)
    assert not len(linear(table(new), given, labelled=str(labelled), minimum=0.0).gone)


def test_neither_order_nor_form_of_the_labels_matters(tmp_path: Path) -> None:
    known, new = some_rows(300), some_rows(90, seed=1)
    first = linear(table(new), np.arange(90), labelled=str(write(tmp_path / "a.jsonl", known)))
    numbered = [row | {"label": int(row["label"]), "input": None} for row in known]
    random.Random(0).shuffle(numbered)
    numbered.append(numbered[0] | {"response": numbered[0]["response"].upper() + " "})
    pq.write_table(pa.Table.from_pylist(numbered[:-1]), tmp_path / "b.parquet")
    for path in (tmp_path / "b.parquet", write(tmp_path / "c.jsonl", numbered)):
        turned = linear(table(new[::-1]), np.arange(90), labelled=str(path))
        assert (89 - turned.gone[::-1]).tolist() == first.gone.tolist()
        if path.suffix == ".parquet":
            assert turned.because.to_pylist()[::-1] == first.because.to_pylist()


def test_a_labelled_row_goes_by_its_label(tmp_path: Path) -> None:
    known = some_rows(300)
    known[0]["label"], known[1]["label"] = True, False  # against what their words say
    rows = [known[0], known[1] | {"response": known[1]["response"].upper()}]
    labelled = write(tmp_path / "labelled.jsonl", known)
    verdict = linear(table(rows), np.arange(2), labelled=str(labelled), minimum=0.2)
    assert verdict.gone.tolist() == [1]
    assert verdict.reasons == ["labelled false"] and verdict.because.to_pylist() == [None]


def test_a_file_that_cannot_teach_is_refused_in_a_line(tmp_path: Path) -> None:
    good = some_rows(4)
    cases: dict[str, tuple[str, Any]] = {
        "no file": ("missing.jsonl", None),
        "no Parquet file": ("text.parquet", good),
        "no JSON lines": ("torn.jsonl", "{"),
        "row 5: .*found prompt, response, label": (
            "names.jsonl",
            [*good, {"prompt": "a", "response": "b", "label": True}],
        ),
        r"row 5: .*found instruction, response \(empty\), label": (
            "empty.jsonl",
            [*good, good[0] | {"response": ""}],
        ),
        "row 5: .*label 'yes'": ("label.jsonl", [*good, good[0] | {"label": "yes"}]),
        "row 5: .*label None": ("null.jsonl", [*good, good[0] | {"label": None}]),
        "row 5: .*a list": ("list.jsonl", [*good, [1]]),
        "rows 2 and 5 are one text with two": ("two.jsonl", [*good, good[1] | {"label": False}]),
        "found 2 rows, 2 of them true": ("one.jsonl", good[1:3]),
        "found 0 rows": ("none.jsonl", []),
    }
    for reason, (name, rows) in cases.items():
        if rows is not None:
            write(tmp_path / name, rows) if rows != "{" else (tmp_path / name).write_text("{")
        with pytest.raises(ValueError, match=reason) as error:
            linear(table(good), np.arange(4), labelled=str(tmp_path / name))
        assert name in str(error.value) and "curate.steps linear.labelled" in str(error.value)


def test_real_rows_that_a_measure_of_difficulty_chose(winnow_data: Path, tmp_path: Path) -> None:
    """Learned on half of the chosen and half of the random rows, judged on the other halves."""
    kept = {}
    halves = {}
    for name, label in (("cherry_5pct", True), ("random_9k", False)):
        rows = pq.read_table(winnow_data / f"instructions/alpaca_{name}.parquet").to_pylist()[:2500]
        halves[label] = [row | {"label": label} for row in rows[:1200]], rows[1200:]
    known = [*halves[True][0], *halves[False][0]]
    texts = {row["response"]: row for row in known}
    labelled = write(tmp_path / "labelled.jsonl", [*texts.values()])
    for label, (_, rest) in halves.items():
        rows = table([row for row in rest if row["response"] not in texts])
        gone = linear(rows, np.arange(len(rows)), labelled=str(labelled)).gone
        kept[label] = 1 - len(gone) / len(rows)
    assert kept[True] > 0.75 and kept[False] < 0.3
