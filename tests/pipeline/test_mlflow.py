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
from tiny import need

pytestmark = pytest.mark.slow

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
    """All runs of a folder's database but the grid's, oldest first."""
    found = client(folder)
    ids = [experiment.experiment_id for experiment in found.search_experiments()]
    runs = found.search_runs(ids, order_by=["attributes.start_time"])
    return [run for run in runs if run.data.tags.get("stage") != "grid"]


def grid_of(folder: Path) -> Any:
    """The only run of a grid in a folder's database."""
    experiment = client(folder).get_experiment_by_name("winnow").experiment_id
    (run,) = client(folder).search_runs([experiment], "tags.stage = 'grid'")
    return run


def mlflow_run_train(folder: Path, experiment: str, code: int = 0) -> tuple[Any, Any]:
    """`mlflow run . -e train -b host`; its run, and the one that the training made below it."""
    before = {run.info.run_id for run in runs_of(folder)} if (folder / "mlflow.db").exists() else ()
    command = (MLFLOW, "run", ".", "-e", "train", "-P", f"exp={experiment}", "-P", "seed=0")
    shell(folder, *command, "-b", "host", code=code)
    parent, child = (run for run in runs_of(folder) if run.info.run_id not in before)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.run_name == f"train@{experiment}-0"
    assert parent.data.tags["mlflow.project.entryPoint"] == "train"
    assert parent.data.tags["mlflow.parentRunId"] == grid_of(folder).info.run_id
    (named,) = client(folder).search_experiments(filter_string="name = 'winnow'")
    assert child.info.experiment_id == parent.info.experiment_id == named.experiment_id
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


def test_mlflow_run_trains_nothing_twice(untracked: Path) -> None:
    before = len(runs_of(untracked))
    command = (MLFLOW, "run", ".", "-e", "train", "-P", f"exp={QUICK}", "-P", "seed=0")
    assert f"{QUICK} seed 0 is done and unchanged" in shell(untracked, *command, "-b", "host")
    assert len(runs_of(untracked)) == before + 1


@pytest.mark.parametrize("engine", ["none", "away"])
def test_without_an_image_mlflow_run_says_what_to_do_and_leaves_no_run(
    engine: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "away":
        need(shutil.which("docker") is not None, "Docker's client is not installed")
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(checkout / "MLproject", folder)
    command = (MLFLOW, "run", ".", "-e", "train", "-P", "exp=high_100k_1B")
    (line,) = shell(folder, *command, code=1).splitlines()
    reason = "docker is not installed" if engine == "none" else "127.0.0.1:9"
    assert line.startswith("mlflow run: no image winnow-cuda:") and reason in line
    assert "`docker build -f docker/Dockerfile" in line and "`-b host`" in line
    assert not (folder / "mlflow.db").exists()


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


def test_the_grid_holds_its_runs_and_training_and_evaluation_name_each_other(grid: Grid) -> None:
    runs = {run.info.run_name: run for run in runs_of(grid.folder)}
    above = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    whole = grid_of(grid.folder)
    assert whole.info.status == "FINISHED"
    for name in (QUICK, SLOW):
        assert above[f"train@{name}-0"] == whole.info.run_id
        trained, judged = (runs[f"{stage}@{name}-0"] for stage in ("train", "evaluate"))
        assert above[f"evaluate@{name}-0"] == whole.info.run_id
        assert judged.data.tags["train_run"] == trained.info.run_id
        assert trained.data.tags["evaluate_run"] == judged.info.run_id
    assert above["analyze"] == whole.info.run_id


def test_the_answer_and_the_pages_are_with_the_analysis(grid: Grid) -> None:
    runs = {run.info.run_name: run for run in runs_of(grid.folder)}
    answer = json.loads((grid.folder / "metrics.json").read_text())["answer"]
    tags = runs["analyze"].data.tags
    assert tags["answer"] == tags["mlflow.note.content"] == answer
    assert grid_of(grid.folder).data.tags["mlflow.note.content"] == answer
    artifacts = client(grid.folder).list_artifacts(runs["analyze"].info.run_id)
    assert {item.path for item in artifacts} == {
        "analysis.json",
        "figures",
        "removed.html",
        "report.html",
    }


def test_a_model_says_its_loss_and_why_it_is_champion(grid: Grid) -> None:
    file = grid.folder / f"results/{QUICK}/0/evaluation/metrics.json"
    loss = json.loads(file.read_text())["loss"]
    champion = client(grid.folder).get_model_version_by_alias(QUICK, "champion")
    assert float(champion.tags["test.loss"]) == pytest.approx(loss)
    assert champion.description.startswith(f"Champion: the test loss is {loss:.4f} with seed 0")


def test_recording_a_model_warns_of_nothing(grid: Grid) -> None:
    assert "WARNING" not in grid.output


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
    runs = f"{server}/#/experiments/{experiment}/runs"
    title = "grid of 2 experiments, 1 seeds"
    assert title in dom(runs, tmp_path / "profile")
    page = dom(f"{runs}/{grid_of(grid.folder).info.run_id}", tmp_path / "profile")
    for name in (title, f"train@{QUICK}-0", f"evaluate@{SLOW}-0", "analyze"):
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


def test_mlflow_run_runs_the_pipeline_of_another_folder(grid: Grid) -> None:
    said = shell(grid.folder, MLFLOW, "run", ".", "-e", "main", "-P", "study=base", "-b", "host")
    assert "Stage 'base' didn't change, skipping" in said
