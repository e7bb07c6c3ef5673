"""What survives: kills, tampering, a corpus of faults beside two other tools, a full disk.

nice python -m benchmarks.reliability    (make bench-reliability; docs/reliability.md is its record)

The full disk needs root for a disk of its own; datatrove is set up in a cache folder, away from the
lock. What cannot be had is left out with the reason.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from faults import kills, tampering  # noqa: E402
from faults.bad_corpus import BAD, write  # noqa: E402
from tiny import TINY, corpus, make_until, write_jsonl, write_pairs, write_params  # noqa: E402

from benchmarks.environments import python_of  # noqa: E402

STAGES = ("ingest", "curate", "score", "select")
MOMENTS = 10
"""Kills of each stage at random moments, besides one before each of its commit points."""

DATATROVE = "datatrove[io]==0.10.1"
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
}


def table(title: str, *rows: tuple[object, ...]) -> None:
    """Print a table in Markdown; the first row is its head."""
    head, *body = [f"| {' | '.join(map(str, row))} |" for row in rows]
    print(f"\n{title}\n\n{head}\n|{'---|' * len(rows[0])}", *body, sep="\n", flush=True)


def tiny_project(folder: Path) -> None:
    """A project whose data stages are done."""
    write_params(folder, TINY)
    write_jsonl(folder / "data/a.jsonl", corpus())
    _make(folder)


def pairs_project(folder: Path, objective: dict[str, Any]) -> None:
    """The same of pairs, with an objective that compares or rewards answers."""
    given = write_pairs(folder)
    given["train"]["recipes"]["quick"]["objective"] = objective
    write_params(folder, given | {"experiments": ["high_40_tiny"]})
    _make(folder)


def _make(folder: Path) -> None:
    os.chdir(folder)
    with contextlib.redirect_stdout(sys.stderr):
        make_until("select")


def kill_campaign(folder: Path) -> None:
    """Every commit point of every stage but training, and random moments."""
    tiny_project(folder)
    rows: list[tuple[object, ...]] = []
    for stage in (*STAGES, "evaluate", "analyze"):
        for before in ("train", "evaluate") if stage == "evaluate" else ():
            command = [sys.executable, "-m", "winnow", before, "all"]
            subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True)
        done = subprocess.run(
            [sys.executable, kills.__file__, stage, "0", str(MOMENTS)],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=True,
        )
        found = [json.loads(line) for line in done.stdout.splitlines()]
        hit = [kill for kill in found if kill["killed"]]
        good = sum(k["whole"] and k["resumed"] and k["equal"] and not k["debris"] for k in hit)
        rows.append((stage, hit[0]["of"], len(hit), f"{good} of {len(hit)}"))
    head = ("stage", "commit points", "kills", "whole, resumed, equal bytes")
    table("Kills (160 rows)", head, *rows)


def tampering_campaign(folder: Path) -> None:
    """Every file between two stages, in every way, met by every stage that reads it."""
    (folder / "grid").mkdir()
    path = os.pathsep.join([str(ROOT / "tests"), ENVIRONMENT["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, tampering.__file__, "0"],
        env=ENVIRONMENT | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=folder / "grid",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for case in found:
        if case["fate"] not in tampering.GOOD:
            print(case, file=sys.stderr)
    fates = (*tampering.GOOD, "traceback", "taken", "odd")
    rows: list[tuple[object, ...]] = []
    for command in [*dict.fromkeys(case["command"] for case in found), "all"]:
        met = [case["fate"] for case in found if command in (case["command"], "all")]
        rows.append((command, len(met), *map(met.count, fates)))
    rows = sorted(rows[:-1]) + rows[-1:]
    table("Tampering", ("command", "cases", *fates), *rows)


def bad_corpus(folder: Path) -> None:
    """Each file of the bad corpus alone, by three tools."""
    write(folder)
    pythons = {
        "winnow": sys.executable,
        "datasets": sys.executable,
        "datatrove": python_of("datatrove", DATATROVE),
    }
    rows: list[tuple[object, ...]] = []
    for tool, python in pythons.items():
        if python is None:
            continue
        command = [python, str(ROOT / "benchmarks/readers.py"), tool, str(folder)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        found = {entry["file"]: entry for entry in map(json.loads, done.stdout.splitlines())}
        fates = {"all": 0, "exception": 0, "silent": 0, "signal": 0}
        lost = 0
        for bad in BAD:
            entry, wanted = found[bad.name], 1 if bad.kept is None else bad.kept
            lost += max(0, wanted - entry["rows"])
            if entry["how"].startswith("signal"):
                fates["signal"] += 1
            elif entry["rows"] >= wanted:
                fates["all"] += 1
            else:
                fates["silent" if entry["how"] == "ended" else "exception"] += 1
        rows.append((tool, len(BAD), *fates.values(), lost))
    head = (
        "tool",
        "files",
        "all good rows came",
        "lost some, by an exception",
        "lost some, without one",
        "died by a signal or after 60 s",
        "good rows lost",
    )
    table("A corpus of faults, file by file", head, *rows)


def full_disk(folder: Path) -> None:
    """Each data stage with less and less room on its disk."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        print("\nThe full disk is left out: mounting a disk needs root")
        return
    rows: list[tuple[object, ...]] = []
    try:
        tiny_project(folder)
        for stage in STAGES:
            tried = refused = 0
            wanted = kills.tree(folder / "artifacts" / stage)
            for room in (0, 8, 24, 48, 96):
                shutil.rmtree(folder / ".winnow", ignore_errors=True)
                free = shutil.disk_usage(folder).free - room * 1024
                (folder / "filler").write_bytes(bytes(free))
                command = [sys.executable, "-m", "winnow", stage]
                done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
                (folder / "filler").unlink()
                if done.returncode:
                    tried += 1
                    kept = kills.tree(folder / "artifacts" / stage) == wanted
                    said = "o space left" in done.stderr and "Traceback" not in done.stderr
                    again = subprocess.run(command, env=ENVIRONMENT, capture_output=True)
                    equal = kills.tree(folder / "artifacts" / stage) == wanted
                    refused += (
                        done.returncode == 2 and kept and said and not again.returncode and equal
                    )
            rows.append((stage, tried, f"{refused} of {tried}"))
    finally:
        os.chdir("/")
        subprocess.run(["umount", "-l", str(folder)], check=True)
    head = ("stage", "disks too full", "one line, old folder kept, resumed to equal bytes")
    table("A full disk, with 0 to 96 KiB left", head, *rows)


if __name__ == "__main__":
    for part in (kill_campaign, tampering_campaign, bad_corpus, full_disk):
        with tempfile.TemporaryDirectory() as place:
            part(Path(place))
            os.chdir("/")
