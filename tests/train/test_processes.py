"""Several processes train as one: the same losses and weights, one of them speaks and writes."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import ROOT, TINY, make_until, write_params

CELL = "high_40_tiny/0"


def _launch(number: int, config: str = "ddp") -> list[str]:
    """The command that trains one cell in several processes."""
    config = str(ROOT / f"docker/accelerate-{config}.yaml")
    options = ["--config_file", config, "--num_processes", str(number), "--main_process_port", "0"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *options]
    return [*launch, "-m", "winnow", "train", "high_40_tiny", "--seed", "0"]


def _prepare(project: Path) -> None:
    """Without dropout, whose random numbers are each process's own."""
    params: Any = copy.deepcopy(TINY)
    params["train"]["models"]["tiny"]["dropout"] = 0.0
    # Neither the micro-batch nor the last step can be divided by two or three.
    params["train"]["recipes"]["quick"] |= {"per_device_train_batch_size": 5, "eval_steps": 3}
    params["train"]["recipes"]["quick"] |= {"num_train_epochs": 6}
    write_params(project, params)
    make_until("select")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def _results(project: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    folder = project / "models" / CELL
    curve = json.loads((folder / "train_results.json").read_text())["curve"]
    return curve, load_file(folder / "model.safetensors")


def _distance(one: Any, two: Any) -> tuple[float, float]:
    """The largest differences of losses and of weights."""
    for here, there in zip(one[0], two[0], strict=True):
        assert (here["step"], here["tokens"]) == (there["step"], there["tokens"])
    names = ("train_loss", "validation_loss")
    losses = max(abs(a[n] - b[n]) for a, b in zip(one[0], two[0], strict=True) for n in names)
    weights = max(float((one[1][n] - two[1][n]).abs().max()) for n in one[1])
    return losses, weights


@pytest.mark.parametrize("number", [2, 3])
def test_processes_equal_one(project: Path, number: int) -> None:
    _prepare(project)
    _run([sys.executable, "-m", "winnow", "train", "high_40_tiny", "--seed", "0"])
    alone = _results(project)
    done = _run(_launch(number))
    assert done.stdout.count("train: high_40_tiny seed 0 on") == 1
    assert f"{number} processes in fp32" in done.stdout
    losses, weights = _distance(alone, _results(project))
    print(f"{number} processes: losses differ by {losses:.1e}, weights by {weights:.1e}")
    # Adam divides by the gradient's size: where that is near zero, rounding becomes a small step.
    assert losses < 1e-5 and weights < 1e-4


def test_killed_processes_go_on_to_the_same_bytes(project: Path) -> None:
    _prepare(project)
    command = _launch(2)
    _run(command)
    curve, weights = _results(project)
    state = project / ".winnow/train/high_40_tiny-0"
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(state.glob("step-*")):
        time.sleep(0.001)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _run(command)
    again, same = _results(project)
    assert [{**point, "seconds": 0} for point in again] == [{**p, "seconds": 0} for p in curve]
    assert all(torch.equal(weights[name], same[name]) for name in weights)
