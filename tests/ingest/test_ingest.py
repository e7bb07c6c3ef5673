"""Every format and column naming that users have; every broken row counted, none else lost."""

import csv
import gzip
import json
import random
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import TINY, corpus, write_jsonl, write_params

from winnow.core.mapping.columns import to_columns
from winnow.core.mapping.fields import Unmapped
from winnow.core.mapping.pair import to_pair
from winnow.ingest import columns, sources, stage

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
        (
            {"html": "<TITLE lang=en>a &amp;\n b</TITLE>"},
            ("a & b", "", "<TITLE lang=en>a &amp;\n b</TITLE>"),
        ),
        ({"title": "t", "html": "<title>x</title>"}, ("t", "", "<title>x</title>")),
        ({"title": None, "html": "<title>x</title>"}, ("x", "", "<title>x</title>")),
        ({"query": "q", "title": "t", "html": "<p>"}, ("q", "", "<p>")),
        ({"question": "q", "html": "<p>", "answer": "a"}, ("q", "", "a")),
    ],
)
def test_the_names_users_have(record: Any, pair: tuple[str, str, str]) -> None:
    assert to_pair(record)[:3] == pair


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "x", "stars": 1}, "columns cannot be mapped, found: text, stars"),
        ({"instruction": "i", "output": ["a"]}, "output is a list, not text"),
        ({"instruction": " ", "output": "a"}, "empty instruction"),
        ({"instruction": "i", "output": None}, "empty response"),
        ({"instruction": "i", "output": "\ud800"}, "not UTF-8"),
        (["row"], "the record is a list"),
        (None, "the record is a NoneType"),
        ({"messages": [{"role": "user", "content": "u"}]}, "the conversation has no answer"),
        ({"html": "<html></html>"}, "the page has no title"),
        ({"html": "<title> &nbsp;</title><title>x</title>"}, "the page has no title"),
        ({"html": "<title>" * 300_000}, "the page has no title"),
        ({"html": None}, "empty response"),
        ({"title": "t", "html": ""}, "empty response"),
        ({"title": ["t"], "html": "<p>"}, "title is a list, not text"),
        ({"title": "t", "body": "<p>"}, "columns cannot be mapped, found: title, body"),
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
    (data / "c.jsonl.zst").write_bytes(pa.compress(lines, "zstd", asbytes=True))
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


