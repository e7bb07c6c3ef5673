"""What is recorded of a published folder: once, however often it is asked for and wherever it is
killed; and what happens where MLflow is missing.

    pytest tests/tracking/test_record.py
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faults import kills
from mlflow import MlflowClient
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Store
from tiny import TINY, corpus, make_until, write_jsonl, write_params

from winnow.analyze import stage as analyze
from winnow.evaluate import stage as evaluate
from winnow.record import record, runs
from winnow.train import stage as train

FOLDERS = [Path(f"{room}/high_40_tiny/0") for room in ("models", "results")]
FOLDERS.append(Path("analysis"))
WRITES = (
    *((Store, name) for name in ("create_run", "log_batch", "log_inputs", "log_outputs")),
    *((Store, name) for name in ("set_tag", "update_run_info", "create_logged_model")),
    (Store, "finalize_logged_model"),
    *((Registry, name) for name in ("create_registered_model", "create_model_version")),
    *((Registry, name) for name in ("set_model_version_tag", "set_registered_model_alias")),
    *((LocalArtifactRepository, name) for name in ("log_artifact", "log_artifacts")),
)
"""Calls by which a record grows."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a training, its evaluation and the analysis published, and its record."""
    folder, before = tmp_path_factory.mktemp("published"), Path.cwd()
    write_params(folder, TINY | {"seeds": [0], "experiments": ["high_40_tiny"]})
    write_jsonl(folder / "data/a.jsonl", corpus())
    os.chdir(folder)
    # MLflow keeps there what a test before this one has set.
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        make_until("select")
        train.run(["high_40_tiny"], 0, False)
        evaluate.run(["high_40_tiny"], 0, False)
        analyze.run()
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def unrecorded(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it without a record."""
    folder = tmp_path / "unrecorded"
    shutil.copytree(published, folder, ignore=shutil.ignore_patterns("mlflow.db", "mlruns"))
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def contents() -> dict[str, Any]:
    """Everything in the record but ids and the times at which it was written."""
    client = MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")
    experiment = client.get_experiment_by_name("winnow").experiment_id
    runs = client.search_runs([experiment])
    names = {run.info.run_id: run.info.run_name for run in runs}
    with sqlite3.connect("mlflow.db") as database:
        rows = database.execute("select run_uuid, key, step, value, timestamp from metrics")
        points = sorted((names[run], *rest) for run, *rest in rows.fetchall())
    found: dict[str, Any] = {"points": points}
    for run in runs:
        tags = {key: names.get(value, value) for key, value in run.data.tags.items()}
        tags.pop("mlflow.log-model.history", None)
        times = (run.info.start_time, run.info.end_time) if "@" in run.info.run_name else ()
        inputs = [entry.dataset.digest for entry in run.inputs.dataset_inputs]
        files = sorted(item.path for item in client.list_artifacts(run.info.run_id))
        assert run.info.run_name not in found
        about = (run.info.status, tags, run.data.params, inputs, files, times)
        found[run.info.run_name] = about
    found["models"] = [
        (model.name, str(model.status), names[model.source_run_id])
        for model in client.search_logged_models([experiment])
    ]
    found["versions"] = [
        (version.name, version.version, names[version.run_id], version.tags, version.description)
        for version in client.search_model_versions()
    ]
    return found


def every() -> None:
    """Record all three folders."""
    for folder in FOLDERS:
        record(folder)


def test_what_is_recorded_twice_is_there_once(unrecorded: Path) -> None:
    every()
    once = contents()
    assert once["models"] and len(once["versions"]) == 1
    assert {"train@high_40_tiny-0", "evaluate@high_40_tiny-0", "analyze"} <= set(once)
    every()
    assert contents() == once


def test_it_is_what_the_stages_record(published: Path, unrecorded: Path) -> None:
    """But for what a training knows while it runs."""
    every()
    late = contents()
    os.chdir(published)
    live = contents()
    for name in ("evaluate@high_40_tiny-0", "analyze"):
        assert late[name][2:4] == live[name][2:4] and late[name][5:] == live[name][5:]
    one, other = (found["train@high_40_tiny-0"] for found in (late, live))
    assert one[2:5] == other[2:5] and one[5][1] == other[5][1]
    assert other[1].keys() - one[1].keys() == {"winnow.token", "winnow.folder"}
    # A training that takes long enough is watched: what the machine did then, no folder knows.
    points = [
        [row[:4] for row in found["points"] if not row[1].startswith("system/")]
        for found in (late, live)
    ]
    assert points[0] == points[1]
    assert late["versions"] == live["versions"]


def test_a_grid_whose_process_was_killed_is_ended(unrecorded: Path) -> None:
    record = runs.Runs()
    grid = record.grid()
    record.client.update_run(grid, "RUNNING")  # what a kill leaves that falls between two writes
    assert record.grid() == grid and record.is_whole(grid)


@pytest.mark.slow
def test_a_record_that_is_killed_before_any_write_is_completed(unrecorded: Path) -> None:
    more = [(owner, name, b"r") for owner, name in WRITES]

    def fresh(name: str) -> None:  # a database of its own, as a store keeps its file open
        shutil.copytree(unrecorded, unrecorded.with_name(name))
        os.chdir(unrecorded.with_name(name))

    fresh("undisturbed")
    ended, passed = kills.attempt(every, others=more)
    whole = contents()
    points = [n for n in range(1, len(passed) + 1) if passed[n - 1 : n] == b"r"]
    assert ended and len(points) > 20
    for point in points:
        fresh(f"killed-{point}")
        assert not kills.attempt(every, point, others=more)[0]
        ended, _ = kills.attempt(every, others=more)
        assert ended and contents() == whole, f"killed before write {point} of {points}"
        shutil.rmtree(Path.cwd())
    print(f"{len(points)} of {len(points)} kills")


WITHOUT_MLFLOW = """
import sys
sys.modules["mlflow"] = None
from winnow.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_every_stage_works_without_mlflow(unrecorded: Path) -> None:
    program = WITHOUT_MLFLOW
    for folder, *command in (
        (FOLDERS[0], "train", "high_40_tiny", "--seed", "0"),
        (FOLDERS[1], "evaluate", "high_40_tiny", "--seed", "0"),
        (FOLDERS[2], "analyze"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *command], capture_output=True, text=True
        )
        said = [line for line in done.stderr.splitlines() if "mlflow" in line]
        assert done.returncode == 0, done.stderr[-3000:]
        assert said == [f"{folder}: no record, as mlflow is not installed"]
    assert not Path("mlflow.db").exists() and not list(Path(".winnow/record").iterdir())
