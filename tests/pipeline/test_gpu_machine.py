"""All that is to be measured on a GPU runs with the packages that such a machine has, on a CPU.

pytest tests/pipeline/test_gpu_machine.py
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bare import write_bare
from tiny import ROOT, corpus, make_until

from winnow.core.records import ROW_SCHEMA

ARM = "high_40_tiny"


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds neither MLflow nor datasets, SciPy, DVC or peft."""
    write_bare(tmp_path / "bare")
    return os.environ | {"PYTHONPATH": str(tmp_path / "bare"), "WINNOW_DATA": str(tmp_path / "own")}


def brought(project: Path, folder: Path) -> Path:
    """What docs/gpu.md says is to be brought of a project, elsewhere."""
    (folder / "artifacts").mkdir(parents=True)
    shutil.copy(project / "params.yaml", folder)
    for name in (
        "curate/card.json",
        "curate/test.parquet",
        "score/card.json",
        "score/test.parquet",
    ):
        (folder / "artifacts" / name).parent.mkdir(exist_ok=True)
        shutil.copy(project / "artifacts" / name, folder / "artifacts" / name)
    for name in ("curate/tokenizer", "select"):
        shutil.copytree(project / "artifacts" / name, folder / "artifacts" / name)
    return folder


def test_train_and_evaluate_need_no_record(project: Path, bare: dict[str, str]) -> None:
    """A line says that nothing is recorded."""
    make_until("select")
    place, said = brought(project, project / "there"), []
    for stage in ("train", "evaluate"):
        command = [sys.executable, "-m", "winnow", stage, ARM, "--seed", "0"]
        environment = bare | {"PYTHONPATH": f"{bare['PYTHONPATH']}{os.pathsep}{ROOT / 'src'}"}
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
    assert f"models/{ARM}/0: no record, as mlflow is not installed" in said[0]
    assert f"results/{ARM}/0: no record, as mlflow is not installed" in said[1]
    assert not list(place.glob("mlflow.db*")) and not (place / "mlruns").exists()


@pytest.mark.slow
def test_all_pieces_run_in_calls_that_end_in_time(project: Path, bare: dict[str, str]) -> None:
    """A call without time says what is left and how to go on; the next ones do it."""
    make_until("select")
    rows = [{"id": str(i), "source": "a", **row} for i, row in enumerate(corpus(400))]
    table = pa.Table.from_pylist(
        [dict.fromkeys(ROW_SCHEMA.names, "") | r for r in rows], ROW_SCHEMA
    )
    (project / "own/instructions").mkdir(parents=True)
    pq.write_table(table, project / "own/instructions/a.parquet")
    place, out = brought(project, project / "there"), project / "out"
    settings = {"PROJECT": str(place), "OUT": str(out), "DRY": "--dry", "MODELS": "tiny:20"}
    settings |= {"KILLED": ARM, "EXPERIMENTS": ARM}

    def call(seconds: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(ROOT / "benchmarks/gpu.sh")],
            env=bare | settings | {"LIMIT": str(seconds)},
            capture_output=True,
            text=True,
        )

    first = call(10)
    assert first.returncode == 75
    assert first.stdout == "machine is not done: call again\n" and not [*out.iterdir()]
    whole = next(done for done in map(call, [240] * 3) if done.returncode != 75)
    logs = "".join(path.read_text()[-2000:] for path in out.glob("*.log"))
    assert whole.returncode == 0, whole.stdout + logs
    assert whole.stdout.endswith("all is done\n")
    said = {path.stem: path.read_text() for path in out.glob("*.txt")}
    assert "from those by mask" in said["checks"] or "by document" in said["checks"]
    assert "plain Trainer, packed" in said["trials-tiny"]
    assert "ratio" in said["generate"]
    assert "one, and one killed 3 times: equal bytes" in said["resume"]
    assert json.loads((out / f"models/{ARM}/0/train_results.json").read_text())["tokens_per_second"]
    assert (out / f"results/{ARM}/0/evaluation/metrics.json").exists()
    last = call(540)
    assert last.stdout == "all is done\n", "nothing is measured twice"
