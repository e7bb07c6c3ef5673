"""No file takes much more than its own size, and what it costs is said: rows, memory, messages."""

import bz2
import gzip
import io
import json
import lzma
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY, need, write_params

from winnow.core import progress
from winnow.core.mapping.pair import to_pair
from winnow.ingest import json_text, stage

GOOD = {"instruction": "Name the river.", "output": "It is the Wharfe."}
LINE = json.dumps(GOOD).encode() + b"\n"
MIB = 2**20


@pytest.fixture
def data(project: Path) -> Path:
    (project / "data/a.jsonl").unlink()
    return project / "data"


def ingest(project: Path, **changes: Any) -> tuple[list[str], list[dict[str, Any]], dict[str, Any]]:
    """Run the stage; the responses, the quarantine and the card."""
    write_params(project, TINY | {"ingest": {"source": "data"} | changes})
    stage.run()
    out = project / "artifacts/ingest"
    card = json.loads((out / "card.json").read_text())
    ledger = card["ledger"]
    tables = [pq.read_table(path) for path in sorted(out.glob("*.parquet"))]
    responses = [text for table in tables for text in table["response"].to_pylist()]
    assert ledger["rows_out"] == len(responses)
    assert ledger["rows_in"] == len(responses) + sum(ledger["dropped"].values())
    lines = (out / "quarantine.jsonl").read_text().splitlines()
    return responses, [json.loads(line) for line in lines], card


def ingest_measured(project: Path, **changes: Any) -> tuple[int, str, float]:
    """Run the command; its exit code, the last line on stderr, and its peak memory in MiB."""
    need(sys.platform == "linux", "peak memory is read from /proc")
    write_params(project, TINY | {"ingest": {"source": "data"} | changes})
    code = (
        "import sys\nfrom winnow.__main__ import main\ncode = main(['ingest'])\n"
        "for line in open('/proc/self/status'):\n"
        "    if line.startswith('VmHWM'):\n        print(line.split()[1])\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    said = re.split(r"[\r\n]+", done.stderr.strip())[-1]
    return done.returncode, said, int(done.stdout.split()[-1]) / 1024


PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda text: bytes(pa.compress(text, "zstd", asbytes=True)),
}


