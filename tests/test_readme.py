"""README.md and the pages beside it say what works: a command runs here, or its test is named.

    pytest tests/test_readme.py

The commands of ELSEWHERE are heavy and belong to another test or to CI; every other one is run, in
the order of the page, in a clone with a small corpus and a model of some thousand parameters.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tiny import ROOT

from winnow import STAGES
from winnow.__main__ import parser

pytestmark = pytest.mark.slow

NAMES = ("README.md", "docs/documented.md", "docs/runs.md", "CONTRIBUTING.md")
PAGES = {name: (ROOT / name).read_text() for name in NAMES}
TEXT = "\n".join(PAGES.values())
CONTAINER, PIPELINE = "tests/docker/test_container.py", "tests/pipeline/test_pipeline.py"
MLFLOW = "tests/pipeline/test_mlflow.py"

ELSEWHERE = {
    "make demo": (".ci/run", "make demo"),
    "make test": ("Makefile", '$(PYTEST) -m "not slow" $(ARGS)'),
    "make test-all": (".ci/run", "make test-all"),
    "make check": (".ci/run", "make check"),
    'make test ARGS="tests/score -x"': ("Makefile", '$(PYTEST) -m "not slow" $(ARGS)'),
    "make format": ("Makefile", "ruff format ."),
    ". .venv/bin/activate": ("Makefile", "-m venv --clear .venv"),
    "make full SOURCE=data": ("tests/test_readme.py", '"--dry-run", "full"'),
    "make ui": ("tests/test_readme.py", '"-o", ".venv", "ui"'),
    "docker build -f docker/Dockerfile -t winnow-cuda:0.1.0 .": (CONTAINER, '"docker", "build"'),
    "mlflow run . -e train -P exp=high_100k_1B": (CONTAINER, '"train", "-P", "exp=random_30'),
    "mlflow run . -e train -P exp=high_300_1M -P seed=0 -b host": (MLFLOW, '"-b", "host"'),
    "dvc plots show": (PIPELINE, '"dvc", "plots", "show"'),
    "dvc exp run -S analyze.confidence=0.95": (PIPELINE, '"-S", "analyze.confidence=0.95"'),
    "winnow score --compare": ("tests/analyze/test_scores.py", 'main(["score", "--compare"])'),
    "dvc exp show --only-changed": (PIPELINE, '"dvc", "exp", "show"'),
}
"""Command -> the file that runs it (or its like), and the text that shows so."""

SHORTENED = {"dvc exp run -S 'experiments=": " select", "dvc exp run -S 'ingest.keep": " select"}
"""How a command starts -> what is put behind it, so that it ends when the tiers are cut."""


def blocks(page: str, *languages: str) -> list[str]:
    """The fenced blocks of some languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [body for language, body in found if language in languages]


def commands(page: str) -> list[str]:
    """The shell commands, without comments, continued lines joined; of a console what is typed."""
    found = []
    for body in blocks(page, "bash", "sh", "console"):
        typed = re.findall(r"^\$ (.*)", body, re.MULTILINE)
        for line in typed or re.sub(r"\\\n\s*", "", body).splitlines():
            line = re.sub(r"(^|\s+)#\s.*", "", line).strip()
            found += [line] if line else []
    return found


def inline(start: str) -> list[str]:
    """The code within the text that starts with a word."""
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    codes = (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose))
    return [code for code in codes if code.startswith(f"{start} ")]


def environment() -> dict[str, str]:
    """This one, with an empty record of runs and someone to commit as."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_TRACKING")}
    who = {
        f"GIT_{role}_{part}": "test@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for part in ("NAME", "EMAIL")
    }
    return kept | who


def run(folder: Path, *command: str, **more: str) -> str:
    """Run a command to its end; what it wrote."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment() | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-4000:]}"
    return done.stdout


def shrink(folder: Path) -> None:
    """Make my.jsonl with scores, and the 1M model so small that a training takes seconds."""
    sample = (folder / "corpora/sample/textbook.jsonl").read_bytes().split(b"\n")
    scored = [
        row[:-1] + b', "my_score": %d}' % len(row) for row in sample[:2600] if row[-1:] == b"}"
    ]
    (folder / "my.jsonl").write_bytes(b"\n".join(scored) + b"\n")
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    small = {"num_layers": 1, "hidden_size": 16, "num_heads": 2}
    params["train"]["models"]["1M"].update(small)
    params["evaluate"].update(num_prompts=2, num_samples=1, max_new_tokens=4)
    yaml.dump(params, folder / "params.yaml")


