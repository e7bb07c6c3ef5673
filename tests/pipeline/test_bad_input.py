"""What goes wrong for users, by real processes: an exit code, one line that helps, no debris.

pytest tests/pipeline/test_bad_input.py
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML
from tiny import ROOT, Winnow, change, corpus, make_until, need, wait_in_score, write_jsonl

from winnow.core import cards

pytestmark = pytest.mark.slow

Done = subprocess.CompletedProcess[str]


def said(done: Done, stage: str) -> str:
    """The one line of the stage, which ends its stderr; progress bars may stand before it."""
    lines = [line for line in re.split(r"[\r\n]+", done.stderr) if line.strip()]
    assert "Traceback" not in done.stdout + done.stderr, done.stderr[-3000:]
    assert lines and lines[-1].startswith(f"winnow {stage}: "), done.stderr[-3000:]
    assert done.stderr.endswith("\n") and done.stderr.count(f"winnow {stage}: ") == 1
    return lines[-1]


def refused(done: Done, stage: str, *words: str) -> None:
    """Exit code 2 and one line that holds all the words."""
    line = said(done, stage)
    assert done.returncode == 2, line
    for word in words:
        assert word in line, line


def whole(project: Path) -> None:
    """Nothing half-written: no temporary name anywhere, and every card is true."""
    for root in ("artifacts", "models", "results", ".winnow"):
        for path in (project / root).rglob("*"):
            assert not path.name.endswith((".tmp", ".partial", ".gone")), path
            assert path.name != cards.CARD or cards.is_complete(path.parent), path


def test_help_needs_none_of_the_heavy_libraries() -> None:
    program = "import sys, winnow.__main__ as m; m.parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "winnow" in loaded
    assert not loaded & {"torch", "transformers", "mlflow", "pandas", "numpy", "datasets", "dvc"}


@pytest.mark.parametrize(
    ("path", "value", "stage", "words"),
    [
        ("ingest.source", "data/b.jsonl", "ingest", ["ingest.source", "no file", "data/b.jsonl"]),
        ("ingest.sourse", "data", "ingest", ["unknown key ingest.sourse", "near: source"]),
        ("ingest.max_line_mb", "big", "ingest", ["ingest.max_line_mb", "whole number", "'big'"]),
        ("scores", {}, "ingest", ["unknown key scores", "near: score"]),
        ("score", {"scorers": 1.5}, "score", ["score.scorers", "a list", "1.5"]),
    ],
)
def test_a_wrong_value_is_named(
    project: Path, winnow: Winnow, path: str, value: Any, stage: str, words: list[str]
) -> None:
    change(project, path, value)
    refused(winnow(stage), stage, *words)
    assert not (project / "artifacts").exists()


@pytest.mark.parametrize("text", [None, "seeds: [0\n", "just text\n"])
def test_a_broken_params_file_is_one_line(project: Path, winnow: Winnow, text: str | None) -> None:
    (project / "params.yaml").unlink()
    if text:
        (project / "params.yaml").write_text(text)
    refused(winnow("ingest"), "ingest", "params.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["no usable row", "empty"]),
        (b'{"text": "t", "label": 1}\n' * 3, ["no usable row", "3 records", "text, label"]),
        (b'{"instruction": "i", "output"', ["no usable row", "a.jsonl:1", "malformed JSON"]),
    ],
    ids=["empty", "unmappable", "truncated"],
)
def test_a_corpus_without_rows(
    project: Path, winnow: Winnow, content: bytes, words: list[str]
) -> None:
    assert winnow("ingest").returncode == 0
    (project / "data/a.jsonl").write_bytes(content)
    refused(winnow("ingest"), "ingest", *words)
    whole(project)
    card = cards.read_card(project / "artifacts/ingest", "winnow ingest")
    assert card["ledger"]["rows_out"] == 160


def test_names_and_numbers_that_do_not_fit_the_corpus(project: Path, winnow: Winnow) -> None:
    refused(winnow("curate"), "curate", "artifacts/ingest", "winnow ingest")
    make_until("select")
    before = (project / "artifacts/select/card.json").read_bytes()
    wanted = "unknown experiment 'hihg_40_tiny'; nearest: high_40_tiny"
    refused(winnow("select", "hihg_40_tiny"), "select", wanted)
    wanted = "tier huge_9k wants 9000 rows, the curated pool has 120"
    refused(winnow("select", "huge_9k_tiny"), "select", wanted)
    assert (project / "artifacts/select/card.json").read_bytes() == before
    whole(project)


HOLD = """
import time
from winnow.core import cards
with cards.lock("score"):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_folder_that_another_process_works_on(project: Path, winnow: Winnow) -> None:
    make_until("curate")
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        refused(winnow("score"), "score", f"in use by process {holder.pid}")
        assert not (project / "artifacts/score").exists()
        holder.kill()
    assert winnow("score").returncode == 0


