"""Clones of the repository, and one whose small grid `dvc repro` has run, made once a session."""

import copy
import functools
import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny import TINY, corpus, write_jsonl, write_params

QUICK, SLOW = "high_40_tiny", "matched_40_tiny"
"""Two experiments, each with a recipe of its own."""


def params(**top: Any) -> dict[str, Any]:
    """params.yaml of the grid; long enough a training that a kill can land in it."""
    found: dict[str, Any] = copy.deepcopy(TINY) | {"seeds": [0], "experiments": [QUICK, SLOW]} | top
    found["train"]["precision"] = "fp32"
    found["train"]["recipes"]["quick"]["num_train_epochs"] = 5
    found["select"]["tiers"]["matched_40"]["recipe"] = "slow"
    found["evaluate"]["tasks"] = None
    return found


def shell(folder: Path, *command: str, code: int = 0) -> str:
    """Run a command to its end; what it wrote on both streams."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_TRACKING")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout[-4000:]}"
    return done.stdout


def ran(output: str) -> set[str]:
    """The stages that DVC says it ran."""
    return set(re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE))


def untouched(output: str) -> set[str]:
    """The stages that DVC says it skipped."""
    return set(re.findall(r"^Stage '([^']+)' didn't change, skipping", output, re.MULTILINE))


def hashes(folder: Path) -> dict[str, tuple[str, int]]:
    """The content and the time of every file below a folder."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def weights(folder: Path, cell: str) -> str:
    """The hash of a trained model."""
    file = folder / "models" / cell / "model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Grid:
    """The clone after its first `dvc repro`."""

    folder: Path
    output: str
    """What DVC said."""
    changed: set[str]
    """The paths that git called new or modified after it."""
    weights: str
    """Of QUICK's first model, trained without interruption."""


def git_changes(folder: Path) -> set[str]:
    """The paths that git calls new or modified."""
    return {line[3:] for line in shell(folder, "git", "status", "--porcelain").splitlines()}


def clone(source: Path, folder: Path) -> Path:
    """A copy of a checkout, with someone to commit as."""
    shutil.copytree(source, folder, symlinks=True)
    for key, value in (("user.name", "test"), ("user.email", "test@example.org")):
        shell(folder, "git", "config", key, value)
    return folder


@functools.cache
def run_grid(checkout: Path, base: Path) -> Grid:
    """From raw rows to the report, in a new folder in `base`; the changes are then committed."""
    folder = clone(checkout, base / "grid")
    shell(folder, "rm", "-rf", "data", "data.dvc")
    write_jsonl(folder / "data/rows.jsonl", corpus())
    write_params(folder, params())
    shell(folder, "dvc", "add", "data")
    output = shell(folder, "dvc", "repro")
    changed = git_changes(folder)
    shell(folder, "git", "add", "-A")
    shell(folder, "git", "commit", "-qm", "my corpus")
    return Grid(folder, output, changed, weights(folder, f"{QUICK}/0"))
