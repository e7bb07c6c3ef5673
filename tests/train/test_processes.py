"""Several processes train as one: the same losses and weights, one of them speaks and writes."""

import copy
import json
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file
from tiny import ROOT, TINY, heeds_sigterm, make_until, write_pairs, write_params
from tiny_models import declare_tiny

from winnow.train import stage

pytestmark = pytest.mark.slow

AS_ON_GPUS = """
import sys
from accelerate.state import DistributedType, PartialState

PartialState(cpu=True)
PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
from winnow.__main__ import main
from winnow.train import loop

assert loop.Accelerator().distributed_type == DistributedType.FSDP
sys.exit(main(sys.argv[1:]))
"""
"""Accelerate lets processes share weights on accelerators only: tell it that these are some."""


def _command(project: Path, config: str) -> list[str]:
    """Train one cell in two processes on this machine's CPU."""
    (project / "as_on_gpus.py").write_text(AS_ON_GPUS)
    path = str(ROOT / f"docker/accelerate-{config}.yaml")
    options = ["--config_file", path, "--num_processes", "2", "--main_process_port", "0"]
    program = {"ddp": ["-m", "winnow"], "fsdp": ["as_on_gpus.py"]}[config]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *options, *program]
    return [*launch, "train", "high_40_tiny", "--seed", "0"]


def _run(command: list[str]) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("train: high_40_tiny seed 0 on") == 1
    assert "2 processes in fp32" in done.stdout
    return _results()


def _kill(command: list[str]) -> None:
    """Start the command and kill all its processes behind their first checkpoint."""
    state = Path(".winnow/train/high_40_tiny-0")
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(state.glob("step-*")):
        time.sleep(0.001)
    assert process.poll() is None
    # The launcher gives each of its processes a session of its own.
    family = [*psutil.Process(process.pid).children(recursive=True), process]
    for member in family:
        member.kill()
    process.wait()
    psutil.wait_procs(family[:-1])


def test_all_processes_stop_at_one_step_when_one_is_told_to(project: Path) -> None:
    params: Any = copy.deepcopy(TINY)
    recipe = {"num_train_epochs": 30, "eval_steps": 10_000, "save_steps": 10_000}
    params["train"]["recipes"]["quick"] |= recipe
    write_params(project, params)
    make_until("select")
    command, state = _command(project, "ddp"), Path(".winnow/train/high_40_tiny-0")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    both: list[psutil.Process] = []
    while len(both) < 2 or not all(heeds_sigterm(one.pid) for one in both):
        assert process.poll() is None
        time.sleep(0.001)
        both = psutil.Process(process.pid).children()
    both[-1].terminate()
    _, said = process.communicate(timeout=100)
    (newest,) = state.glob("step-*")
    places = re.findall(r"winnow train: stopped at step (\d+) of \d+: the same command", said)
    assert places == [str(int(newest.name[5:]))] * 2
    with sqlite3.connect("mlflow.db") as database:
        trained = database.execute("select status from runs where name like 'train@%'")
        assert trained.fetchall() == [("KILLED",)]


def _results() -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    folder = Path("models/high_40_tiny/0")
    curve = json.loads((folder / "train_results.json").read_text())["curve"]
    (path,) = folder.glob("*.safetensors")
    weights = load_file(path)
    return [{**point, "seconds": 0} for point in curve], weights


@pytest.mark.parametrize(
    ("kind", "config"),
    [("gpt2", "fsdp"), ("llama", "ddp"), ("t5", "fsdp"), ("kto", "ddp")],
)
def test_two_killed_processes_equal_one_undisturbed(project: Path, config: str, kind: str) -> None:
    # Neither a micro-batch nor the last one of an epoch can be halved.
    recipe = {"per_device_train_batch_size": 5, "num_train_epochs": 6, "eval_steps": 3}
    params: Any = write_pairs(project) if kind == "kto" else copy.deepcopy(TINY)
    make_until("curate")
    # Dropout's random numbers are each process's own.
    if kind in ("gpt2", "kto"):
        params["experiments"] = ["high_40_tiny"]
        params["train"]["models"]["tiny"]["dropout"] = 0.0
        recipe |= {"objective": {"name": "kto"}} if kind == "kto" else {}
        params["train"]["recipes"]["quick"] |= recipe
    else:
        declare_tiny(project, kind, dropout=0.0, **recipe)
        params = YAML(typ="safe").load(project / "params.yaml")
    params["train"]["precision"] = "fp32"
    write_params(project, params)
    make_until("select")
    stage.run(["high_40_tiny"], 0, False)
    curve, weights = _results()
    command = _command(project, config)
    _kill(command)
    together, shared = _run(command)
    for one, two in zip(curve, together, strict=True):
        assert (one["step"], one["tokens"]) == (two["step"], two["tokens"])
    names = ("train_loss", "validation_loss")
    off = max(abs(a[n] - b[n]) for a, b in zip(curve, together, strict=True) for n in names)
    far = max(float((weights[name] - shared[name]).abs().max()) for name in weights)
    print(f"{config}: losses differ by {off:.1e}, weights by {far:.1e}")
    # Adam divides by the gradient's size: where that is near zero, rounding becomes a step.
    assert off < 1e-5 and far < 1e-4
    if config == "ddp":
        again, same = _run(command)
        assert again == together
        assert all(torch.equal(same[name], shared[name]) for name in shared)
