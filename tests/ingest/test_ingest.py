"""Every format and column naming that users have; every broken row counted, none else lost."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import TINY, corpus, write_jsonl, write_params

from winnow.ingest import sources, stage
from winnow.ingest.mapping import Unmapped, to_pair

GOOD = {"instruction": "Add.", "input": "1 2", "output": "3"}


def ingest(folder: Path, **changes: Any) -> tuple[list[dict[str, str]], list[dict[str, Any]], Any]:
    """Run the stage; returns rows, quarantine and ledger."""
    write_params(folder, TINY | {"ingest": {"source": "data"} | changes})
    stage.run()
    out = folder / "artifacts/ingest"
    rows = [
        row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    quarantine = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    ledger = json.loads((out / "card.json").read_text())["ledger"]
    assert ledger["rows_in"] == len(rows) + len(quarantine)
    return rows, quarantine, ledger


def _fresh(project: Path) -> Path:
    (project / "data/a.jsonl").unlink()
    return project / "data"


@pytest.mark.parametrize(
    ("record", "pair"),
    [
        (GOOD, ("Add.", "1 2", "3")),
        ({"prompt": "p", "completion": "c"}, ("p", "", "c")),
        ({"question": "q", "context": "k", "answer": "a"}, ("q", "k", "a")),
        ({"instruction": "i", "input": None, "response": "r"}, ("i", "", "r")),
        (
            {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]},
            ("u", "", "a"),
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "s"},
                    {"from": "human", "value": "h"},
                    {"from": "gpt", "value": "g"},
                ]
            },
            ("h", "system: s", "g"),
        ),
    ],
)
def test_the_names_users_have(record: Any, pair: tuple[str, str, str]) -> None:
    assert to_pair(record) == pair


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "x", "label": 1}, "columns cannot be mapped, found: text, label"),
        ({"instruction": "i", "output": ["a"]}, "output is a list, not text"),
        ({"instruction": " ", "output": "a"}, "empty instruction"),
        ({"instruction": "i", "output": None}, "empty response"),
        ({"instruction": "i", "output": "\ud800"}, "not UTF-8"),
        (["row"], "the record is a list"),
        (None, "the record is a NoneType"),
        ({"messages": [{"role": "user", "content": "u"}]}, "does not end with"),
    ],
)
def test_what_is_no_pair_says_why(record: Any, reason: str) -> None:
    with pytest.raises(Unmapped, match=reason):
        to_pair(record)


def test_all_formats_give_the_same_rows(project: Path) -> None:
    data = _fresh(project)
    wanted = corpus(5)
    lines = "".join(json.dumps(row) + "\n" for row in wanted).encode()
    (data / "a.jsonl").write_bytes(lines)
    (data / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (data / "c.jsonl.zst").write_bytes(zstandard.compress(lines))
    (data / "d.json").write_text(json.dumps(wanted))
    pq.write_table(pa.Table.from_pylist(wanted), data / "e.parquet")
    with (data / "f.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(wanted[0]))
        writer.writeheader()
        writer.writerows(wanted)
    rows, quarantine, _ = ingest(project)
    assert not quarantine
    texts = [(row["instruction"], row["input"], row["response"]) for row in rows]
    assert texts == [(row["instruction"], row["input"], row["output"]) for row in wanted] * 6
    assert [row["source"] for row in rows[::5]] == list("abcdef")
    assert len({row["id"] for row in rows}) == len(rows)


def test_a_saved_dataset(project: Path) -> None:
    from datasets import Dataset, DatasetDict

    parts = {"train": Dataset.from_list(corpus(7)), "test": Dataset.from_list(corpus(2))}
    DatasetDict(parts).save_to_disk(project / "saved")
    rows, _, _ = ingest(project, source="saved")
    assert len(rows) == 7
    with pytest.raises(ValueError, match="no split 'dev'; it has train, test"):
        ingest(project, source="saved", split="dev")


def test_a_hub_id_offline_is_one_line(project: Path) -> None:
    with pytest.raises(ValueError, match="hub dataset tatsu-lab/alpaca@dce01c9b cannot be had"):
        ingest(
            project, source="tatsu-lab/alpaca", revision="dce01c9b08f87459cf36a430d809084718273017"
        )
    with pytest.raises(ValueError, match="40 hex digits"):
        ingest(project, source="tatsu-lab/alpaca", revision="main")


def test_broken_lines_are_quarantined_one_by_one(project: Path) -> None:
    good = json.dumps(GOOD).encode()
    lines = [
        b"\xef\xbb\xbf" + good,
        b'{"instruction": "cut off',
        b'{"instruction": "\xff", "output": "x"}',
        b"NaN",
        b'{"instruction": "n", "output": NaN}',
        b"[" * 20_000,
        b'{"instruction": "\\ud800", "output": "x"}',
        b'{"instruction": "long", "output": "' + b"x" * 2**20 + b'"}',
        b"",
        good.replace(b"Add", b"Sum") + b"\r",
        b'{"instruction": "a\\u2028b\\u0000", "output": "kept"}',
        b'{"instruction": "last", "output": "no newline"}',
    ]
    (_fresh(project) / "x.jsonl").write_bytes(b"\n".join(lines))
    rows, quarantine, ledger = ingest(project, max_line_mb=1)
    assert [row["id"] for row in rows] == ["x.jsonl:1", "x.jsonl:10", "x.jsonl:11", "x.jsonl:12"]
    assert [entry["position"] for entry in quarantine] == [2, 3, 4, 5, 6, 7, 8]
    reasons = " | ".join(entry["reason"] for entry in quarantine)
    for part in ("malformed JSON", "not UTF-8 at byte", "NaN is not", "nested", "longer than"):
        assert part in reasons
    assert ledger["rows_in"] == 11


def test_a_truncated_gzip_keeps_the_rows_before_the_break(project: Path) -> None:
    data = gzip.compress("".join(json.dumps(row) + "\n" for row in corpus(3000)).encode())
    (_fresh(project) / "x.jsonl.gz").write_bytes(data[: len(data) // 2])
    rows, quarantine, _ = ingest(project)
    assert 500 < len(rows) < 3000
    assert "compressed file is broken from here" in quarantine[-1]["reason"]


def test_csv_rows_that_do_not_fit_are_quarantined(project: Path) -> None:
    text = b'\xef\xbb\xbfinstruction,output\ni1,o1\nonly one\n"multi\nline",o2\ni\xff,o3\na,b,c\n'
    (_fresh(project) / "x.csv").write_bytes(text)
    rows, quarantine, _ = ingest(project)
    assert [row["instruction"] for row in rows] == ["i1", "multi\nline"]
    assert [entry["position"] for entry in quarantine] == [3, 6, 7]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b"", "no usable row .it is empty"),
        ("x.jsonl", b'{"text": "t"}\n', "columns cannot be mapped, found: text"),
        ("x.jsonl", '{"a": 1}'.encode("utf-16"), "is UTF-16"),
        ("x.parquet", b"PAR1 not at all", "not a readable Parquet file"),
        ("x.txt", b"text", "holds no corpus file"),
    ],
)
def test_a_corpus_without_rows_is_refused(
    project: Path, name: str, content: bytes, message: str
) -> None:
    (_fresh(project) / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        ingest(project)
    assert not (project / "artifacts/ingest").exists()


def test_a_missing_source_is_named(project: Path) -> None:
    with pytest.raises(ValueError, match="no file or folder 'nowhere'"):
        ingest(project, source="nowhere")


def test_max_samples_takes_from_all_files_alike(project: Path) -> None:
    write_jsonl(project / "data/b.jsonl", corpus(2, seed=1))
    write_jsonl(project / "data/c.jsonl", corpus(50, seed=2))
    rows, _, _ = ingest(project, max_samples=20)
    counts = {name: sum(row["source"] == name for row in rows) for name in "abc"}
    assert counts == {"a": 7, "b": 2, "c": 11}


def test_equal_inputs_give_equal_bytes(project: Path) -> None:
    ingest(project)
    one = (project / "artifacts/ingest/card.json").read_bytes()
    ingest(project)
    assert (project / "artifacts/ingest/card.json").read_bytes() == one


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.binary(max_size=60) | st.just(json.dumps(GOOD).encode()), max_size=12))
def test_any_bytes_are_rows_or_reasons(tmp_path: Path, lines: list[bytes]) -> None:
    path = tmp_path / "x.jsonl"
    data = b"\n".join(lines)
    path.write_bytes(data)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return
    records = list(sources.READERS[".jsonl"](path, 64))
    filled = [
        n for n, line in enumerate(data.split(b"\n"), start=1) if line.strip() or len(line) > 63
    ]
    assert {record.position for record in records} <= set(range(1, len(data.split(b"\n")) + 1))
    assert len(records) <= len(filled)
    good = sum(line == json.dumps(GOOD).encode() for line in data.split(b"\n"))
    assert sum(record.value == GOOD for record in records) == good
