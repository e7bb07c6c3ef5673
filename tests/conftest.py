"""What several test modules need: a tiny project to run stages in, and the skip-or-fail rule."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def need(condition: bool, reason: str) -> None:
    """Skip where a server or a file is missing; fail where everything must run."""
    if not condition:
        if os.environ.get("WINNOW_REQUIRE_ALL"):
            pytest.fail(f"needed here: {reason}")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def winnow_data() -> Path:
    """The folder of real corpora that WINNOW_DATA names."""
    folder = os.environ.get("WINNOW_DATA", "")
    need(bool(folder) and Path(folder).is_dir(), "WINNOW_DATA names no folder of real corpora")
    return Path(folder).resolve()


TINY = {
    "seeds": [0, 1],
    "experiments": ["high_40_tiny", "matched_40_tiny"],
    "ingest": {"source": "data"},
    "curate": {
        "steps": [{"name": "exact"}, {"name": "near", "threshold": 0.8}],
        "validation": 20,
        "test": 20,
        "vocab_size": 320,
    },
    "score": {"chunk_rows": 16},
    "select": {
        "tiers": {
            "high_40": {"rule": "top", "count": 40, "recipe": "quick"},
            "all_100pct": {"rule": "top", "share": 1.0, "recipe": "slow"},
            "matched_40": {"rule": "matched", "of": "high_40", "recipe": "quick"},
            "random_30": {"rule": "random", "count": 30, "recipe": "quick"},
            "longest_30": {"rule": "longest", "count": 30, "recipe": "quick"},
            "low_30": {"rule": "bottom", "count": 30, "recipe": "quick"},
            "huge_9k": {"rule": "top", "count": 9000, "recipe": "quick"},
        }
    },
    "train": {
        "max_hours": 1,
        "models": {
            "tiny": {
                "num_layers": 1,
                "hidden_size": 32,
                "num_heads": 2,
                "context": 64,
                "dropout": 0.1,
            },
            "1B": {"num_layers": 24, "hidden_size": 1792, "num_heads": 28, "context": 1024},
        },
        "recipes": {
            name: {
                "learning_rate": 0.003,
                "num_train_epochs": 2,
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": accumulation,
                "eval_steps": 10,
                "save_steps": 5,
            }
            for name, accumulation in (("quick", 2), ("slow", 1))
        },
    },
    "evaluate": {"num_prompts": 3, "num_samples": 2, "max_new_tokens": 8},
    "analyze": {"resamples": 200, "truth": None},
}
"""params.yaml of a project whose whole grid takes seconds."""

WORDS = """
river stone lamp paper green north quick slow small large bread water light house garden window
music number letter forest winter summer engine bridge market doctor teacher
""".split()  # noqa: SIM905


def corpus(num_rows: int = 160, seed: int = 0) -> list[dict[str, str]]:
    """Rows of varied length and score."""
    dice = random.Random(seed)

    def words(low: int, high: int) -> str:
        return " ".join(dice.choice(WORDS) for _ in range(dice.randint(low, high)))

    return [
        {
            "instruction": f"{dice.choice(['Explain', 'Name', 'Why is'])} {words(3, 8)}?",
            "input": words(2, 5) if dice.random() < 0.2 else "",
            "output": ". ".join(words(2, 12) for _ in range(dice.randint(1, 4))) + ".",
        }
        for _ in range(num_rows)
    ]


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_params(folder: Path, params: dict[str, object]) -> None:
    """Write params.yaml."""
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(json.loads(json.dumps(params)), file)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with params.yaml and data/a.jsonl; the test runs in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_params(tmp_path, TINY)
    write_jsonl(tmp_path / "data/a.jsonl", corpus())
    return tmp_path


Winnow = Callable[..., subprocess.CompletedProcess[str]]


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
            timeout=300,
        )

    return run


def make_until(stage: str, *experiments: str) -> None:
    """Run the data stages in this process, up to `stage`."""
    import importlib

    for name in ("ingest", "curate", "score", "select"):
        module = importlib.import_module(f"winnow.{name}.stage")
        module.run(list(experiments)) if name == "select" else module.run()
        if name == stage:
            return


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
