"""Tamper with what one stage hands to another: is it refused in one line by all that read it?

In an empty folder:    python tampering.py <cases>

<cases> is how many of them, drawn at random; 0 is all. A small grid is run there from its rows to
the report. Then each file between two stages is harmed in each way, and each stage that reads it is
called. A folder that a command publishes itself is harmed too: `--skip-existing` must not trust it.
Prints a JSON object a case. Each run is a process of its own, forked after the imports.
"""

import importlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from faults.kills import tree
from tiny import TINY, corpus, write_jsonl, write_params

from winnow import STAGES
from winnow.__main__ import main
from winnow.core import cards

TIER, OTHER = "high_40", "matched_40"
CELL, SEED = f"{TIER}_tiny", "0"
ONE = (CELL, "--seed", SEED)
COSTED = f"{TIER}_tiny_60_seconds"
"""What scoring took decides how long it is trained."""
COMMANDS: dict[str, tuple[str, ...]] = {
    name: (name, *ONE) if name in ("train", "evaluate") else (name,) for name in (*STAGES, "plan")
}
READ: dict[str, tuple[str, ...]] = {
    "curate": ("artifacts/ingest",),
    "score": ("artifacts/curate",),
    "select": (
        "artifacts/score",
        "artifacts/curate/train.parquet",
        "artifacts/curate/validation.parquet",
        "artifacts/curate/card.json",
    ),
    "train": (
        f"artifacts/select/{TIER}",
        "artifacts/select/card.json",
        "artifacts/curate/tokenizer",
        "artifacts/curate/test.parquet",
        "artifacts/curate/card.json",
    ),
    "evaluate": (
        f"models/{CELL}/{SEED}",
        f"artifacts/select/{TIER}",
        "artifacts/select/card.json",
        "artifacts/curate/test.parquet",
        "artifacts/curate/card.json",
        "artifacts/score/test.parquet",
        "artifacts/score/card.json",
    ),
    "analyze": (
        "artifacts/ingest",
        "artifacts/curate",
        "artifacts/curate_metrics.json",
        "artifacts/score",
        "artifacts/score_metrics.json",
        "artifacts/select/statistics.json",
        f"artifacts/select/{TIER}_scores.csv",
        f"artifacts/select/{OTHER}/{SEED}_scores.csv",
        "artifacts/select/card.json",
        f"results/{CELL}/{SEED}",
    ),
    "plan": (
        "artifacts/select/statistics.json",
        "artifacts/select/card.json",
        f"models/{CELL}/{SEED}/experiment_config.json",
        f"models/{CELL}/{SEED}/train_results.json",
    ),
}
"""The files and folders that each command reads of what others wrote."""
SWAPPED = {
    "evaluate": (f"models/{CELL}/0", f"models/{CELL}/1"),
    "train": (f"artifacts/select/{TIER}", f"artifacts/select/{OTHER}/{SEED}"),
    "analyze": (f"results/{CELL}/0", f"results/{CELL}/1"),
    "select": ("artifacts/curate", "artifacts/score"),
}
"""Whole folders in each other's place, by a command that reads both or the first."""
CARDS = {
    "{}": b"{}",
    "[]": b"[]",
    "null": b"null",
    "number": b"7",
    "nested": b"[" * 100_000,
    "other types": b'{"files": {"x": 3}, "folder": 7, "ledger": [], "sha256": {}}',
    "no files": b'{"stage": "score", "folder": "artifacts/score", "files": {}}',
}


GOOD = ("refused", "made again")
"""How a case may end."""


class Case(NamedTuple):
    """A harm to a file, or a swap of two folders, and the command that meets it."""

    command: tuple[str, ...]
    path: Path
    harm: str
    content: bytes | None
    """Of the file from now on; None removes it."""
    other: Path | None = None
    """A folder to change places with."""


def run(*arguments: str) -> tuple[int, str]:
    """Run a command in a child: its exit code, and what it wrote on stderr."""
    with tempfile.TemporaryFile("w+") as errors:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(errors.fileno(), 2)
            code = 1
            try:
                code = main(list(arguments))
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        errors.seek(0)
        return code, errors.read()


def prepare() -> None:
    """A grid of two experiments and two seeds, from its rows to the report."""
    write_params(Path(), TINY)
    write_jsonl(Path("data/a.jsonl"), corpus())
    for module in (
        *(f"winnow.{name}.stage" for name in STAGES),
        "winnow.plan",
        "winnow.record.published",
    ):
        importlib.import_module(module)
    every = {"train": ("all",), "evaluate": ("all",), "select": (COSTED,)}
    for name in STAGES:
        code, errors = run(name, *every.get(name, ()))
        assert code == 0, errors
    shutil.copytree(Path(), Path("../whole"), symlinks=True)


