"""Every record of a bad corpus is a row or has its reason; what cannot be read at all is named.

pytest tests/faults/test_bad_corpus.py
"""

import copy
import json
import os
import re
import stat
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults.bad_corpus import BAD, CAP_MB, Bad, line, lines, refused, write
from tiny import TINY, Winnow, need, write_params

pytestmark = pytest.mark.slow


def setting(project: Path, source: str) -> None:
    """params.yaml for this corpus."""
    params = copy.deepcopy(TINY)
    write_params(project, params | {"ingest": {"source": source, "max_line_mb": CAP_MB}})


def one_line(stderr: str) -> str:
    """What the stage said, which is the last line."""
    assert "Traceback" not in stderr and "Exception ignored" not in stderr, stderr[-3000:]
    return re.split(r"[\r\n]+", stderr.strip())[-1]


MEASURED = """
import re, sys
from winnow.__main__ import main
code = main(["ingest"])
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
sys.exit(code)
"""
"""The stage, and its peak memory in KiB; a child's rusage would hold its parent's peak too."""


def ingest_measured() -> tuple[str, int]:
    """Run the stage well; returns what it said on stderr, and its peak memory in KiB."""
    need(sys.platform == "linux", "peak memory is read from /proc")
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr, int(done.stdout.split()[-1])


def sorted_out(project: Path) -> tuple[dict[str, list[int]], dict[str, dict[int, str]]]:
    """By file: the positions of the rows; and of the quarantined records, with their reasons."""
    out = project / "artifacts/ingest"
    kept: dict[str, list[int]] = defaultdict(list)
    for path in sorted(out.glob("*.parquet")):
        for name in pq.read_table(path)["id"].to_pylist():
            file, _, position = name.rpartition(":")
            kept[file].append(int(position))
    refused: dict[str, dict[int, str]] = defaultdict(dict)
    for text in (out / "quarantine.jsonl").read_text().splitlines():
        entry = json.loads(text)
        assert entry["position"] not in refused[entry["file"]]
        refused[entry["file"]][entry["position"]] = entry["reason"]
    ledger = json.loads((out / "card.json").read_text())["ledger"]
    assert ledger["rows_out"] == sum(map(len, kept.values()))
    assert sum(ledger["dropped"].values()) == sum(map(len, refused.values()))
    assert ledger["rows_in"] == ledger["rows_out"] + sum(ledger["dropped"].values())
    return kept, refused


def check(bad: Bad, kept: list[int], refused: dict[int, str]) -> None:
    """One file of the corpus."""
    assert len(refused) == len(bad.reasons), refused
    for reason, part in zip(refused.values(), bad.reasons, strict=True):
        assert part in reason
    assert 0 < len(kept) < 8000 if bad.kept is None else len(kept) == bad.kept, bad.name
    assert len(set(kept)) == len(kept) and not set(kept) & set(refused)
    if bad.name.endswith(".jsonl"):
        filled = [n for n, text in enumerate(bad.data.split(b"\n"), start=1) if text.strip()]
        assert sorted([*kept, *refused]) == filled


def test_everything_at_once(project: Path) -> None:
    """One run over all of it, in bounded memory: a GiB is packed in files of some kilobytes."""
    write(project / "bad")
    setting(project, "bad")
    said, peak = ingest_measured()
    one_line(said)
    assert peak < 400 * 1024
    kept, refused = sorted_out(project)
    for bad in BAD:
        check(bad, kept[bad.name], refused[bad.name])
    assert not {*kept, *refused} - {bad.name for bad in BAD}
    ledger = json.loads((project / "artifacts/ingest/card.json").read_text())["ledger"]
    assert len(ledger["dropped"]) < 40, "a reason must not hold what differs from row to row"


@pytest.mark.parametrize(("name", "data", "words"), refused(), ids=lambda value: str(value)[:20])
def test_what_cannot_be_read_is_named(
    project: Path, winnow: Winnow, name: str, data: bytes, words: str
) -> None:
    (project / "data" / name).write_bytes(data)
    setting(project, "data")
    done = winnow("ingest")
    said = one_line(done.stderr)
    assert done.returncode == 2 and words in said and f"data/{name}" in said
    assert not (project / "artifacts/ingest").exists()