def interrupt(project: Path, begun: str, *arguments: str, **environment: str) -> Done:
    """Start a stage and press Ctrl-C once a path like `begun` is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "winnow", *arguments],
        cwd=project,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has made all its children deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    end = time.monotonic() + 100
    while not list(project.glob(begun)):
        assert process.poll() is None and time.monotonic() < end, "it was never at work"
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def stopped(done: Done, stage: str, place: str) -> None:
    """Exit code 130 and one line."""
    assert done.returncode == 130 and re.search(f"stopped{place}", said(done, stage))


def test_ctrl_c_in_score(project: Path, winnow: Winnow) -> None:
    write_jsonl(project / "data/a.jsonl", corpus(2000))
    make_until("curate")
    done = interrupt(project, "begun", "score", **wait_in_score(project))
    stopped(done, "score", "; the same command goes on from here$")
    assert not (project / "artifacts/score").exists()
    whole(project)
    change(project, "score.scorers", [{"name": "documented"}])
    done = winnow("score")
    assert done.returncode == 0 and "score: 2000 rows" in done.stdout


def test_ctrl_c_in_train(project: Path, winnow: Winnow) -> None:
    change(project, "train.recipes.quick.num_train_epochs", 4)
    make_until("select")
    command = ("train", "high_40_tiny", "--seed", "0")
    stopped(
        interrupt(project, ".winnow/train/*/step-*/card.json", *command),
        "train",
        r" at step \d+ of \d+: the same command goes on from there$",
    )
    assert not (project / "models").exists()
    whole(project)
    token = (project / ".winnow/train/high_40_tiny-0/token").read_text()
    assert winnow(*command).returncode == 0
    config = json.loads((project / "models/high_40_tiny/0/experiment_config.json").read_text())
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    assert client.get_run(config["run_id"]).data.tags["winnow.token"] == token
    whole(project)


Fill = Callable[[int], None]


@pytest.fixture
def fill(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fill]:
    """Puts the project on a small disk of its own, and leaves it so many KiB at each call."""
    need(os.geteuid() == 0 and shutil.which("mount") is not None, "mounting a disk needs root")
    saved = {path.name: path.read_bytes() for path in (project / "params.yaml",)}
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(project)]
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
    need(mounted, "this system lets no disk be mounted")
    monkeypatch.chdir(project)
    (project / "params.yaml").write_bytes(saved["params.yaml"])
    write_jsonl(project / "data/a.jsonl", corpus())

    def leave(kilobytes: int) -> None:
        filler = project / "filler"
        filler.unlink(missing_ok=True)
        free = shutil.disk_usage(project).free - kilobytes * 1024
        with filler.open("wb") as file:
            file.write(bytes(max(0, free)))

    try:
        yield leave
    finally:
        os.chdir("/")
        subprocess.run(["umount", "-l", str(project)], check=True)


def make_space(project: Path) -> None:
    """As a user would."""
    (project / "filler").unlink()


def test_a_full_disk_in_the_data_stages(project: Path, winnow: Winnow, fill: Fill) -> None:
    make_until("select")
    state = project / ".winnow"
    sites = {"ingest": (0, 8), "curate": (0, 24), "score": (0, 8), "select": (0, 80)}
    for stage, rooms in sites.items():
        shutil.rmtree(state)
        before = (project / "artifacts" / stage / "card.json").read_bytes()
        for room in rooms:
            fill(room)
            refused(winnow(stage), stage, "o space left")
            assert (project / "artifacts" / stage / "card.json").read_bytes() == before
            whole(project)
        make_space(project)
        assert winnow(stage).returncode == 0
        whole(project)


def test_a_full_disk_in_train(project: Path, winnow: Winnow, fill: Fill) -> None:
    """First there is no space for the record of runs, then none for a checkpoint."""
    change(project, "train.models.tiny.hidden_size", 64)
    make_until("select")
    command = ("train", "high_40_tiny", "--seed", "0")
    for room in (100, 1200):
        fill(room)
        refused(winnow(*command), "train", "o space left")
        assert not (project / "models").exists()
        whole(project)
    make_space(project)
    done = winnow(*command)
    assert done.returncode == 0, done.stderr[-3000:]
    assert cards.is_complete(project / "models/high_40_tiny/0")
    whole(project)


@pytest.mark.parametrize("text", ["$(touch canary)", "x'; touch canary; '", 'x"\ntouch canary; "'])
def test_no_text_of_params_reaches_the_shell(project: Path, text: str) -> None:
    # A detour that DVC cuts short, so that the file that a training depends on is there.
    change(project, "experiments", [f"{text}/../card"])
    train = YAML().load(ROOT / "dvc.yaml")["stages"]["train"]
    train["do"] |= {"deps": train["do"]["deps"][:1], "params": ["seeds"]}
    YAML().dump({"stages": {"train": train}}, project / "dvc.yaml")
    card = project / "artifacts/select/experiments/card.json"
    card.parent.mkdir(parents=True)
    card.write_text("{}")
    before = {path.name for path in project.iterdir()}
    subprocess.run(["dvc", "init", "-q", "--no-scm"], check=True)
    command = ["dvc", "repro", "--single-item", "train"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert "winnow train: params.yaml: experiments[0]: expected text" in done.stderr, done.stderr
    assert done.returncode != 0
    left = {path.name for path in project.iterdir()} - before
    assert left <= {".dvc", ".dvcignore", "models"}, left
