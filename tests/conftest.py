"""Fixtures: a tiny project to run stages in, a copy of the repository, real corpora."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from tiny import ROOT, TINY, Winnow, corpus, need, write_jsonl, write_params

# How long a case takes is for benchmarks to say: a busy machine is no fault of the code.
settings.register_profile("winnow", deadline=None)
settings.load_profile("winnow")
# Of several workers each has a core.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests, so that no worker is left with one at the end."""
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def winnow_data() -> Path:
    """The folder of real corpora that WINNOW_DATA names."""
    folder = os.environ.get("WINNOW_DATA", "")
    need(bool(folder) and Path(folder).is_dir(), "WINNOW_DATA names no folder of real corpora")
    return Path(folder).resolve()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with params.yaml and data/a.jsonl; the test runs in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_params(tmp_path, TINY)
    write_jsonl(tmp_path / "data/a.jsonl", corpus())
    return tmp_path


@pytest.fixture
def winnow(project: Path) -> Winnow:
    """Run `winnow ...` in the project as a real process."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "winnow", *arguments],
            cwd=project,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository as it would be cloned, with its own git history."""
    folder = tmp_path_factory.mktemp("checkout") / "winnow"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    for name in listed.stdout.split("\n")[:-1]:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
            shutil.copymode(ROOT / name, folder / name)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "copy"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip or fail where no Docker engine answers."""
    found = shutil.which("docker") is not None
    answers = found and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    need(answers, "no Docker engine answers")


@pytest.fixture(scope="session")
def chromium() -> None:
    """Skip or fail where no Chromium is installed."""
    need(shutil.which("chromium") is not None, "Chromium is not installed")