def flipped(data: bytes, name: str) -> bytes:
    """The same bytes but for one bit."""
    changed, dice = bytearray(data), random.Random(name)
    changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def sibling(path: Path) -> bytes:
    """Another file's bytes: of the same kind and near by, where there is one."""
    data = path.read_bytes()
    files = [file for root in ("artifacts", "models", "results") for file in Path(root).rglob("*")]
    near = sorted(
        (file for file in files if file.is_file() and file.read_bytes() != data),
        key=lambda file: (
            file.name != path.name,
            file.suffix != path.suffix,
            -len(os.path.commonpath([file, path])),
            str(file),
        ),
    )
    return near[0].read_bytes()


def harms(path: Path) -> dict[str, bytes | None]:
    """What is put in the place of a file's bytes, by the kind of harm."""
    data = path.read_bytes()
    found: dict[str, bytes | None] = {"delete": None, "swap": sibling(path)}
    if data:
        found |= {"flip": flipped(data, str(path)), "cut": data[: len(data) // 2], "empty": b""}
    return found | (CARDS if path.name == cards.CARD else {})


def cases() -> Iterator[Case]:
    """Every file between two stages, every harm, every reader; then the folders as wholes."""
    for stage, places in READ.items():
        for place in map(Path, places):
            for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
                if path.is_file():
                    for harm, content in harms(path).items():
                        yield Case(COMMANDS[stage], path, harm, content)
    metrics = Path("artifacts/score_metrics.json")
    for harm, content in harms(metrics).items():
        yield Case(("train", COSTED, "--seed", SEED), metrics, harm, content)
    for stage, (one, two) in SWAPPED.items():
        yield Case(COMMANDS[stage], Path(one), "change places", None, Path(two))
    for stage, root in (("train", "models"), ("evaluate", "results")):
        for path in sorted(Path(root, CELL, SEED).rglob("*")):
            if path.is_file():
                for harm, content in harms(path).items():
                    yield Case((*COMMANDS[stage], "--skip-existing"), path, harm, content)


def exchange(one: Path, two: Path) -> None:
    """Let two folders change places."""
    one.rename("between")
    two.rename(one)
    Path("between").rename(two)


def restore() -> None:
    """All as it was before the first case."""
    for name in ("artifacts", "models", "results", "analysis", ".winnow"):
        shutil.rmtree(name, ignore_errors=True)
        shutil.copytree(Path("../whole", name), name)
    for name in ("metrics.json", "mlflow.db"):
        shutil.copyfile(Path("../whole", name), name)


def outputs() -> dict[str, str]:
    """The hash of every published file."""
    roots = ("artifacts", "models", "results", "analysis")
    return {f"{root}/{name}": sha for root in roots for name, sha in tree(Path(root)).items()}


def fate(case: Case) -> tuple[str, str]:
    """How a command met a harm, and its last line.

    refused: exit code 2 and one line that names the file or its folder and a command, nothing
    written. made again: exit code 0, the command's own folder is whole and its figures are as they
    were. Else it is a traceback, taken or odd.
    """
    if case.other:
        exchange(case.path, case.other)
    elif case.content is None:
        case.path.unlink()
    else:
        case.path.write_bytes(case.content)
    before = outputs()
    code, errors = run(*case.command)
    lines = [line for line in re.split(r"[\r\n]+", errors) if line.strip()]
    last = lines[-1] if lines else ""
    names = any(str(path) in last for path in (case.path, case.path.parent))
    if "Traceback" in errors:
        return "traceback", last
    if code == 2:
        good = len(lines) == 1 and names and "`winnow " in last and outputs() == before
        return ("refused" if good else "odd"), last
    if code == 0 and "--skip-existing" in case.command:
        folder = case.path
        while folder.name != SEED:
            folder = folder.parent
        names = (folder / "model.safetensors", folder / "evaluation/items.parquet")
        files = [path for path in names if Path("../whole", path).exists()]
        same = all(path.read_bytes() == Path("../whole", path).read_bytes() for path in files)
        return ("made again" if same and cards.is_complete(folder) else "taken"), last
    return ("taken" if code == 0 else "odd"), last


def campaign(number: int) -> Iterator[dict[str, Any]]:
    """The fates of so many cases, after each command was seen to work without harm."""
    prepare()
    for command in COMMANDS.values():
        code, errors = run(*command)
        assert code == 0, f"{command} does not run at all: {errors}"
    restore()
    found = list(cases())
    for case in random.Random(0).sample(found, number or len(found)):
        end, line = fate(case)
        command = " ".join(case.command)
        yield {
            "command": command,
            "file": str(case.path),
            "harm": case.harm,
            "fate": end,
            "line": line,
        }
        if end == "refused" and not case.other:
            case.path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path("../whole", case.path), case.path)
        else:
            restore()


if __name__ == "__main__":
    for outcome in campaign(int(sys.argv[1])):
        print(json.dumps(outcome), flush=True)
