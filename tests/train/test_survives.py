"""Training survives: damage, kills, a full disk and a second process; another recipe is refused.

    pytest tests/train/test_survives.py

docs/reliability.md has the figures of the whole campaign of kills: make bench-crashes.
"""

import copy
import json
import math
import os
import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults import train_kills
from tiny import (
    ROOT,
    TINY,
    Winnow,
    corpus,
    heeds_sigterm,
    make_until,
    need,
    write_jsonl,
    write_params,
)

from winnow.core import cards, files
from winnow.core.experiments import Model, Recipe
from winnow.models import gpt2, sequences
from winnow.train import checkpoint, interrupt, loop, stage

pytestmark = pytest.mark.slow

RECIPE = Recipe(
    learning_rate=0.003,
    num_train_epochs=2,
    per_device_train_batch_size=2,
    gradient_accumulation_steps=2,
    eval_steps=4,
    save_steps=3,
)
COMMAND = ("train", "high_40_tiny", "--seed", "1")
FILES = ("model.safetensors", "optimizer.safetensors", "position.json")


class Stop(Exception):
    """In the middle of an epoch."""


def plan_in(folder: Path) -> loop.Plan:
    """A tiny model with dropout, to train for 16 steps; its state is in the folder."""
    torch.manual_seed(0)
    dice = np.random.default_rng(0)
    documents = [np.append(dice.integers(1, 60, 40), 0).astype(np.int32) for _ in range(30)]
    packed = sequences.pack(documents, 48, 0)
    tiny = Model(num_layers=1, hidden_size=32, num_heads=2, context=48, dropout=0.1)
    return loop.Plan(
        model=gpt2.build(tiny, 64, 0),
        recipe=RECIPE,
        train=packed,
        validation=packed,
        seed=0,
        precision="fp32",
        state=folder,
        key={"recipe": "a"},
    )


def fit(folder: Path, stop_at: int | None = None) -> checkpoint.Position:
    """Train it to the end, or to a step."""

    def on_point(point: dict[str, float]) -> None:
        if point["step"] == stop_at:
            raise Stop

    return loop.train(plan_in(folder), on_point)


def outcome(folder: Path, position: checkpoint.Position) -> Any:
    """What two runs must have equal: the last checkpoint's tensors and the curve."""
    last = max(folder.glob("step-*"))
    curve = [point | {"seconds": 0.0} for point in position.curve]
    return {path.name: files.file_hash(path) for path in last.glob("*.safetensors")}, curve


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The outcome of an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    return outcome(folder, fit(folder))


def truncate(path: Path) -> None:
    """Half of it."""
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """One bit, as a disk does."""
    bytes_ = bytearray(path.read_bytes())
    bytes_[random.Random(path.name).randrange(len(bytes_))] ^= 4
    path.write_bytes(bytes_)


def zero(path: Path) -> None:
    """All bytes, as a lost block does."""
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("harm", [truncate, flip, zero, Path.unlink], ids=lambda f: f.__name__)
@pytest.mark.parametrize("file", [*FILES, cards.CARD])
def test_a_damaged_newest_checkpoint_is_passed_over(
    tmp_path: Path,
    wanted: Any,
    capsys: pytest.CaptureFixture[str],
    file: str,
    harm: Callable[[Path], None],
) -> None:
    with pytest.raises(Stop):
        fit(tmp_path, 8)
    found = sorted(path.name for path in tmp_path.glob("step-*"))
    assert found == ["step-000000003", "step-000000006"]
    harm(tmp_path / found[1] / file)
    position = fit(tmp_path)
    assert f"{found[1]} is damaged; going on from {found[0]}" in capsys.readouterr().err
    assert outcome(tmp_path, position) == wanted


def test_all_checkpoints_damaged(
    tmp_path: Path, wanted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Stop):
        fit(tmp_path, 8)
    for path in tmp_path.glob("step-*/card.json"):
        path.write_text("{}")
    assert outcome(tmp_path, fit(tmp_path)) == wanted
    assert capsys.readouterr().err.count("is damaged; going on") == 2


def test_no_generator_decides_what_a_resumed_run_gives(tmp_path: Path, wanted: Any) -> None:
    """Numpy's and Python's global ones are not drawn from, and torch's has any state."""
    before = random.getstate(), np.random.get_state()
    with pytest.raises(Stop):
        fit(tmp_path, 8)
    torch.manual_seed(99)
    assert outcome(tmp_path, fit(tmp_path)) == wanted
    after = random.getstate(), np.random.get_state()
    assert before[0] == after[0]
    assert (before[1][1] == after[1][1]).all() and before[1][2] == after[1][2]


