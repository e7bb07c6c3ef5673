"""The whole grid by real `dvc repro`: what runs, what does not, and what a kill costs.

pytest tests/pipeline/test_pipeline.py
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from clones import (
    QUICK,
    SLOW,
    Grid,
    clone,
    git_changes,
    hashes,
    params,
    ran,
    run_grid,
    shell,
    untouched,
    weights,
)
from mlflow import MlflowClient
from tiny import write_jsonl, write_params

pytestmark = pytest.mark.slow

DATA = {"generate", "ingest", "curate", "score"}
CELLS = {f"{stage}@{name}" for stage in ("train", "evaluate") for name in (QUICK, SLOW)}
OF_QUICK = {f"train@{QUICK}", f"evaluate@{QUICK}"}


@pytest.fixture(scope="session")
def grid(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """The clone that all tests here share."""
    return run_grid(checkout, tmp_path_factory.getbasetemp())


def test_from_raw_rows_to_the_report(grid: Grid) -> None:
    assert ran(grid.output) == {
        "generate",
        "ingest",
        "curate",
        "score",
        "select",
        "analyze",
        *CELLS,
    }
    assert grid.changed <= {"params.yaml", "data.dvc", "dvc.lock", ".gitignore"}
    report = (grid.folder / "analysis/report.html").read_text()
    metrics = json.loads((grid.folder / "metrics.json").read_text())
    summary = json.loads((grid.folder / "results/experiment_summary.json").read_text())
    assert metrics["answer"] == summary["answer"]["text"]
    assert "</html>" in report and "high_40" in report
    assert {f"loss.{QUICK}", f"loss.{SLOW}", "tiny.best"} <= set(metrics)


def test_the_base_in_git_is_the_one_of_its_lock(grid: Grid) -> None:
    assert "up to date" in shell(grid.folder, "dvc", "status", "base/dvc.yaml")
    kept = shell(grid.folder, "git", "ls-files", "base/models")
    assert "model.safetensors" in kept and "tokenizer.json" in kept


def test_nothing_runs_twice(grid: Grid) -> None:
    output = shell(grid.folder, "dvc", "repro")
    assert not ran(output)
    assert untouched(output) >= {
        "generate",
        "ingest",
        "curate",
        "score",
        "select",
        "analyze",
        *CELLS,
    }
    # The studies have pipelines of their own, which nobody ran here.
    assert "Data and pipelines are up to date." in shell(grid.folder, "dvc", "status", "dvc.yaml")


def test_metrics_and_plots_show(grid: Grid) -> None:
    assert f"loss.{QUICK}" in shell(grid.folder, "dvc", "metrics", "show", "--md")
    said = shell(grid.folder, "dvc", "plots", "show")
    page = Path(re.findall(r"file://(\S+)", said)[0])
    assert "rows chosen by" in page.read_text() and page.is_relative_to(grid.folder)
    assert not {path for path in git_changes(grid.folder) if "plots" in path}


def test_an_experiment_in_a_copy_trains_nothing_anew_and_is_compared(grid: Grid) -> None:
    output = shell(
        grid.folder, "dvc", "exp", "run", "--temp", "-n", "surer", "-S", "analyze.confidence=0.95"
    )
    assert ran(output) == {"analyze"} and not git_changes(grid.folder)
    difference = shell(grid.folder, "dvc", "exp", "diff", "master", "surer", "--md")
    assert "90% interval" in difference and "95% interval" in difference
    assert "surer" in shell(grid.folder, "dvc", "exp", "show", "--csv")
    client = MlflowClient(tracking_uri=f"sqlite:///{grid.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("winnow").experiment_id
    assert len(client.search_runs([experiment], "tags.stage = 'analyze'")) == 2


def test_one_number_of_a_recipe_runs_only_its_cells(grid: Grid) -> None:
    others = hashes(grid.folder / "models" / SLOW)
    before = weights(grid.folder, f"{QUICK}/0")
    output = shell(
        grid.folder, "dvc", "exp", "run", "-S", "train.recipes.quick.learning_rate=0.002"
    )
    assert ran(output) == {"select", "analyze", *OF_QUICK}
    assert untouched(output) >= {*DATA, *(CELLS - OF_QUICK)}
    assert hashes(grid.folder / "models" / SLOW) == others
    assert weights(grid.folder, f"{QUICK}/0") != before
    config = json.loads((grid.folder / f"results/{QUICK}/0/experiment_config.json").read_text())
    assert config["recipe"]["learning_rate"] == 0.002
    assert "0.002" in shell(grid.folder, "dvc", "exp", "show", "--csv")


def _kill_in_the_middle_of(folder: Path, cell: str) -> str:
    """Start `dvc repro`, kill it and its children at a checkpoint; what it had said by then."""
    state = folder / ".winnow/train" / cell
    before = {*state.glob("step-*")}
    log = folder / ".winnow/killed.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["dvc", "repro"], cwd=folder, stdout=file, stderr=file, start_new_session=True
        )
    end = time.monotonic() + 120
    while not {path.parent for path in state.glob("step-*/card.json")} - before:
        assert process.poll() is None and time.monotonic() < end, "it was never in training"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return log.read_text()


def test_a_kill_and_a_new_seed_cost_nothing_that_was_done(grid: Grid) -> None:
    """Killed twice while it trains, `dvc repro` goes on to the bytes of the undisturbed run."""
    others = hashes(grid.folder / "models" / SLOW / "0")
    write_params(grid.folder, params(seeds=[0, 1]))
    shutil.rmtree(grid.folder / "models" / QUICK)
    # DVC is free to run the other arm first: then a killed run has done it.
    killed = [_kill_in_the_middle_of(grid.folder, f"{QUICK}-0") for _ in range(2)]
    assert not (grid.folder / "models" / QUICK / "0").exists()
    output = "".join([*killed, shell(grid.folder, "dvc", "repro")])
    assert CELLS <= ran(output) <= {"select", "analyze", *CELLS}
    assert weights(grid.folder, f"{QUICK}/0") == grid.weights
    assert hashes(grid.folder / "models" / SLOW / "0") == others
    for stage in ("train", "evaluate"):
        assert f"{stage}: {SLOW} seed 0 is done and unchanged" in output
    for name in (QUICK, SLOW):
        assert weights(grid.folder, f"{name}/1") != weights(grid.folder, f"{name}/0")
        configs = [
            json.loads((grid.folder / f"results/{name}/{seed}/experiment_config.json").read_text())
            for seed in (0, 1)
        ]
        # A control is drawn anew for each seed, a top tier is what it is.
        assert len({config["data_sha256"] for config in configs}) == 1 + (name == SLOW)
    assert "2 seeds" in json.loads((grid.folder / "metrics.json").read_text())["answer"]


def _mine(checkout: Path, folder: Path) -> Path:
    """A clone in which somebody put rows of their own where the sample was."""
    clone(checkout, folder)
    shell(folder, "dvc", "repro", "data.dvc")
    assert {path.name for path in (folder / "data").iterdir()} > {"forum.csv"}
    assert not git_changes(folder)
    shutil.rmtree(folder / "data")
    write_jsonl(folder / "data/mine.jsonl", [{"question": "Whose is it?", "answer": "Mine."}])
    return folder


def test_a_corpus_of_your_own_takes_the_place_of_the_sample(checkout: Path, tmp_path: Path) -> None:
    folder = _mine(checkout, tmp_path / "mine")
    (folder / "data.dvc").unlink()
    shell(folder, "dvc", "add", "data")
    values = ("experiments=[all_100pct_1M]", "ingest.keep=[]", "score.scorers=[{name: documented}]")
    chosen = [part for value in values for part in ("-S", value)]
    shell(folder, "dvc", "exp", "run", *chosen, "ingest")
    assert [path.name for path in (folder / "data").iterdir()] == ["mine.jsonl"]
    card = json.loads((folder / "artifacts/ingest/card.json").read_text())
    assert card["ledger"]["rows_out"] == 1


def test_rows_put_beside_the_import_are_never_deleted(checkout: Path, tmp_path: Path) -> None:
    folder = _mine(checkout, tmp_path / "mine")
    done = subprocess.run(
        ["dvc", "repro", "ingest"], cwd=folder, capture_output=True, text=True, stdin=-3
    )
    assert done.returncode != 0 and "without a confirmation" in done.stderr
    shell(folder, "dvc", "add", "data")
    shell(folder, "dvc", "repro", "data.dvc")
    assert "Mine." in (folder / "data/mine.jsonl").read_text()