def test_pages_in_all_formats(project: Path) -> None:
    data = _fresh(project)
    pages = [{"url": "u", "html": f"<html><title>Page {n}</title>\n<p>a, b"} for n in range(3)]
    pages.append({"url": "u", "html": "<html><p>a"})
    write_jsonl(data / "a.jsonl", pages)
    pq.write_table(pa.Table.from_pylist(pages), data / "b.parquet")
    with (data / "c.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["url", "html"])
        writer.writeheader()
        writer.writerows(pages)
    rows, quarantine, _ = ingest(project)
    assert [row["instruction"] for row in rows] == [f"Page {n}" for n in range(3)] * 3
    assert [row["response"] for row in rows] == [page["html"] for page in pages[:3]] * 3
    assert [entry["reason"] for entry in quarantine] == ["the page has no title"] * 3


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


def test_the_order_is_that_of_the_file_across_batches_and_shards(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SHARD_BYTES", 8000)
    for module in (stage, columns):
        monkeypatch.setattr(module, "BATCH_ROWS", 16)
    wanted: list[dict[str, Any]] = [dict(row) for row in corpus(200)]
    wanted[20]["output"], wanted[21]["instruction"], wanted[90]["output"] = None, "\t", ""
    pq.write_table(pa.Table.from_pylist(wanted), _fresh(project) / "x.parquet")
    write_jsonl(project / "data/y.jsonl", wanted)
    rows, quarantine, _ = ingest(project)
    good = [n for n in range(200) if n not in (20, 21, 90)]
    assert [row["id"] for row in rows] == [f"x.parquet:{n}" for n in good] + [
        f"y.jsonl:{n + 1}" for n in good
    ]
    assert [row["response"] for row in rows] == [wanted[n]["output"] for n in good] * 2
    assert [entry["position"] for entry in quarantine] == [20, 21, 90, 21, 22, 91]
    shards = sorted((project / "artifacts/ingest").glob("*.parquet"))
    assert len(shards) > 4


def read_or_refused(path: Path) -> int | None:
    """How many rows a Parquet file gives; None where the error names it."""
    try:
        count = 0
        for batch in sources.READERS[".parquet"](path, 2**20):
            assert isinstance(batch, sources.Batch)
            to_columns(batch.columns)
            count += sum(1 for _ in batch.records())
        return count
    except ValueError as error:
        assert f"{path} is not a readable Parquet file" in str(error)
        return None


def test_parquet_that_says_there_is_nothing(tmp_path: Path) -> None:
    """Each number of rows in the footer as 0: Arrow's reader believes some of them."""
    path, number = tmp_path / "x.parquet", b"\xe8\x07"  # 500, as Thrift writes it
    pq.write_table(pa.Table.from_pylist(corpus(500)), path)
    data = path.read_bytes()
    counts = []
    for found in re.finditer(number, data):
        path.write_bytes(data[: found.start()] + b"\x80\x00" + data[found.end() :])
        counts.append(read_or_refused(path))
    assert len(counts) > 4 and None in counts and set(counts) <= {None, 500}


def test_torn_parquet_is_read_whole_or_refused(tmp_path: Path) -> None:
    """Damage at 300 random places: never fewer rows without a word, never a dead process."""
    table = pa.Table.from_pylist(corpus(500))
    encodings = {"output": "DELTA_BYTE_ARRAY", "input": "DELTA_LENGTH_BYTE_ARRAY"}
    options: list[dict[str, Any]] = [{}, {"compression": "zstd", "write_page_checksum": True}]
    options.append({"use_dictionary": False, "column_encoding": encodings})
    dice, path, fates = random.Random(0), tmp_path / "x.parquet", Counter[str]()
    for number in range(300):
        pq.write_table(table, path, **options[number % 3])
        data = bytearray(path.read_bytes())
        place, size = dice.randrange(len(data)), dice.choice([1, 1, 20, 300])
        if dice.random() < 0.4:  # in the footer, which says where everything is
            place = dice.randrange(len(data) - 1500, len(data))
        data[place : place + size] = dice.randbytes(dice.choice([0, size, size]))
        path.write_bytes(data)
        count = read_or_refused(path)
        assert count in (None, 500)
        fates["refused" if count is None else "whole"] += 1
    assert fates["refused"] > 100 and fates["whole"] > 20


PIECES = st.sampled_from(
    [
        json.dumps(GOOD).encode(),
        b'{"instruction":',
        b"instruction,output",
        b'"',
        b"[",
        b"]",
        b",",
        b"{}",
        b"null",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\r",
        b"\0",
        b"i,o",
        b"NaN",
        b'"\\ud800"',
    ]
)
SUFFIXES = [*sources.READERS, ".txt"]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(SUFFIXES), st.lists(PIECES | st.binary(max_size=30), max_size=12)
        ),
        min_size=1,
        max_size=4,
    ),
    st.none() | st.integers(1, 9),
)
def test_any_bytes_balance(
    project: Path, files: list[tuple[str, list[bytes]]], limit: int | None
) -> None:
    """Whatever files hold: every record is a row or quarantined, or one error names what to do."""
    shutil.rmtree(project / "data")
    for number, (suffix, pieces) in enumerate(files):
        (project / "data").mkdir(exist_ok=True)
        joint = (b"\n", b"")[number % 2]
        (project / f"data/{number}{suffix}").write_bytes(joint.join(pieces))
    before = sorted(project.rglob("data/*"))
    try:
        rows, quarantine, ledger = ingest(project, max_samples=limit)
    except ValueError as error:
        assert "data" in str(error)
    else:
        assert ledger["rows_out"] == len(rows) and sum(ledger["dropped"].values()) == len(
            quarantine
        )
        assert len({row["id"] for row in rows}) == len(rows)
        assert limit is None or len(rows) + len(quarantine) <= limit
        for row in rows:
            assert row["instruction"].strip() and row["response"].strip()
    assert sorted(project.rglob("data/*")) == before


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
