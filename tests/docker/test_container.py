"""docker/ and MLproject with a real engine: what the image is, and `mlflow run` in it.

    pytest tests/docker

Building the image takes some minutes and gigabytes; an engine that has built it before reuses it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tiny import ROOT, TINY, corpus, write_jsonl, write_params

from winnow import __version__

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(2400)]

PROJECT = YAML(typ="safe").load(ROOT / "MLproject")
COMPOSE = YAML(typ="safe").load(ROOT / "docker/compose.yaml")
IMAGE = PROJECT["docker_env"]["image"]


@pytest.fixture(scope="module")
def image(engine: None) -> str:
    """The image of docker/Dockerfile under the tag that MLproject asks for."""
    command = ["docker", "build", "--network=host", "-f", "docker/Dockerfile", "-t", IMAGE, "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return str(IMAGE)


def inside(image: str, program: str, *flags: str) -> str:
    """Run a Python program in the image, without a network; what it prints."""
    command = ["docker", "run", "--rm", "--network=none", *flags, image, "python", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_the_image_runs_as_nobody_special(image: str) -> None:
    assert inside(image, "import os; print(os.getuid(), os.getgid())") == "10001 10001"


def test_the_image_works_for_a_user_that_it_does_not_know(image: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "project/src")
    for path in (tmp_path / "project", *(tmp_path / "project").rglob("*")):
        path.chmod(0o755)
        if os.getuid() == 0:
            os.chown(path, 4321, 4321)
    owner = (tmp_path / "project").stat()
    program = (
        "import getpass, pathlib, subprocess, tempfile, accelerate, datasets, mlflow, torch\n"
        "tempfile.TemporaryFile(dir=pathlib.Path.home()); pathlib.Path('made').touch()\n"
        "print(getpass.getuser(), subprocess.check_output(['winnow', '--help'], text=True)[:6])"
    )
    flags = ["--user", f"{owner.st_uid}:{owner.st_gid}", "-w", "/any/where"]
    flags += ["-v", f"{tmp_path / 'project'}:/any/where"]
    assert inside(image, program, *flags) == "winnow usage:"
    assert (tmp_path / "project/made").stat().st_uid == owner.st_uid


def plain(pin: str) -> str:
    """A pin as all tools would write it, without the build (`+cpu`) that its machine asked for."""
    return re.sub(r"[-_.]+", "-", pin).lower().partition("+")[0]


def test_the_image_holds_the_lock_and_no_project_code(image: str) -> None:
    program = (
        "import importlib.metadata as m, importlib.util as u; print(u.find_spec('winnow'))\n"
        "for d in m.distributions(): print(f'{d.name}=={d.version}')"
    )
    found, *packages = inside(image, program).splitlines()
    assert found == "None"
    lock = re.findall(r"^[\w.-]+==\S+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert len(lock) > 200 and {*map(plain, lock)} <= {*map(plain, packages)}


def mlflow_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`mlflow run` in a folder, with the store that it has by default."""
    environment = {key: value for key, value in os.environ.items() if key[:10] != "MLFLOW_RUN"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    program = str(Path(sys.executable).with_name("mlflow"))
    return subprocess.run(
        [program, "run", ".", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def clone(checkout: Path, tmp_path: Path) -> Path:
    """A clone with a corpus of its own, small enough for every stage to take seconds."""
    folder = tmp_path / "clone"
    shutil.copytree(checkout, folder)
    write_params(folder, TINY)
    shutil.rmtree(folder / "data", ignore_errors=True)
    write_jsonl(folder / "data/rows.jsonl", corpus())
    return folder


def test_mlflow_runs_the_stages(clone: Path, image: str) -> None:
    """In the image; tests/pipeline/test_mlflow.py has the backend `host`."""
    import mlflow
    from mlflow import MlflowClient

    stages: list[tuple[str, ...]] = [
        ("ingest", "-P", "max_samples=150"),
        ("curate",),
        ("score",),
        ("select", "-P", "experiments=random_30_tiny longest_30_tiny"),
        ("train", "-P", "exp=random_30_tiny", "-P", "seed=1"),
        ("evaluate", "-P", "exp=random_30_tiny", "-P", "seed=1"),
    ]
    for stage, *parameters in stages:
        done = mlflow_run(clone, "-e", stage, *parameters)
        assert done.returncode == 0, f"{stage}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
    made = clone / "results/random_30_tiny"
    assert list(made.rglob("*.json")), "no results"
    for path in clone.rglob("*"):
        assert path.stat().st_uid == os.getuid(), path

    failed = mlflow_run(clone, "-e", "train", "-P", "exp=nothing_1M")
    assert failed.returncode == 1

    client = MlflowClient(tracking_uri=f"sqlite:///{clone / 'mlflow.db'}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(ids, order_by=["attributes.start_time"])
    projects = [run for run in runs if "mlflow.project.entryPoint" in run.data.tags]
    ended = {run.data.tags["mlflow.project.entryPoint"]: run.info.status for run in projects[:-1]}
    assert ended == dict.fromkeys(
        ("ingest", "curate", "score", "select", "train", "evaluate"), "FINISHED"
    )
    assert projects[-1].info.status == "FAILED"

    mlflow.set_tracking_uri(f"sqlite:///{clone / 'mlflow.db'}")
    pipeline = mlflow.transformers.load_model("models:/random_30_tiny/1")
    assert pipeline("river", max_new_tokens=3)[0]["generated_text"].startswith("river")


def test_one_version_names_project_and_images() -> None:
    images = [IMAGE, COMPOSE["services"]["server"]["image"]]
    assert [image.partition(":")[2] for image in images] == [__version__, __version__]
    assert IMAGE.partition(":")[0] != PROJECT["name"]  # --build-image would overwrite the base
    assert f"-t {IMAGE} ." in (ROOT / "docker/Dockerfile").read_text()


def each_service(check: Callable[[dict[str, Any]], object]) -> dict[str, object]:
    """What a check says of every service of compose.yaml."""
    return {name: check(service) for name, service in COMPOSE["services"].items()}


def test_compose_gives_no_service_more_than_it_needs() -> None:
    def lax(service: dict[str, Any]) -> list[str]:
        ports = service.get("ports", [])
        rules = {
            "not root": re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]),
            "no capabilities": service["cap_drop"] == ["ALL"] and "cap_add" not in service,
            "no new privileges": "no-new-privileges:true" in service["security_opt"],
            "read only": service["read_only"] is True,
            "health": service["healthcheck"]["test"][0] == "CMD",
            "exact tag": re.search(r":\d+\.\d+", service["image"]),
            "loopback": all(re.match(r"\$\{\w+:-127\.0\.0\.1}:", port) for port in ports),
            "not privileged": not service.get("privileged") and "network_mode" not in service,
        }
        return [name for name, holds in rules.items() if not holds]

    assert each_service(lax) == {"server": [], "postgres": []}
    assert COMPOSE["networks"]["database"] == {"internal": True}


def test_compose_has_no_password_and_git_keeps_none() -> None:
    def secrets(service: dict[str, Any]) -> list[str]:
        return [value for key, value in service["environment"].items() if "PASSWORD" in key]

    said = each_service(secrets)
    assert all(
        value.startswith("${POSTGRES_PASSWORD:?") for values in said.values() for value in values
    ) and all(said.values())
    ignored = subprocess.run(["git", "check-ignore", "-q", "docker/.env"], cwd=ROOT)
    assert ignored.returncode == 0, "docker/.env is not in .gitignore"