@pytest.fixture(scope="module")
def clone(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which every command that is not ELSEWHERE has run."""
    here = tmp_path_factory.mktemp("readme")
    for command in commands(TEXT):
        if command in ELSEWHERE:
            continue
        command += next((end for start, end in SHORTENED.items() if command.startswith(start)), "")
        run(here, "bash", "-euo", "pipefail", "-c", command, URL=str(checkout))
        if command.startswith("git clone"):
            here /= "winnow"
            shrink(here)
    return here


def test_every_command_runs_or_its_test_is_named(clone: Path) -> None:
    assert (clone / "artifacts/select/experiments/matched_25pct_1M.json").exists()
    assert set(ELSEWHERE) <= set(commands(TEXT)), "no page has it any more"
    for command, (file, text) in ELSEWHERE.items():
        assert text in (ROOT / file).read_text(), f"{command}: {file} does not run it"


def test_the_columns_to_compare_are_in_the_record(clone: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{clone / 'mlflow.db'}")
    winnow = client.get_experiment_by_name("winnow").experiment_id
    (found,) = client.search_runs([winnow], 'tags.stage = "evaluate"')
    (advice,) = re.findall(r"^- \*\*Columns\*\*(.*?)^-", TEXT, re.MULTILINE | re.DOTALL)
    columns = set(re.findall(r"`([^`]+)`", advice))
    # Without a file of tasks, as here, no completion of one is measured.
    known = {*found.data.params, *found.data.metrics, "generation.task_completion"}
    assert len(columns) >= 8 and columns <= known
    assert found.info.run_name == "evaluate@low_300_1M-0"
    assert "`evaluate@rated_1k_1M_tune_150k_tokens-0`" in TEXT


@pytest.fixture(scope="module")
def champion(clone: Path) -> None:
    """The model that the Python loads, registered by a training and crowned as analyze does."""
    name = "all_100pct_1M_tune_150k_tokens"
    for arguments in (["select", name], ["train", name, "--seed", "0"]):
        run(clone, sys.executable, "-m", "winnow", *arguments)
    imports = "from winnow.record.registry import crown; from winnow.record.runs import Runs"
    run(clone, sys.executable, "-c", f"{imports}; crown(Runs().client, '{name}', {{0: 3.5}})")


@pytest.mark.parametrize("block", blocks(TEXT, "python"))
def test_the_python_runs(block: str, clone: Path, champion: None) -> None:
    assert run(clone, sys.executable, "-c", block).strip()


def test_full_chooses_declared_experiments(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from winnow.core.experiments import resolve_one

    said = run(clone, "make", "--dry-run", "full", "SOURCE=data")
    (listed,) = re.findall(r"experiments=\[([^\]]*)", said)
    names = [name.strip() for name in listed.split(",")]
    monkeypatch.chdir(ROOT)
    arms = [resolve_one(name) for name in names]
    for name in ("500M", "1B"):
        tiers = {arm.tier_name for arm in arms if arm.model_name == name}
        assert tiers >= {"ultra_10k", "high_100k", "medium_1M"}
    assert {"ultra_5k_500M", "low_100k_500M"} <= set(names)


def test_the_record_opens(clone: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # `-o .venv`: the environment that runs the tests takes the place of the one that make sets up.
    command = ["make", "-o", ".venv", "ui", f"BIN={Path(sys.executable).parent}", f"PORT={port}"]
    process = subprocess.Popen(
        command,
        cwd=clone,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    assert "MLflow" in page.read().decode()
                return
            except OSError:
                assert process.poll() is None and time.monotonic() < end, "no answer"
                time.sleep(0.5)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_selectors_targets_and_parameters_in_the_text_exist() -> None:
    for code in [*inline("winnow"), *(c for c in commands(TEXT) if c.startswith("winnow "))]:
        stage, *selectors = shlex.split(code)[1:]
        assert stage in {*STAGES, "plan"}
        if selectors:
            parser().parse_args([stage, *selectors])
    makefile = (ROOT / "Makefile").read_text()
    for code in [*inline("make"), *(c for c in commands(TEXT) if c.startswith("make "))]:
        for target in [word for word in shlex.split(code)[1:2] if "=" not in word]:
            assert f"\n{target}:" in makefile, code
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    for key in re.findall(r"-S ['\"]?([\w.]+)=", TEXT + makefile):
        found = params
        for part in key.split("."):
            assert part in found, f"params.yaml has no {key}"
            found = found[part]


@pytest.mark.parametrize("page", PAGES)
def test_no_link_is_dead_and_nothing_is_left_open(page: str) -> None:
    links = re.findall(r"\]\(\s*([^)#\s]+)", PAGES[page])
    assert [
        link
        for link in links
        if ":" not in link and not (ROOT / page).parent.joinpath(link).exists()
    ] == []
    assert "{{" not in PAGES[page]