def test_only_corpus_files_are_opened(project: Path, winnow: Winnow, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    """A link out of the folder, a pipe and a device are named; a pickle's pipe is not even read.

    Whoever opened one of the pipes would wait for ever.
    """
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.jsonl").write_bytes(lines())
    (outside / "folder").mkdir()
    (outside / "folder/secret.jsonl").write_bytes(lines())
    data = project / "data"
    (data / "link.jsonl").symlink_to(outside / "secret.jsonl")
    (data / "folder").symlink_to(outside / "folder")
    (data / "up.jsonl").symlink_to("../../../../../../../../../etc/passwd")
    (data / "inside.jsonl").symlink_to("a.jsonl")
    (data / "nowhere.jsonl").symlink_to("missing.jsonl")
    (data / "round.jsonl").symlink_to("round.jsonl")
    others = ("x.pkl", "x.pt", "x.bin", "load.py", "x.tar", "x.zip", "x.safetensors")
    for name in ("pipe.jsonl", *others):
        os.mkfifo(data / name)
    if os.geteuid() == 0:
        os.mknod(data / "zero.jsonl", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    setting(project, "data")
    done = winnow("ingest")
    one_line(done.stderr)
    kept, refused = sorted_out(project)
    assert kept.keys() == {"a.jsonl", "inside.jsonl"} and not refused
    wanted = {"link.jsonl", "folder", "up.jsonl", "nowhere.jsonl", "round.jsonl", "pipe.jsonl"}
    files = json.loads((project / "artifacts/ingest/card.json").read_text())["source_files"]
    reasons = {file["name"]: file["reason"] for file in files["not_read"]}
    assert reasons.keys() - {"zero.jsonl"} == wanted | set(others)
    assert reasons["link.jsonl"] == reasons["folder"] == "a link out of the folder is not followed"
    assert reasons["pipe.jsonl"] == reasons["x.pkl"] == "it is no regular file"


def test_names_of_files_and_columns_are_inert(project: Path, winnow: Winnow) -> None:
    (project / "data/a.jsonl").unlink()
    names = (b"new\nline.jsonl", b"\x1b[2Jred.jsonl", b"not\xffutf8.jsonl", "café.jsonl".encode())
    for name in names:
        (project / "data" / os.fsdecode(name)).write_bytes(lines(b'{"\\u001b]0;title\\u0007": 1}'))
    setting(project, "data")
    assert winnow("ingest").returncode == 0
    kept, refused = sorted_out(project)
    assert kept.keys() == refused.keys() and len(kept) == 4
    assert {"not\\xffutf8.jsonl", "café.jsonl"} <= kept.keys()
    for path in (project / "data").iterdir():
        path.write_bytes(b'{"\\u001b]0;title\\u0007": "\\u001b[31m"}\n')
    done = winnow("ingest")
    assert done.returncode == 2 and "\\x1b]0;title\\x07" in one_line(done.stderr)
    assert "\x1b]0" not in done.stderr and "\x1b[2J" not in done.stderr


def saved(folder: Path, *batches: pa.RecordBatch, name: str = "data-00000-of-00001.arrow") -> bytes:
    """A dataset as save_to_disk leaves it; returns the bytes of its Arrow file."""
    folder.mkdir()
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, batches[0].schema) as file:
        for batch in batches:
            file.write_batch(batch)
    data = bytes(buffer.getvalue())
    (folder / "data-00000-of-00001.arrow").write_bytes(data)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    return data


def test_a_saved_dataset_that_is_torn_or_brings_code(project: Path, winnow: Winnow) -> None:
    batch = pa.record_batch({"instruction": ["Add."] * 3, "output": ["1", " ", "3"]})
    data = saved(project / "saved", batch, batch)
    for name in ("saved.py", "dataset.py", "__init__.py", "load.py"):
        (project / "saved" / name).write_text("open('canary', 'w').close()")
    setting(project, "saved")
    assert winnow("ingest").returncode == 0
    kept, refused = sorted_out(project)
    assert kept == {"saved": [0, 2, 3, 5]} and list(refused["saved"]) == [1, 4]
    assert not list(project.rglob("canary"))
    short = saved(project / "short", batch)
    spoiled = {
        "cut between two batches": data[: len(short) - 8],
        "cut in a batch": data[: len(data) // 2],
        "offsets beyond the text": data.replace(bytes([8, 0, 0, 0]), bytes([8, 0, 0, 9])),
    }
    for fault, torn in spoiled.items():
        assert torn != data
        (project / "saved/data-00000-of-00001.arrow").write_bytes(torn)
        done = winnow("ingest")
        said = one_line(done.stderr)
        assert done.returncode == 2 and "is not a readable Arrow file" in said, fault
    saved(project / "away", batch, name="../saved/data-00000-of-00001.arrow")
    (project / "away/link.arrow").symlink_to(project / "short/data-00000-of-00001.arrow")
    for state in (
        None,
        b"{",
        b'{"_data_files": 3}',
        b'{"_data_files": [{"filename": "link.arrow"}]}',
    ):
        if state:
            (project / "away/state.json").write_bytes(state)
        setting(project, "away")
        done = winnow("ingest")
        assert done.returncode == 2 and "away is not a dataset" in one_line(done.stderr)


def test_a_batch_of_a_full_line_cap_is_bounded(project: Path, winnow: Winnow) -> None:
    """Lines just under the cap, more of them than the memory that the run may take."""
    row = line(output="x" * (CAP_MB * 2**20 - 100))
    with (project / "data/a.jsonl").open("wb") as file:
        for _ in range(600):
            file.write(row + b"\n")
    setting(project, "data")
    _, peak = ingest_measured()
    assert peak < 600 * 1024
