"""What stands in a row is never a file's name, code or a formula; nor do links, clocks, or company.

pytest tests/faults/test_rows_are_inert.py
"""

import ast
import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny import ROOT, Winnow, corpus, need, write_jsonl

from winnow.core import cards

pytestmark = pytest.mark.slow

NAMES = ("../../../x", "/etc/passwd", "a/b", "..", "\0", "x" * 300, "=cmd()", "\x1b[2J", "<script>")
FOREIGN = r"(?<!^Tokenizer)\.from_pretrained$|^HFLM$|^SentenceTransformer$"
"""Calls that could run what came with a model; the library tokenizers has no such way."""
EVIL = (
    "<script>alert(1)</script>",
    "=HYPERLINK(0)",
    "\x1b]0;title\x07\x1b[2J",
    "![x](file:///etc/passwd)",
    "!!python/object/apply:os.system ['true']",
    "\u202etxt.exe",
)


def test_a_hostile_corpus_through_the_data_stages(project: Path, winnow: Winnow) -> None:
    rows = corpus(160)
    for number, row in enumerate(rows):
        name = NAMES[number % len(NAMES)]
        row |= {
            "id": name,
            "source": name,
            "file_name": name,
            "path": name,
            "url": f"file://{name}",
        }
        row["output"] += f" {EVIL[number % len(EVIL)]}"
    (project / "data/a.jsonl").unlink()
    write_jsonl(project / "data/@SUM(1).jsonl", rows)
    before = {path for path in project.parent.iterdir()}
    for stage in ("ingest", "curate", "score", "select"):
        done = winnow(stage)
        assert done.returncode == 0, done.stderr[-3000:]
        said = done.stdout + done.stderr
        assert not any(text in said for text in EVIL) and "\x1b[2J" not in said
    assert {path for path in project.parent.iterdir()} == before
    assert {path.name for path in project.iterdir()} == {
        "data",
        "params.yaml",
        "artifacts",
        ".winnow",
    }
    for path in (project / "artifacts").rglob("*"):
        assert re.fullmatch(r"[\w.-]+", path.name) and not path.is_symlink(), path
    kept = pq.read_table(project / "artifacts/ingest/rows-00000.parquet").to_pylist()
    assert [row["id"] for row in kept] == [f"@SUM(1).jsonl:{n}" for n in range(1, 161)]
    # A name in which nothing shows is none: the file's takes its place.
    named = [row["source"] if row["source"] != "\x00" else "@SUM(1)" for row in rows]
    assert [row["source"] for row in kept] == named
    assert [row["response"] for row in kept] == [row["output"] for row in rows]
    tables = list((project / "artifacts").rglob("*.csv"))
    assert tables
    for table in tables:
        for cells in csv.reader(table.open(newline="")):
            assert not any(re.match(r"[=+@\t\r\0]|-(?![\d.])", cell) for cell in cells), cells


def test_no_output_goes_through_a_link(project: Path, winnow: Winnow) -> None:
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("kept")
    (project / "artifacts").mkdir()
    for name in ("ingest", ".ingest.partial", ".ingest.gone"):
        place = project / "artifacts" / name
        place.symlink_to(elsewhere)
        assert winnow("ingest").returncode == 0
        assert os.listdir(elsewhere) == ["precious"], name
        out = project / "artifacts/ingest"
        assert cards.is_complete(out) and not out.is_symlink()
        assert os.listdir(out.parent) == ["ingest"]
        shutil.rmtree(out)


def test_nothing_asks_for_the_code_of_others_or_the_time_of_day() -> None:
    source = {path: path.read_text() for path in (ROOT / "src/winnow").rglob("*.py")}
    for path, text in source.items():
        # The processes of a Ray cluster speak pickle with each other, and with nobody else.
        pickle = "" if path.name == "engine.py" else r"|import pickle|pickle\.load"
        banned = rf"trust_remote_code=(?!False)|torch\.load|weights_only{pickle}"
        assert not re.search(banned, text), path
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and re.search(FOREIGN, ast.unparse(call.func)):
                assert "trust_remote_code=False" in ast.unparse(call), (path, call.lineno)
        stage = path.relative_to(ROOT / "src/winnow").parts[0]
        if path.name == "perspective.py":  # a server says until when to wait
            continue
        if stage in {"ingest", "curate", "score", "select"} or path.name in (
            "cards.py",
            "files.py",
            "params.py",
            "records.py",
        ):
            assert not re.search(r"\btime\.time|datetime|st_[mac]time|getmtime|uuid", text), path


TWICE = """
import os, sys
from winnow.core import cards
from winnow.__main__ import main
replace = os.replace
def wait(*arguments):
    print("here", flush=True)
    sys.stdin.readline()
    replace(*arguments)
os.replace = wait
sys.exit(main(["ingest"]))
"""


def test_two_processes_on_one_folder(project: Path, winnow: Winnow) -> None:
    """The second is told who is at work; the first ends well, after a stop of any length."""
    command = [sys.executable, "-c", TWICE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout and first.stdout.readline() == "here\n"
        done = winnow("ingest")
        assert done.returncode == 2 and f"in use by process {first.pid}" in done.stderr
        out, _ = first.communicate("\n" * 9)
        assert first.returncode == 0 and "160 rows" in out
    assert cards.is_complete(project / "artifacts/ingest")


def test_neither_times_of_files_nor_the_clock_decide_anything(project: Path) -> None:
    need(shutil.which("faketime") is not None, "no faketime to set a clock by")
    trees = []
    for days in (0, -1, 1):
        for path in [*project.rglob("data/*"), *project.rglob("artifacts/**/*")]:
            os.utime(path, (path.stat().st_atime - 86_400 * days,) * 2)
        for stage in ("ingest", "curate", "score"):
            command = ["faketime", f"{days:+} days", sys.executable, "-m", "winnow", stage]
            subprocess.run(command, check=True, capture_output=True)
        cards = sorted(project.glob("artifacts/*/card.json"))
        trees.append([path.read_bytes() for path in cards])
    assert trees[0] == trees[1] == trees[2] and len(trees[0]) == 3