class Bomb:
    """Unpickling it writes a file."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def test_a_pickle_in_place_of_tensors_is_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the card vouches for it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Stop):
        fit(tmp_path, 8)
    newest = max(tmp_path.glob("step-*"))
    for name in ("pytorch_model.bin", "optimizer.pt", "optimizer.safetensors"):
        torch.save(Bomb(), newest / name)
        (newest / f"{name}.pkl").write_bytes(pickle.dumps(Bomb()))
        card = files.read_sealed(newest / cards.CARD, "")
        card["files"][name] = {
            "bytes": (newest / name).stat().st_size,
            "sha256": files.file_hash(newest / name),
        }
        files.write_sealed(newest / cards.CARD, card)
    with pytest.raises(Exception, match="[Hh]eader"):
        fit(tmp_path)
    assert not Path("exploded").exists()


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose data stages are done; tests work in copies of it."""
    folder, before = tmp_path_factory.mktemp("selected"), Path.cwd()
    write_params(folder, TINY)
    write_jsonl(folder / "data/a.jsonl", corpus())
    os.chdir(folder)
    try:
        make_until("select")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def ready(selected: Path, project: Path) -> Path:
    """The project of this test, with its data stages done."""
    shutil.copytree(selected, project, dirs_exist_ok=True)
    return project