@pytest.mark.parametrize(
    ("packed", "filler"),
    [("gz", b"\n"), ("bz2", b" "), ("xz", b'"'), ("zst", b"{}\n"), ("bz2", b"a,b\n")],
)
def test_a_packed_file_gives_no_more_than_its_ratio(
    data: Path, project: Path, packed: str, filler: bytes
) -> None:
    text = LINE * 2 + filler * (24 * MIB // len(filler))
    name = f"bomb.{'csv' if b',' in filler else 'jsonl'}.{packed}"
    if "csv" in name:
        text = text.replace(LINE, b"instruction,output\n", 1).replace(LINE, b"i,o\n")
    (data / name).write_bytes(PACK[packed](text))
    (data / "other.jsonl").write_bytes(LINE)
    responses, quarantine, card = ingest(project, max_quarantined=5)
    assert len(responses) >= 2 and responses[-1] == GOOD["output"]
    assert any(
        "gives over ingest.max_ratio times" in reason for reason in card["ledger"]["dropped"]
    )
    assert len(quarantine) < 20


def test_what_repeats_in_a_small_file_is_read(data: Path, project: Path) -> None:
    (data / "a.jsonl.zst").write_bytes(PACK["zst"](LINE * 100_000))
    responses, _, _ = ingest(project)
    assert len(responses) == 100_000


def repeated(text: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([text]))


def test_a_text_that_a_column_repeats_is_not_written_without_end(data: Path, project: Path) -> None:
    texts = repeated("x" * MIB, 5000)
    for name, column in (("coded", texts), ("plain", texts.slice(0, 1500).cast(pa.string()))):
        table = pa.table({"instruction": ["i"] * len(column), "output": column})
        pq.write_table(table, data / f"{name}.parquet", compression="zstd")
        assert (data / f"{name}.parquet").stat().st_size < 100_000
    code, _, peak = ingest_measured(project)
    assert code == 0 and peak < 700
    card = json.loads((project / "artifacts/ingest/card.json").read_text())
    assert card["ledger"]["dropped"] == {
        "the rest is not read, as the file gives over ingest.max_ratio times its own bytes": 2
    }


@pytest.mark.parametrize("kind", ["text", "turns"])
def test_a_row_that_is_too_long_costs_itself(data: Path, project: Path, kind: str) -> None:
    long = ["a", "x" * 2 * MIB, "b"]
    table = {"instruction": ["i"] * 3, "output": long}
    if kind == "turns":
        table = {"messages": [[{"human": "i", "assistant": text}] for text in long]}
    pq.write_table(pa.table(table), data / "a.parquet")
    responses, quarantine, _ = ingest(project, max_line_mb=1)
    assert responses == ["a", "b"]
    assert [(row["position"], row["reason"]) for row in quarantine] == [
        (1, f"row is longer than {MIB} characters")
    ]


def test_memory_that_is_not_enough_names_the_file(data: Path, project: Path) -> None:
    """In a process of its own: what earlier tests left free in this one is not limited."""
    (data / "wide.json").write_bytes(b'{"data": [' + b",".join([b"[]"] * 5_000_000) + b"]}")
    code, said, _ = ingest_measured(project, max_memory_mb=100)
    assert code == 2 and "wide.json: reading it takes more memory than ingest.max" in said
    assert not (project / "artifacts/ingest").exists()


def test_a_limit_of_memory_ends_with_what_it_was_for() -> None:
    need(sys.platform == "linux", "memory is limited on Linux alone")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with stage._memory(2**30):
        assert resource.getrlimit(resource.RLIMIT_DATA) != before
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_the_quarantine_lists_some_of_each_reason_and_counts_the_rest(
    data: Path, project: Path
) -> None:
    name = "n" * 3000
    bad = [b"{}\n"] * 9 + [b"{\n"] * 2 + [json.dumps({name: 1}).encode() + b"\n"]
    (data / "a.jsonl").write_bytes(LINE + b"".join(bad))
    _, quarantine, card = ingest(project, max_quarantined=3)
    assert card["ledger"]["dropped"]["columns cannot be mapped"] == 10
    listed = [row["position"] for row in quarantine if row["file"]]
    assert listed == [2, 3, 4, 11, 12]
    assert [row["reason"] for row in quarantine if not row["file"]] == [
        "7 more records: columns cannot be mapped"
    ]
    _, quarantine, _ = ingest(project)
    assert len(quarantine) == 12 and len(quarantine[-1]["reason"]) == 500


def test_columns_without_end_are_counted_together(
    data: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "COLUMNS", 3)
    rows = [GOOD | {"aside": 1, f"k{number}": 1} for number in range(9)]
    (data / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for columns in (None, {"response": "output"}, {"response": "k8"}):
        _, _, card = ingest(project, columns=columns)
        if columns != {"response": "k8"}:
            assert card["columns_not_used"] == {"aside": 9, "k0": 1, "k1": 1, "(other columns)": 7}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.recursive(
            st.integers() | st.floats(allow_nan=False) | st.text() | st.booleans() | st.none(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=12,
    ),
    st.integers(32, 99),
    st.sampled_from([None, 1]),
)
def test_an_array_is_read_through_any_window(
    tmp_path_factory: pytest.TempPathFactory, array: list[Any], window: int, indent: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "array.json"
    path.write_text(json.dumps(array, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "WINDOW", window)
        shape = json_text._array
        with path.open("rb") as file:
            assert [record.value for record in shape(path, file, MIB)] == array


def test_an_array_is_never_held_whole(data: Path, project: Path) -> None:
    (data / "a.json").write_bytes(b"[" + b",".join([LINE] * 100_000) + b"]")
    code, _, peak = ingest_measured(project)
    assert code == 0 and peak < 250
    (data / "a.json").write_bytes(b"[[" + b",".join([b"[]"] * 1_000_000) + b"]]")
    code, said, peak = ingest_measured(project, max_line_mb=1)
    assert code == 2 and peak < 250
    assert "data/a.json: one JSON value is longer than 1048576 characters" in said


def test_a_table_of_many_small_rows_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    ragged = {f"a{number}": {f"b{number}": number} for number in range(20_000)}
    for table, rows in ((ragged, 20_000), ({"data": [{}] * 100_000}, 100_000)):
        path.write_text(json.dumps(table))
        began = time.process_time()
        assert sum(1 for _ in json_text.read_json(path, MIB * 16)) == rows
        assert time.process_time() - began < 15


def test_many_turns_of_one_side_are_joined_at_once() -> None:
    turns = [{"role": "user", "content": "ab"}] * 200_000
    began = time.process_time()
    pair = to_pair({"messages": [*turns, {"role": "assistant", "content": "c"}]})
    assert pair.instruction == "\n".join(["ab"] * 200_000) and pair.response == "c"
    assert time.process_time() - began < 15


def test_a_tree_that_is_too_deep_costs_its_record(data: Path, project: Path) -> None:
    depth = 480
    start, end = '{"role":"user","content":"u","replies":[', "]}"
    deep = f'{{"messages":[{start * depth}{end * depth}]}}\n'
    (data / "a.jsonl").write_bytes(LINE + deep.encode() + LINE)
    (data / "b.jsonl").write_bytes(deep.encode())
    responses, quarantine, _ = ingest(project)
    assert len(responses) == 2 and len(quarantine) == 2
    assert all("nested too deeply" in row["reason"] for row in quarantine)


def test_a_bar_is_drawn_even_when_nothing_moves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SILENCE", 0.05)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.progress(None, "ingest", "rows") as bar:
        bar.tell("7 MiB")
        deadline = time.monotonic() + 20
        while "7 MiB" not in sys.stderr.getvalue():  # type: ignore[attr-defined]
            assert time.monotonic() < deadline
            time.sleep(0.01)
