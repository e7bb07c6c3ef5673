"""The record of runs: by `mlflow run`, in the registry, and in the pages that people look at.

pytest tests/pipeline/test_mlflow.py
"""

import html
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clones import QUICK, SLOW, Grid, run_grid, shell
from tiny import need

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


def test_mlflow_run_trains_nested_and_registers(untracked: Path) -> None:
    import mlflow

    command = (MLFLOW, "run", ".", "-e", "train", "-b", "host")
    shell(untracked, *command, "-P", f"exp={QUICK}", "-P", "seed=0")
    parent, child = runs_of(untracked)
    assert [parent.info.status, child.info.status] == ["FINISHED", "FINISHED"]
    assert child.info.run_name == f"train@{QUICK}-0"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.tags["mlflow.project.entryPoint"] == "train"
    assert child.info.experiment_id == parent.info.experiment_id

    shell(untracked, *command, "-P", "exp=nothing_tiny", code=1)
    *_, failed = runs_of(untracked)
    assert failed.info.status == "FAILED" and len(runs_of(untracked)) == 3

    (version,) = client(untracked).search_model_versions(f"name='{QUICK}'")
    assert version.run_id == child.info.run_id and version.tags["seed"] == "0"
    mlflow.set_tracking_uri(f"sqlite:///{untracked / 'mlflow.db'}")
    pipeline = mlflow.transformers.load_model(f"models:/{QUICK}/{version.version}")
    assert pipeline("river", max_new_tokens=3)[0]["generated_text"].startswith("river")


def test_a_model_that_could_not_be_registered_is_registered_next_time(untracked: Path) -> None:
    store = untracked / "mlruns"
    shutil.rmtree(store, ignore_errors=True)
    store.write_text("in the way")
    command = ("winnow", "train", SLOW, "--seed", "3", "--skip-existing")
    assert "winnow train: " in shell(untracked, *command, code=2)
    store.unlink()
    shell(untracked, *command)
    (version,) = client(untracked).search_model_versions(f"name='{SLOW}'")
    run = client(untracked).get_run(version.run_id)
    assert version.tags["seed"] == "3" and run.info.status == "FINISHED"
    assert "is done and unchanged" in shell(untracked, *command)


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


def dom(page: str, profile: Path) -> str:
    """A page's document, after its scripts have run, by headless Chromium."""
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]
    done = subprocess.run(
        [*command, f"--user-data-dir={profile}", page], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def chromium() -> None:
    """Skip or fail where no Chromium is installed."""
    need(shutil.which("chromium") is not None, "Chromium is not installed")


@pytest.fixture
def server(grid: Grid, tmp_path: Path) -> Iterator[str]:
    """MLflow's pages over the grid's runs, served as by `make ui`."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    recipe = re.findall(r"^ui:.*\n((?:\t.*\n)+)", (grid.folder / "Makefile").read_text(), re.M)[0]
    started = recipe.replace("\\\n", " ").split("\n")[1].strip().lstrip("@").replace("$$", "$")
    for name, value in (("BIN", Path(MLFLOW).parent), ("CURDIR", grid.folder), ("PORT", port)):
        started = started.replace(f"$({name})", str(value))
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec env {started}"], cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        yield _when_it_answers(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
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