def tree(folder: Path) -> dict[str, str]:
    """The hash of every file."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): files.file_hash(path) for path in paths}


def start_and_kill(project: Path, after: str) -> None:
    """Start the command, and kill it when the path is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "winnow", *COMMAND],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(project.glob(after)):
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_a_checkpoint_from_which_the_same_command_goes_on(
    ready: Path, winnow: Winnow, number: signal.Signals
) -> None:
    params: Any = copy.deepcopy(TINY)
    params["train"]["recipes"]["quick"] |= {"num_train_epochs": 20, "save_steps": 10_000}
    write_params(ready, params)
    assert winnow(*COMMAND).returncode == 0
    undisturbed = results(ready)
    shutil.rmtree(ready / "models")
    process = subprocess.Popen(
        [sys.executable, "-m", "winnow", *COMMAND],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    state = ready / ".winnow/train/high_40_tiny-1"
    while not heeds_sigterm(process.pid):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 128 + number
    (newest,) = state.glob("step-*")
    steps = undisturbed[1][-1]["step"]
    place = f"step {int(newest.name[5:])} of {steps}"
    line = f"winnow train: stopped at {place}: the same command goes on from there"
    assert said.splitlines()[-1] == line and 0 < int(newest.name[5:]) < steps
    again = winnow(*COMMAND)
    assert again.returncode == 0 and f"train: high_40_tiny-1 goes on from {place}" in again.stdout
    assert results(ready) == undisturbed


def results(project: Path) -> tuple[str, list[dict[str, float]]]:
    """The final weights' hash, and the curve but for its times."""
    folder = project / "models/high_40_tiny/1"
    curve = json.loads((folder / "train_results.json").read_text())["curve"]
    return files.file_hash(folder / "model.safetensors"), [p | {"seconds": 0} for p in curve]


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C is not ignored, as it is in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_is_noted_once_and_its_second_ends_at_once(heeded: None) -> None:
    with pytest.raises(KeyboardInterrupt), interrupt.noted() as first:
        assert first() == 0
        signal.raise_signal(signal.SIGINT)
        assert first() == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal ended nothing")


def test_a_signal_that_came_too_late_is_sent_again(heeded: None) -> None:
    with pytest.raises(KeyboardInterrupt), interrupt.noted():
        signal.raise_signal(signal.SIGINT)


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt.noted() as first:
            signal.raise_signal(signal.SIGINT)
            assert first() == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_training_ends_at_the_first_loss_that_is_not_finite(ready: Path, winnow: Winnow) -> None:
    params: Any = copy.deepcopy(TINY)
    params["train"]["recipes"]["quick"] |= {"learning_rate": 1e30, "save_steps": 1}
    write_params(ready, params)
    done = winnow(*COMMAND)
    state = Path(".winnow/train/high_40_tiny-1")
    assert done.returncode == 2 and done.stderr.splitlines()[-1] == (
        "winnow train: high_40_tiny-1: step 2 of 34: the loss is not finite (nan): lower "
        "train.recipes.quick.learning_rate or name another train.init, and remove "
        f"{state} to start anew"
    )
    assert [path.name for path in (ready / state).glob("step-*")] == ["step-000000001"]
    assert not (ready / "models").exists()
    with sqlite3.connect(ready / "mlflow.db") as database:
        trained = database.execute("select status from runs where name like 'train@%'")
        assert trained.fetchall() == [("FAILED",)]


@pytest.mark.parametrize("spoilt", ["loss", "gradient's norm"])
def test_the_first_step_that_went_wrong_is_named_where_several_are_read_at_once(
    tmp_path: Path, spoilt: str
) -> None:
    plan = plan_in(tmp_path)
    run, weight = loop.Run(plan), next(plan.model.parameters())
    for step, batch in enumerate(loop.batches(plan.train, np.arange(24), 4), 1):
        if step == 4 and spoilt == "loss":
            weight.data.fill_(math.inf)
        if step == 4 and spoilt != "loss":
            weight.register_hook(lambda gradient: gradient * math.inf)
        run.step(batch)
    with pytest.raises(FloatingPointError, match=f"step 4 of 16: the {spoilt} is not finite"):
        run.look()


def test_another_recipe_or_data_is_refused_by_name(ready: Path) -> None:
    state = ready / ".winnow/train/high_40_tiny-1"
    start_and_kill(ready, ".winnow/train/*/step-000000010")
    before = tree(state)
    params: Any = copy.deepcopy(TINY)
    params["train"]["recipes"]["quick"]["learning_rate"] = 0.001
    write_params(ready, params)
    with pytest.raises(ValueError) as refused:
        stage.run(["high_40_tiny"], 1, False)
    assert tree(state) == before and str(refused.value) == (
        "unfinished work in .winnow/train/high_40_tiny-1 had another recipe.learning_rate (0.003, "
        "now 0.001): go back to it, or remove that folder to start anew"
    )
    write_params(ready, TINY)
    write_jsonl(ready / "data/a.jsonl", corpus(seed=1))
    make_until("select")
    with pytest.raises(ValueError, match="had another data, tokenizer: go back"):
        stage.run(["high_40_tiny"], 1, False)
    assert tree(state) == before


def test_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another code is refused once there is a checkpoint; before, there is nothing to lose."""
    key = {"code": "a" * 64, "recipe": {"batch": 4}, "seed": 0}
    folder = tmp_path / "state"
    checkpoint.claim(folder, key)
    (folder / "token").touch()
    (folder / ".token.1.tmp").touch()
    (folder / ".step-000000001.partial").mkdir()
    checkpoint.claim(folder, key)
    assert (folder / "token").exists() and not list(folder.glob(".*"))
    checkpoint.claim(folder, key | {"recipe": {"batch": 2}})
    assert "had another recipe.batch (4, now 2); starting anew" in capsys.readouterr().err
    assert not (folder / "token").exists()
    (folder / "step-000000001").mkdir()
    with pytest.raises(ValueError, match=r"another code, recipe.batch \(2, now 4\): go back"):
        checkpoint.claim(folder, key | {"code": "b" * 64})
    for text in ("", "[]", "null", '{"recipe": NaN'):
        (folder / "key.json").write_text(text)
        with pytest.raises(ValueError, match="had another key, which cannot be read: go back"):
            checkpoint.claim(folder, key)
    assert (folder / "step-000000001").exists()


def test_a_second_process_is_refused_naming_the_first(ready: Path) -> None:
    held = f"train-high_40_tiny-1 is in use by process {os.getpid()}"
    with cards.lock("train-high_40_tiny-1"), pytest.raises(ValueError, match=held):
        stage.run(["high_40_tiny"], 1, False)


def test_killed_at_its_points_and_at_random(ready: Path) -> None:
    """SIGKILL in mid-epoch, mid-accumulation, while saving and pruning: benchmarks/crashes.py has
    all of the points."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, train_kills.__file__, "6", "1"],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(kill["killed"] for kill in found) >= 6
    for kill in found:
        assert kill["whole"] and kill["resumed"] and kill["equal"] and not kill["debris"], kill
        assert kill["redone"] <= 5, kill


def test_a_full_disk_while_saving(tmp_path: Path, wanted: Any) -> None:
    """The checkpoints before it stay whole, and the next run goes on from them to the same bytes.

    tests/pipeline/test_bad_input.py has the line that a user sees.
    """
    need(os.geteuid() == 0 and shutil.which("mount") is not None, "mounting a disk needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    need(not subprocess.run(mount, capture_output=True).returncode, "no disk can be mounted here")
    try:
        with pytest.raises(Stop):
            fit(tmp_path / "state", 8)
        whole = tree(tmp_path / "state")
        size = sum(path.stat().st_size for path in (tmp_path / "state").glob("step-*6/*"))
        for room in range(0, size, size // 8):
            filler = tmp_path / "filler"
            filler.write_bytes(bytes(max(0, shutil.disk_usage(tmp_path).free - room)))
            with pytest.raises(Exception, match="No space left on device"):
                fit(tmp_path / "state")
            assert tree(tmp_path / "state") == whole
            filler.unlink()
        assert outcome(tmp_path / "state", fit(tmp_path / "state")) == wanted
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
