"""Ray gives the bytes that this machine gives, on any number of workers, and when one is killed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import TINY, Winnow, write_params

from winnow.core import engine

pytestmark = pytest.mark.slow

STAGES = ("curate", "score", "select")
STEPS = [
    {"name": "extract", "engine": "resiliparse"},
    {"name": "language", "keep": ["en"]},
    {"name": "exact"},
    {"name": "near", "threshold": 0.7},
    {"name": "decontaminate", "benchmarks": ["questions.jsonl"], "ngram": 8},
]


def made(project: Path) -> dict[str, str]:
    """The hashes of all that the stages published, cards and ledgers included."""
    return {
        str(path.relative_to(project)): hashlib.sha256(path.read_bytes()).hexdigest()
        for stage in STAGES
        for path in sorted((project / "artifacts" / stage).rglob("*"))
        if path.is_file() and path.suffix != ".png"
    }


def use(project: Path, name: str) -> None:
    """Name the engine in params.yaml."""
    curate: dict[str, Any] = {"steps": STEPS, "validation": 200, "test": 200, "vocab_size": 512}
    write_params(project, TINY | {"engine": name, "curate": curate})


def pages(rows: pa.Table, number: int) -> pa.Table:
    """The last rows, each response as a web page."""
    last = rows.slice(len(rows) - number)
    held = [f"<html><body><p>{text}</p></body></html>" for text in last["response"].to_pylist()]
    return last.set_column(last.schema.names.index("response"), "response", [held])


@pytest.fixture(scope="module")
def local(winnow_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with 30,500 real rows, 500 of them pages, and what the stages make of it here."""
    folder = tmp_path_factory.mktemp("local")
    names = ("alpaca_random_9k", "alpaca_5000", "tldr_pages_i18n", "gsm8k_train", "medquad")
    rows = [pq.read_table(winnow_data / f"instructions/{name}.parquet") for name in names]
    (folder / "data").mkdir()
    table = pa.concat_tables([pages(rows[0], 500), *(part.slice(0, 6000) for part in rows)])
    pq.write_table(table, folder / "data/rows.parquet")
    questions = rows[3]["instruction"].slice(0, 50).to_pylist()
    lines = "".join(json.dumps(text) + "\n" for text in questions)
    (folder / "questions.jsonl").write_text(lines)
    use(folder, "local")
    for stage in ("ingest", *STAGES):
        subprocess.run([sys.executable, "-m", "winnow", stage], cwd=folder, check=True)
    return folder


@pytest.fixture
def ray_project(local: Path, project: Path) -> Path:
    """A copy of it that is to run on Ray."""
    shutil.copytree(local, project, dirs_exist_ok=True)
    (project / "data/a.jsonl").unlink()
    use(project, "ray")
    return project


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Ray cluster on this machine, whose nodes are groups of real processes."""
    from ray.cluster_utils import Cluster

    found = Cluster()
    yield found
    found.shutdown()


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_bytes(
    workers: int, local: Path, ray_project: Path, winnow: Winnow, cluster: Any
) -> None:
    cluster.add_node(num_cpus=workers)
    for stage in STAGES:
        shutil.rmtree(ray_project / "artifacts" / stage)
    for stage in STAGES:
        done = winnow(stage, RAY_ADDRESS=cluster.address)
        assert done.returncode == 0, done.stderr
    assert made(ray_project) == made(local)


@pytest.mark.parametrize(
    "stage, sign", [("curate", "language:"), ("curate", "verify:"), ("score", "score:")]
)
def test_a_node_that_is_killed_costs_nothing(
    stage: str, sign: str, local: Path, ray_project: Path, cluster: Any
) -> None:
    cluster.add_node(num_cpus=1)
    victim = cluster.add_node(num_cpus=1)
    shutil.rmtree(ray_project / "artifacts" / stage)
    process = subprocess.Popen(
        [sys.executable, "-m", "winnow", stage],
        env=os.environ | {"RAY_ADDRESS": cluster.address},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    heard = ""
    while sign not in heard and (char := process.stderr.read(1)):
        heard += char
    cluster.remove_node(victim, allow_graceful=False)
    assert process.poll() is None, "it ended before the kill"
    rest = process.stderr.read()
    assert process.wait() == 0, heard + rest
    assert made(ray_project) == made(local)


def test_an_error_of_the_users_is_one_line(project: Path, winnow: Winnow) -> None:
    curate = TINY["curate"] | {"steps": [{"name": "language", "model": "data/a.jsonl"}]}
    write_params(project, TINY | {"engine": "ray", "curate": curate})
    assert winnow("ingest").returncode == 0
    done = winnow("curate")
    assert done.returncode == 2 and "language.model: " in done.stderr
    assert "Traceback" not in done.stderr


def test_results_come_in_the_order_of_items() -> None:
    assert list(engine.each(str, range(100))) == [str(number) for number in range(100)]
    with pytest.raises(ZeroDivisionError):
        list(engine.each((1).__truediv__, [1, 0]))


def test_ray_takes_few_items_at_once(
    project: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    write_params(project, TINY | {"engine": "ray"})
    taken = list[int]()
    with engine.running():
        results = engine.each(str, (taken.append(number) or number for number in range(99)))  # type: ignore[func-returns-value]
        assert next(results) == "0" and len(taken) <= engine.IN_FLIGHT + 1
        assert [*results] == [str(number) for number in taken[1:]] and len(taken) == 99


def test_an_engine_that_is_unknown(project: Path, winnow: Winnow) -> None:
    write_params(project, TINY | {"engine": "spark"})
    done = winnow("ingest")
    assert done.returncode == 2 and "engine: expected one of local, ray" in done.stderr
