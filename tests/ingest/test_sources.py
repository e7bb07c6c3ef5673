"""Every file of a source is read, or named with the reason; no record stands for many."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import TINY, write_params

from winnow.core.errors import Refusal
from winnow.ingest import csv_text, json_text, stage

ROWS = [{"instruction": f"Name {n}, please.", "output": f"It is {n * 7}."} for n in range(9)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
FRAME = pd.DataFrame(ROWS)
MIB = 2**20


def ingest(project: Path, **changes: Any) -> tuple[list[str], dict[str, Any]]:
    """Run the stage; returns the instructions of the rows, and what became of the files."""
    write_params(project, TINY | {"ingest": {"source": "data"} | changes})
    stage.run()
    out = project / "artifacts/ingest"
    card = json.loads((out / "card.json").read_text())
    files = card["source_files"]
    assert sum(file["rows_out"] for file in files["read"]) == card["ledger"]["rows_out"]
    assert sum(file["rows_in"] for file in files["read"]) == card["ledger"]["rows_in"]
    tables = [pq.read_table(path) for path in sorted(out.glob("*.parquet"))]
    ids = [name for table in tables for name in table["id"].to_pylist()]
    assert len(set(ids)) == len(ids)
    return [text for table in tables for text in table["instruction"].to_pylist()], files


@pytest.fixture
def data(project: Path) -> Path:
    (project / "data/a.jsonl").unlink()
    return project / "data"


def values(path: Path) -> list[Any]:
    return [record.value or record.reason for record in json_text.read_json(path, MIB)]


def orient(name: str, **options: Any) -> str:
    return str(FRAME.to_json(orient=name, **options))


BY_ID = {f"q{number}": row for number, row in enumerate(ROWS)}
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
TABLES = {
    "pandas split": orient("split"),
    "pandas records": orient("records"),
    "pandas index": orient("index"),
    "pandas columns": orient("columns"),
    "pandas table": orient("table"),
    "pandas columns, named rows": FRAME.set_axis([f"r{n}" for n in range(9)]).to_json(),
    "pandas, indented": orient("columns", indent=2),
    "a list under a key": json.dumps({"version": "1", "data": ROWS}),
    "a list under two keys": json.dumps({"result": {"rows": ROWS}, "ok": True}),
    "two lists": json.dumps({"train": ROWS[:4], "test": ROWS[4:]}),
    "rows by id": json.dumps(BY_ID),
    "lists by column": json.dumps(COLUMNS),
    "an array": json.dumps(ROWS),
    "an indented array": json.dumps(ROWS, indent=1),
    "an array without spaces at the ends": "\n \n" + json.dumps(ROWS) + "\n\n",
    "indented values": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "values on one line": " ".join(map(json.dumps, ROWS)),
    "values without a space": "".join(map(json.dumps, ROWS)),
    "arrays on lines": "\n".join([json.dumps(ROWS[:5]), json.dumps(ROWS[5:])]),
    "tables on lines": "\n".join(json.dumps({"n": 1, "rows": r}) for r in (ROWS[:2], ROWS[2:])),
    "lines": LINES.decode(),
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".json.gz"])
@pytest.mark.parametrize("layout", TABLES)
def test_a_whole_file_is_read_as_its_rows(tmp_path: Path, layout: str, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    text = TABLES[layout].encode()
    for start in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(gzip.compress(start + text) if suffix.endswith("gz") else start + text)
        found = values(path)
        assert [{name: row[name] for name in ROWS[0]} for row in found] == ROWS


QAS = [{"question": f"{n}?", "answers": [{"text": f"{n}!"}]} for n in range(4)]
PARAGRAPHS = [{"context": "The first.", "qas": QAS[:3]}, {"context": "Another.", "qas": QAS[3:]}]
NESTED = {
    "SQuAD": (
        [{"version": "1.1", "data": [{"title": "T", "paragraphs": PARAGRAPHS}]}],
        [(f"{n}?", "The first." if n < 3 else "Another.", f"{n}!") for n in range(4)],
    ),
    "Super-NaturalInstructions": (
        [
            {
                "Definition": ["Add."],
                "Positive Examples": [{"input": "0+0", "output": "0"}],
                "Instances": [{"input": "1+1", "output": ["2"]}, {"input": "1+2", "output": ["3"]}],
            }
        ],
        [("Add.", "1+1", "2"), ("Add.", "1+2", "3")],
    ),
    "self-instruct": (
        [
            {
                "instruction": f"Name {n}.",
                "instances": [{"input": "", "output": f"{m}"} for m in range(n)],
            }
            for n in (1, 2)
        ],
        [("Name 1.", "", "0"), ("Name 2.", "", "0"), ("Name 2.", "", "1")],
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_rows_in_a_record_have_what_it_says_for_all_of_them(data: Path, name: str) -> None:
    records, pairs = NESTED[name]
    (data / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    ingest(data.parent)
    table = pq.read_table(data.parent / "artifacts/ingest/rows-00000.parquet")
    parts = [table[part].to_pylist() for part in ("instruction", "input", "response")]
    assert list(zip(*parts, strict=True)) == pairs


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "user", "content": "u"}, {"role": "user", "content": "a"}]},
        {"instruction": "i", "output": "o", "data": ROWS},
        {"text": "t"},
        {},
    ],
)
def test_a_single_record_stays_one(tmp_path: Path, row: dict[str, Any]) -> None:
    for indent in (None, 2):
        (tmp_path / "x.json").write_text(json.dumps(row, indent=indent))
        (record,) = json_text.read_json(tmp_path / "x.json", MIB)
        assert record.value == row and record.position == 1


def test_rows_that_cannot_be_mapped_are_counted_one_by_one(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": 2}] * 50
    for number, table in enumerate(({"data": rows}, {str(n): row for n, row in enumerate(rows)})):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(table))
        assert len(values(path)) == 50


def test_a_bad_value_costs_no_other_one(tmp_path: Path) -> None:
    texts = [json.dumps(row, indent=2) for row in ROWS]
    texts[3] = texts[3].replace(":", "", 1)
    texts[6] = texts[6][:-2]
    path = tmp_path / "x.json"
    path.write_text("\n".join(texts))
    records = list(json_text.read_json(path, MIB))
    assert [record.value for record in records] == [
        None if n in (3, 6) else row for n, row in enumerate(ROWS)
    ]
    assert [record.position for record in records] == [1 + 4 * n for n in range(3)] + [
        13,
        17,
        21,
        25,
        28,
        32,
    ]


def test_values_longer_than_a_window_and_than_the_line_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row | {"input": "x" * 300} for row in ROWS]
    monkeypatch.setattr(json_text, "WINDOW", 32)
    path = tmp_path / "x.json"
    for text in (json.dumps(rows), json.dumps({"data": rows}), json.dumps(rows, indent=1)):
        path.write_text(text)
        assert [record.value for record in json_text.read_json(path, 500)] == rows
    path.write_text(json.dumps({"data": rows}))
    with pytest.raises(Refusal, match=r"x\.json: one JSON value is longer than 1600 characters"):
        list(json_text.read_json(path, 100))


def test_a_first_line_that_is_too_long_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(json.dumps({"a": "x" * 900}).encode() + b"\n" + LINES)
    assert [record.value for record in json_text.read_json(path, 200)] == [None, *ROWS]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.lists(st.sampled_from([b"\n", b" ", b"\n\n"]), min_size=9))
def test_rows_after_any_first_line_are_read(
    tmp_path_factory: pytest.TempPathFactory, first: bytes, gaps: list[bytes]
) -> None:
    first = first.replace(b"\n", b"").replace(b"\xff", b"").replace(b"\xfe", b"")
    path = tmp_path_factory.getbasetemp() / "first.jsonl"
    path.write_bytes(first + b"\n" + LINES)
    found = [record.value for record in json_text.read_json(path, MIB)]
    assert [value for value in found if value in ROWS] == ROWS


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda text: bytes(pa.compress(text, "zstd", asbytes=True)),
    ".zstd": lambda text: bytes(pa.compress(text, "zstd", asbytes=True)),
}


def delimited(delimiter: str, **options: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, **options).writerows(
        [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    )
    return text.getvalue().encode()


def test_every_suffix_in_any_case_and_compression(data: Path, project: Path) -> None:
    texts = dict.fromkeys((".jsonl", ".ndjson", ".jsonlines", ".json"), LINES)
    texts |= {".csv": delimited(","), ".tsv": delimited("\t")}
    count = 0
    for kind, text in texts.items():
        for packed, pack in PACK.items():
            for name in (kind + packed, (kind + packed).upper()):
                (data / f"{count}{name}").write_bytes(pack(text))
                count += 1
    table = pa.Table.from_pylist(ROWS)
    for name in ("parquet", "parq", "pq", "PARQUET"):
        pq.write_table(table, data / f"{count}.{name}")
        count += 1
    for name in ("arrow", "feather", "ARROW"):
        for new in (pa.ipc.new_stream, pa.ipc.new_file):
            with new(data / f"{count}.{name}", table.schema) as file:
                file.write_table(table, max_chunksize=4)
            count += 1
    rows, files = ingest(project)
    assert len(rows) == 9 * count and set(rows) == {row["instruction"] for row in ROWS}
    assert len(files["read"]) == count and not files["not_read"]
    assert all(file["rows_out"] == 9 and file["bytes"] > 0 for file in files["read"])


@pytest.mark.parametrize("packed", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv"])
def test_a_torn_compressed_file_is_counted(
    data: Path, project: Path, kind: str, packed: str
) -> None:
    many = [{"instruction": f"{n * 7919 % 10007}", "output": f"{n}"} for n in range(9000)]
    text = json.dumps(many) if kind == ".json" else pd.DataFrame(many).to_csv(index=False)
    if kind == ".jsonl":
        text = "".join(json.dumps(row) + "\n" for row in many)
    whole = PACK[packed](text.encode())
    (data / f"torn{kind}{packed}").write_bytes(whole[: len(whole) // 2])
    (data / f"bad{kind}{packed}").write_bytes(b"not packed at all " * 99)
    (data / "good.jsonl").write_bytes(LINES)
    rows, files = ingest(project)
    assert len(rows) >= 9
    bad, good, torn = files["read"]
    for file in (bad, torn):
        (reason,) = (name for name in file["dropped"] if name.startswith("compressed file"))
        assert file["dropped"][reason] == 1


def test_what_is_not_read_is_named_with_its_size(
    data: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 99\n" % 7
    files = {
        "lfs.jsonl": (pointer, "Git LFS pointer: fetch the file with git lfs pull"),
        "lfs.parquet": (pointer, "Git LFS pointer"),
        "lfs.csv.gz": (pointer, "Git LFS pointer"),
        "lfs.zip": (pointer, "Git LFS pointer"),
        "lfs": (pointer, "Git LFS pointer"),
        "a.zip": (b"PK", "an archive: unpack it"),
        "a.tar.gz": (b"x", "an archive: unpack it"),
        "a.gz": (b"x", "no suffix before .gz"),
        "a.txt": (b"text", ".txt is no format that is read"),
        "noext": (LINES, "no suffix says its format"),
        "json.parquet": (LINES, "something else than its suffix .parquet says"),
        "json.tsv": (LINES, "something else than its suffix .tsv says"),
        "text.arrow": (b"some text", "something else than its suffix .arrow says"),
    }
    for name, (content, _) in files.items():
        (data / name).write_bytes(content)
    (data / "z.jsonl").write_bytes(LINES)
    rows, ledger = ingest(project)
    assert len(rows) == 9 and [file["name"] for file in ledger["read"]] == ["z.jsonl"]
    left = {file["name"]: file for file in ledger["not_read"]}
    assert left.keys() == files.keys()
    said = capsys.readouterr().out
    for name, (content, reason) in files.items():
        assert reason in left[name]["reason"] and left[name]["bytes"] == len(content)
        assert f"'{name}' ({len(content):,} bytes) is not read: {left[name]['reason']}" in said


def test_a_long_list_of_files_is_cut_on_screen_and_whole_in_the_card(
    data: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):
        (data / f"{number:02}.jsonl").write_bytes(LINES)
    (data / "40.jsonl").write_bytes(b"{}\n" + LINES)
    (data / "41.txt").write_bytes(b"t")
    _, files = ingest(project)
    assert len(files["read"]) == 41
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 22 and "'41.txt'" in lines[1] and "'40.jsonl'" in lines[2]
    assert lines[-1] == "  and 22 other files, in artifacts/ingest/card.json"


def test_what_is_no_data_is_skipped_and_counted(data: Path, project: Path) -> None:
    kinds = {
        "hidden": (
            ".ipynb_checkpoints/train-checkpoint.jsonl",
            ".cache/x/train.jsonl",
            ".DS_Store",
            "._train.jsonl",
            ".gitattributes",
            "__MACOSX/train.jsonl",
            "deep/.x/y.jsonl",
        ),
        "cache": ("__pycache__/x.pyc", "train/cache-0123456789abcdef.arrow", "x.jsonl.lock"),
        "checkpoint": ("checkpoint-500/trainer_state.json", "run/checkpoints/a.jsonl"),
        "furniture": (
            "README.md",
            "LICENSE",
            "licence.txt",
            "dataset_infos.json",
            "deep/dataset_info.json",
            "deep/state.json",
        ),
    }
    for names in kinds.values():
        for name in names:
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_bytes(LINES)
    for name in ("train.jsonl", "deep/er/more.jsonl", "readme.jsonl", "checkpoint.jsonl"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(LINES)
    rows, files = ingest(project)
    assert len(rows) == 4 * 9 and not files["not_read"]
    assert files["skipped"] == {kind: len(names) for kind, names in kinds.items()}
    rows, files = ingest(project, source="data/.cache/x")
    assert len(rows) == 9 and not files["skipped"]
    rows, files = ingest(project, source="data/._train.jsonl")
    assert len(rows) == 9


def test_a_folder_without_a_file_that_is_read_says_what_it_holds(data: Path, project: Path) -> None:
    (data / "a.zip").write_bytes(b"PK")
    with pytest.raises(Refusal, match=r"no corpus file \(a.zip: an archive: unpack it\); known"):
        ingest(project)


def fields(path: Path, text: bytes) -> list[Any]:
    path.write_bytes(text)
    return [record.value or record.reason for record in csv_text.read_csv(path, MIB)]


AWKWARD = [
    {"instruction": 'Say "a, b; c | d\te".', "output": "one\ntwo, three\n\nfour"},
    {"instruction": "  lead", "output": "ends with a \\"},
    {"instruction": "", "output": '"'},
]


@pytest.mark.parametrize(
    ("end", "quoting"),
    [
        ("\r\n", csv.QUOTE_MINIMAL),
        ("\n", csv.QUOTE_MINIMAL),
        ("\n", csv.QUOTE_ALL),
        ("\r", csv.QUOTE_ALL),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told(tmp_path: Path, delimiter: str, end: str, quoting: int) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, list(ROWS[0]), delimiter=delimiter, lineterminator=end, quoting=quoting
    )
    writer.writeheader()
    writer.writerows(ROWS + AWKWARD)
    for start in ("", f"sep={delimiter}{end}"):
        for bom in ("", "\ufeff"):
            for name in ("x.csv", "x.tsv"):
                found = fields(tmp_path / name, (bom + start + text.getvalue()).encode())
                assert found == ROWS + AWKWARD


def test_csv_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    spaced = fields(path, b'instruction, output\nName a moor., Ilkley moor.\n"a, b", "c, d"\n')
    assert spaced == [
        {"instruction": "Name a moor.", "output": "Ilkley moor."},
        {"instruction": "a, b", "output": "c, d"},
    ]
    escaped = fields(path, b'instruction,output\n"Say \\"hi\\", now.",Hi.\n"C:\\","x\\ny\nz"\n')
    assert escaped == [
        {"instruction": 'Say "hi", now.', "output": "Hi."},
        {"instruction": "C:\\", "output": "x\\ny\nz"},
    ]
    assert fields(path, b'messages\n"[{""role"": 1}]"\n') == [{"messages": '[{"role": 1}]'}]


def plain(number: int) -> list[bytes]:
    return [b"Name %d.,Left %d." % (n, n) for n in range(number)]


@pytest.mark.parametrize(
    "stray",
    [
        {7: b'"Name 7.,Left 7.'},
        {7: b'Name 7.,"Left 7.'},
        {7: b'Name 7.,Left 7.,"'},
        {7: b'"Name "7".,Left 7.'},
        {7: b'"Name 7.,Left 7.', 30: b'"Name 30.,Left 30.'},
        {7: b'Name 7.,"Left 7.', 8: b'Name 8.,"Left 8.', 9: b'"Name 9.,"Left 9.'},
        {7: b'"Name 7.,Left 7.', 49: b'"Name 49.,Left 49.'},
        {7: b'"Name 7.,Left 7.', 20: b'x","y","z'},
        {0: b'"Name 0.,Left 0.'},
    ],
)
def test_a_stray_quote_costs_its_line(tmp_path: Path, stray: dict[int, bytes]) -> None:
    lines = plain(50)
    for number, line in stray.items():
        lines[number] = line
    found = fields(tmp_path / "x.csv", b"instruction,output\n" + b"\n".join(lines) + b"\n")
    assert len(found) == 50
    good = [value["instruction"] for value in found if isinstance(value, dict)]
    assert good == [f"Name {n}." for n in range(50) if n not in stray]


def test_two_stray_quotes_do_not_hide_the_rows_between_them(tmp_path: Path) -> None:
    lines = plain(50)
    lines[7], lines[30] = b'Name 7.,"Left 7.', b'Name 30.,Left 30."'
    found = fields(tmp_path / "x.csv", b"instruction,output\n" + b"\n".join(lines) + b"\n")
    assert len(found) == 50 and [n for n, value in enumerate(found) if isinstance(value, str)] == [
        7
    ]


def test_a_text_of_many_lines_stays_one_field(tmp_path: Path) -> None:
    """Verses, code, and a table whose lines have another number of fields than the file."""
    texts = ["\n".join(["Roses are red,"] * 9), "\n".join(["f(a, b)", "", "x = 1"] * 4)]
    texts.append("Country,Capital\nFrance,Paris\nItaly,Rome\nSpain,Madrid\nPeru,Lima\nCuba,Havana")
    rows = [{"instruction": "Write, please.", "output": text} for text in texts]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["instruction", "output"])
    writer.writeheader()
    writer.writerows(rows)
    assert fields(tmp_path / "x.csv", text.getvalue().encode()) == rows


def test_a_quote_that_is_open_for_ever_takes_linear_time(tmp_path: Path) -> None:
    """Every line opens a quote that the next one closes and opens again."""
    text = b"instruction,output\n" + b'x","y\n' * 40_000
    assert len(fields(tmp_path / "x.csv", text)) == 40_000


CELLS = st.text(st.sampled_from('ab,;\t|"\n\\ '), max_size=12)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), max_size=4), st.sampled_from(",;\t|"))
def test_what_a_writer_wrote_is_read_back(
    tmp_path: Path, rows: list[tuple[str, str]], delimiter: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([("instruction", "output"), *rows])
    found = fields(tmp_path / "x.csv", text.getvalue().encode())
    assert found == [{"instruction": a, "output": b} for a, b in rows]


def test_parquet_of_every_kind_of_text(data: Path, project: Path) -> None:
    texts = ["one", None, "three"]
    for number, kind in enumerate(
        (
            pa.string(),
            pa.large_string(),
            pa.string_view(),
            pa.binary(),
            pa.large_binary(),
            pa.dictionary(pa.int8(), pa.string()),
        )
    ):
        column = pa.array([t and (t.encode() if "binary" in str(kind) else t) for t in texts])
        column = column.dictionary_encode() if "dictionary" in str(kind) else column.cast(kind)
        table = pa.table({"instruction": ["Name."] * 3, "output": column, "img": [b"\xff"] * 3})
        pq.write_table(table, data / f"{number}.parquet")
    rows, files = ingest(project)
    assert len(rows) == 6 * 2
    assert all(file["dropped"] == {"empty response": 1} for file in files["read"])


def test_a_date_that_python_cannot_hold_costs_its_row(data: Path, project: Path) -> None:
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    dates = pa.array([0, 10**15], pa.timestamp("s"))
    pq.write_table(pa.table({"messages": [turns] * 2, "date": dates}), data / "x.parquet")
    rows, files = ingest(project)
    assert rows == ["u"] and files["read"][0]["dropped"] == {"a value is out of range": 1}


REVISION = "a" * 40
CARD = """---
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
- config_name: socratic
  data_files: socratic/*
---
"""


@pytest.fixture
def hub(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset as the hub holds it; the datasets library takes a folder for one, too."""
    folder = project / "org/name"
    for name in ("main/train-0.jsonl", "main/train-1.json", "main/test-0.jsonl", "socratic/a.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(delimited(",") if name.endswith("csv") else LINES)
    (folder / "README.md").write_text(CARD)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(project / "cache"))
    return folder


def test_a_hub_dataset_has_the_rows_of_its_configuration_and_split(
    project: Path, hub: Path
) -> None:
    named = {"source": "org/name", "revision": REVISION}
    with pytest.raises(Refusal, match=r"Config name is missing.*'main', 'socratic'.*ingest.config"):
        ingest(project, **named)
    rows, files = ingest(project, config="main", **named)
    assert len(rows) == 18
    assert [file["name"] for file in files["read"]] == ["main/train-0.jsonl", "main/train-1.json"]
    left = {file["name"]: file["reason"] for file in files["not_read"]}
    reason = "it is not of the split 'train' of 'main'"
    assert left == {"main/test-0.jsonl": reason, "socratic/a.csv": reason}
    assert files["skipped"] == {"furniture": 1}
    rows, _ = ingest(project, config="main", split="test", **named)
    assert len(rows) == 9
    rows, _ = ingest(project, config="socratic", **named)
    assert len(rows) == 9
    for wrong, message in (
        ({"config": "nope"}, r"BuilderConfig 'nope' not found. Available: \['main', 'socratic'\]"),
        ({"config": "main", "split": "dev"}, "no split 'dev'; it has train, test"),
    ):
        with pytest.raises(Refusal, match=message) as error:
            ingest(project, **named, **wrong)
        assert "\n" not in str(error.value)


def test_every_door_gives_the_same_rows(project: Path, data: Path, tmp_path: Path) -> None:
    """A type that changes late rewrites no answer and loses no row."""
    late = b'{"instruction": "Name 51", "output": ["a", "list"]}\n' + LINES
    folder = project / "org/late"
    folder.mkdir(parents=True)
    for place in (folder, data):
        (place / "a.jsonl").write_bytes(LINES)
        (place / "b.jsonl").write_bytes(late)
    local = ingest(project)
    hub = ingest(project, source="org/late", revision=REVISION)
    assert local == hub and len(local[0]) >= 18


def test_a_file_that_must_not_be_read_is_named(data: Path, project: Path) -> None:
    for name in "ab":
        (data / f"{name}.jsonl").write_bytes(LINES)
    (data / "a.jsonl").chmod(0)
    # Root reads everything, unless it gives up the capabilities to.
    powerless = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    command = [*(powerless if os.geteuid() == 0 else []), sys.executable, "-m", "winnow", "ingest"]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    files = json.loads((project / "artifacts/ingest/card.json").read_text())["source_files"]
    assert files["not_read"][0]["reason"] == "its permissions forbid it"
    assert files["read"][0]["rows_out"] == 9
