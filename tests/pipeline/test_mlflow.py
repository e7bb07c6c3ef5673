"""The record of runs: by `mlflow run`, in the registry, and in the pages that people look at.

pytest tests/pipeline/test_mlflow.py
"""

import html
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import dom
from clones import QUICK, SLOW, Grid, run_grid, shell

MLFLOW = str(Path(sys.executable).with_name("mlflow"))


@pytest.fixture(scope="module")
def grid(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """The clone whose runs are looked at."""
    return run_grid(checkout, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def untracked(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the data stages done, and neither models nor a record of runs."""
    folder = tmp_path_factory.mktemp("untracked") / "winnow"
    left_out = shutil.ignore_patterns("mlruns", "mlflow.db", "models", "results", "cache")
    shutil.copytree(grid.folder, folder, ignore=left_out)
    return folder


def client(folder: Path) -> Any:
    """A client of a folder's database."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def runs_of(folder: Path) -> list[Any]:
    """All runs of a folder's database, oldest first."""
    found = client(folder)
    ids = [experiment.experiment_id for experiment in found.search_experiments()]
    return list(found.search_runs(ids, order_by=["attributes.start_time"]))


def mlflow_run_train(folder: Path, experiment: str, code: int = 0) -> tuple[Any, Any]:
    """`mlflow run . -e train -b host`; its run, and the one that the training made below it."""
    before = {run.info.run_id for run in runs_of(folder)} if (folder / "mlflow.db").exists() else ()
    command = (MLFLOW, "run", ".", "-e", "train", "-P", f"exp={experiment}", "-P", "seed=0")
    shell(folder, *command, "-b", "host", code=code)
    parent, child = (run for run in runs_of(folder) if run.info.run_id not in before)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.run_name == f"train@{experiment}-0"
    assert parent.data.tags["mlflow.project.entryPoint"] == "train"
    assert child.info.experiment_id == parent.info.experiment_id
    return parent, child


def test_mlflow_run_trains_nested_and_registers(untracked: Path) -> None:
    import mlflow

    parent, child = mlflow_run_train(untracked, QUICK)
    assert [parent.info.status, child.info.status] == ["FINISHED", "FINISHED"]
    (version,) = client(untracked).search_model_versions(f"name='{QUICK}'")
    assert version.run_id == child.info.run_id and version.tags["seed"] == "0"
    mlflow.set_tracking_uri(f"sqlite:///{untracked / 'mlflow.db'}")
    pipeline = mlflow.transformers.load_model(f"models:/{QUICK}/{version.version}")
    assert pipeline("river", max_new_tokens=3)[0]["generated_text"].startswith("river")


def test_a_run_that_could_not_register_fails_and_is_made_good(untracked: Path) -> None:
    store, aside = untracked / "mlruns", untracked / "mlruns.aside"
    aside.mkdir()
    if store.exists():
        store.rename(aside / "mlruns")
    store.write_text("in the way")
    parent, child = mlflow_run_train(untracked, SLOW, code=1)
    assert [parent.info.status, child.info.status] == ["FAILED", "FAILED"]
    store.unlink()
    if (aside / "mlruns").exists():
        (aside / "mlruns").rename(store)
    shell(untracked, "winnow", "train", SLOW, "--seed", "0", "--skip-existing")
    (version,) = client(untracked).search_model_versions(f"name='{SLOW}'")
    assert version.run_id == child.info.run_id and version.tags["seed"] == "0"
    assert client(untracked).get_run(child.info.run_id).info.status == "FINISHED"


def test_every_cell_of_the_grid_is_a_run(grid: Grid) -> None:
    runs = {run.info.run_name: run for run in runs_of(grid.folder)}
    cells = {f"{stage}@{name}-0" for stage in ("train", "evaluate") for name in (QUICK, SLOW)}
    assert runs.keys() >= {"analyze", *cells}
    for name in cells:
        assert runs[name].info.status == "FINISHED"
        assert runs[name].data.tags["stage"] == name.partition("@")[0]
    loss = runs[f"evaluate@{QUICK}-0"].data.metrics["test.loss"]
    file = grid.folder / f"results/{QUICK}/0/evaluation/metrics.json"
    assert loss == pytest.approx(json.loads(file.read_text())["loss"])
    assert client(grid.folder).get_model_version_by_alias(QUICK, "champion").tags["seed"] == "0"


@pytest.fixture
def server(grid: Grid, tmp_path: Path) -> Iterator[str]:
    """MLflow's pages over the grid's runs, served as by `make ui`."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    # `-o .venv`: this environment takes the place of the one that make sets up.
    command = ["make", "-o", ".venv", "ui", f"BIN={Path(MLFLOW).parent}", f"PORT={port}"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=grid.folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield _when_it_answers(f"http://127.0.0.1:{port}")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _when_it_answers(url: str) -> str:
    end = time.monotonic() + 100
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            return url
        except OSError as error:
            assert time.monotonic() < end, f"{url} does not answer: {error}"
            time.sleep(0.3)


def test_the_runs_are_on_the_page(grid: Grid, chromium: None, server: str, tmp_path: Path) -> None:
    experiment = client(grid.folder).get_experiment_by_name("winnow").experiment_id
    page = dom(f"{server}/#/experiments/{experiment}/runs", tmp_path / "profile")
    for name in (f"train@{QUICK}-0", f"evaluate@{SLOW}-0", "analyze"):
        assert name in page


def test_the_report_opens_without_a_network(grid: Grid, chromium: None, tmp_path: Path) -> None:
    report = grid.folder / "analysis/report.html"
    page = dom(report.as_uri(), tmp_path / "profile")
    answer = json.loads((grid.folder / "metrics.json").read_text())["answer"]
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())
    assert answer.partition(":")[0] in text
    assert "<svg" in page and "<script" not in page
    fetched = r"""(?:\ssrc\s*=|<link[^>]*\shref\s*=|@import|url\()\s*["']?\s*([^"'\s)>]+)"""
    outside = [at for at in re.findall(fetched, page) if not at.startswith(("data:", "#"))]
    assert not outside
