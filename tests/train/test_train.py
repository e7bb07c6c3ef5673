"""Training: packing loses nothing, a killed run ends with the same bytes, refusals come first."""

import copy
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import ROOT, TINY, Winnow, make_until, write_params

from winnow.core.experiments import Model, Recipe
from winnow.models import gpt2, loss, sequences
from winnow.train import loop, objectives, stage

RECIPE = Recipe(
    learning_rate=0.003,
    num_train_epochs=2,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=1,
    eval_steps=100,
    save_steps=100,
)


@given(
    st.lists(st.lists(st.integers(1, 50), max_size=30), min_size=1, max_size=9), st.integers(1, 20)
)
def test_packing_makes_every_token_a_target_once(texts: list[list[int]], length: int) -> None:
    documents = [np.array([*text, 0], dtype=np.int32) for text in texts]
    packed = sequences.pack(documents, length, 0)[:]
    assert packed.inputs.shape == packed.labels.shape == packed.positions.shape
    found = []
    for inputs, labels, positions in zip(
        packed.inputs, packed.labels, packed.positions, strict=True
    ):
        starts = [*np.flatnonzero(positions == 0), length]
        for start, stop in zip(starts, starts[1:], strict=False):
            piece = labels[start:stop]
            assert positions[start:stop].tolist() == list(range(stop - start))
            if (piece == sequences.IGNORED).all():
                continue
            assert inputs[start + 1 : stop].tolist() == piece[:-1].tolist()
            found.append(piece.tolist())
    pieces = [
        document[i : i + length].tolist()
        for document in documents
        for i in range(0, len(document), length)
    ]
    assert sorted(found) == sorted(pieces)
    assert packed.num_targets == sum(map(len, documents))


def test_packing_wastes_little() -> None:
    dice = np.random.default_rng(0)
    documents = [np.ones(size, dtype=np.int32) for size in dice.integers(10, 200, 3000)]
    packed = sequences.pack(documents, 256, 0)[:]
    assert packed.num_targets / packed.labels.size > 0.98


def test_packed_documents_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    tiny = Model(num_layers=2, hidden_size=32, num_heads=2, context=32)
    model = gpt2.build(tiny, 64, 0).eval()
    dice = np.random.default_rng(0)
    documents = [np.append(dice.integers(1, 60, size), 0).astype(np.int32) for size in (9, 12, 5)]
    together = sequences.pack(documents, 32, 0)[:]
    assert len(together) == 1
    apart = sum(
        objectives.forward(
            loss.WithLoss(model), sequences.pack([document], 32, 0)[:], "fp32"
        ).item()
        for document in documents
    )
    assert objectives.forward(loss.WithLoss(model), together, "fp32").item() == pytest.approx(
        apart, abs=1e-4
    )


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [loop.learning_rate(step, 100, RECIPE) for step in range(100)]
    assert max(rates) == RECIPE.learning_rate and rates.index(max(rates)) == 9
    assert rates[0] == pytest.approx(RECIPE.learning_rate / 10)
    assert 0 < rates[-1] < RECIPE.learning_rate / 50
    assert loop.learning_rate(0, 3, RECIPE) == RECIPE.learning_rate


def test_the_counted_parameters_are_those_of_the_model() -> None:
    tiny = Model(num_layers=2, hidden_size=32, num_heads=2, context=64)
    built = gpt2.build(tiny, 300, 0)
    assert sum(p.numel() for p in built.parameters()) == gpt2.num_parameters(tiny, 300)
    assert built.config.vocab_size == 320


def _beginning() -> tuple[torch.nn.Module, sequences.Sequences]:
    """A tiny model and 30 sequences for it."""
    torch.manual_seed(0)
    dice = np.random.default_rng(0)
    documents = [np.append(dice.integers(1, 60, 40), 0).astype(np.int32) for _ in range(30)]
    tiny = Model(num_layers=1, hidden_size=32, num_heads=2, context=48)
    return gpt2.build(tiny, 64, 0), sequences.pack(documents, 48, 0)[:]


def _curve(folder: Path, batch: int, accumulation: int) -> list[dict[str, float]]:
    model, packed = _beginning()
    recipe = Recipe(
        learning_rate=0.003,
        num_train_epochs=2,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        eval_steps=5,
        save_steps=100,
    )
    plan = loop.Plan(
        model=model,
        recipe=recipe,
        train=packed,
        validation=packed,
        seed=0,
        precision="fp32",
        state=folder,
        key={},
    )
    return loop.train(plan, lambda point: None).curve


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_accumulation_changes_nothing_but_rounding(tmp_path: Path, micro: int) -> None:
    whole, parts = _curve(tmp_path / "a", 8, 1), _curve(tmp_path / "b", micro, 8 // micro)
    for one, two in zip(whole, parts, strict=True):
        assert one["tokens"] == two["tokens"]
        assert one["train_loss"] == pytest.approx(two["train_loss"], abs=1e-5)
        assert one["validation_loss"] == pytest.approx(two["validation_loss"], abs=1e-5)


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_the_loss_and_its_gradient_are_those_of_whole_logits(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "ROWS", 7)  # at a time, and a rest
    monkeypatch.setattr(loss, "LOGITS_CPU", 0)
    torch.manual_seed(0)
    tiny = Model(num_layers=2, hidden_size=32, num_heads=2, context=48)
    model = gpt2.build(tiny, 60, 0)
    dice = np.random.default_rng(0)
    documents = [np.append(dice.integers(1, 60, size), 0).astype(np.int32) for size in (30, 45, 9)]
    batch = sequences.pack(documents, 48, 0)[:]
    assert (batch.labels == sequences.IGNORED).any()
    summed = objectives.forward(loss.WithLoss(model), batch, kind)
    (summed / 3).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    inputs, positions, labels = objectives.tensors(batch, torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
        logits = model(input_ids=inputs, position_ids=positions, use_cache=False).logits
    whole = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1),
        labels.flatten(),
        ignore_index=sequences.IGNORED,
        reduction="sum",
    )
    (whole / 3).backward()
    assert summed.item() == pytest.approx(whole.item(), rel=1e-6)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        off = (found[name] - parameter.grad).norm() / parameter.grad.norm()
        assert off < (1e-5 if kind == "fp32" else 0.02), (name, off)


def test_the_golden_loss_curve(tmp_path: Path) -> None:
    golden = json.loads((ROOT / "tests/golden/loss_curve.json").read_text())
    curve = {point["step"]: point for point in _curve(tmp_path, 4, 1)}
    losses = [curve[step]["validation_loss"] for step in (5, 10, 15, 16)]
    assert losses == pytest.approx(golden, rel=1e-3)
    assert losses[-1] < losses[0]


def test_a_point_says_the_learning_rate_and_the_norm_of_the_gradient(tmp_path: Path) -> None:
    curve = _curve(tmp_path, 4, 1)
    assert [point["step"] for point in curve] == list(range(1, 17))  # a tenth of 16, or less
    rates = [loop.learning_rate(step, 16, RECIPE) for step in range(16)]
    assert [point["learning_rate"] for point in curve] == rates
    model, packed = _beginning()
    batch = packed[sequences.epoch_order(len(packed), 0, 0)[:4]]
    (objectives.forward(loss.WithLoss(model), batch, "fp32") / batch.num_targets).backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert curve[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-5)
    assert curve[1]["grad_norm"] != curve[0]["grad_norm"]


def _weights(project: Path, cell: str) -> str:
    return hashlib.sha256(
        (project / "models" / cell / "model.safetensors").read_bytes()
    ).hexdigest()


def _results(project: Path, cell: str) -> Any:
    found = json.loads((project / "models" / cell / "train_results.json").read_text())
    return [{k: v for k, v in point.items() if k != "seconds"} for point in found["curve"]]


def _long(project: Path) -> None:
    params: Any = copy.deepcopy(TINY)
    params["train"]["recipes"]["quick"] |= {"num_train_epochs": 12, "save_steps": 7}
    write_params(project, params)


def test_sigkill_then_the_same_command_gives_the_same_bytes(project: Path, winnow: Winnow) -> None:
    _long(project)
    make_until("select")
    command = [sys.executable, "-m", "winnow", "train", "high_40_tiny", "--seed", "1"]
    assert winnow(*command[3:]).returncode == 0
    weights, curve = _weights(project, "high_40_tiny/1"), _results(project, "high_40_tiny/1")
    shutil.rmtree(project / "models")
    state, kills = project / ".winnow/train/high_40_tiny-1", 0
    for step in (7, 35, 77):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(
            int(path.name[5:]) >= step for path in state.glob("step-*")
        ):
            time.sleep(0.001)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        assert list(state.glob("step-*"))
    assert kills == 3 and not (project / "models").exists()
    newest = max(state.glob("step-*"))
    shutil.copytree(newest, state / "step-999999999")
    (state / "step-999999999/model.safetensors").write_bytes(b"torn")
    done = winnow(*command[3:])
    assert done.returncode == 0 and "is damaged; going on from step-" in done.stderr
    assert _weights(project, "high_40_tiny/1") == weights
    assert _results(project, "high_40_tiny/1") == curve
    assert not state.exists()
    _one_run_with_every_point_once(project, len(curve))


def _one_run_with_every_point_once(project: Path, points: int) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("winnow")
    runs = client.search_runs([experiment.experiment_id], "tags.stage = 'train'")
    assert sorted(run.info.status for run in runs) == ["FINISHED", "FINISHED"]
    assert {run.info.run_name for run in runs} == {"train@high_40_tiny-1"}
    for run in runs:
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "validation_loss")]
        assert len(steps) == len(set(steps)) >= points


def test_seeds_in_one_process_are_those_of_their_own(project: Path) -> None:
    make_until("select")
    stage.run(["high_40_tiny"], None, False)
    together = [_weights(project, f"high_40_tiny/{seed}") for seed in (0, 1)]
    assert together[0] != together[1]
    shutil.rmtree(project / "models")
    stage.run(["high_40_tiny"], 1, False)
    assert _weights(project, "high_40_tiny/1") == together[1]


def test_skip_existing_knows_what_changed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_until("select")
    stage.run(["high_40_tiny"], 0, True)
    capsys.readouterr()
    stage.run(["high_40_tiny"], 0, True)
    assert "is done and unchanged" in capsys.readouterr().out
    params: Any = copy.deepcopy(TINY)
    params["train"]["recipes"]["quick"]["learning_rate"] = 0.001
    write_params(project, params)
    stage.run(["high_40_tiny"], 0, True)
    assert "unchanged" not in capsys.readouterr().out


def test_what_is_recorded_and_registered(project: Path) -> None:
    import mlflow

    make_until("select")
    stage.run(["high_40_tiny"], 0, False)
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    (version,) = client.search_model_versions("name='high_40_tiny'")
    run = client.get_run(version.run_id)
    assert run.data.params["recipe.learning_rate"] == "0.003"
    assert run.data.params["num_rows"] == "40" and run.data.tags["tier"] == "high_40"
    assert run.inputs.dataset_inputs[0].dataset.name == "high_40"
    config = json.loads((project / "models/high_40_tiny/0/experiment_config.json").read_text())
    assert config["run_id"] == version.run_id
    assert config["data_sha256"].startswith(run.inputs.dataset_inputs[0].dataset.digest)
    mlflow.set_tracking_uri(f"sqlite:///{project}/mlflow.db")
    pipeline = mlflow.transformers.load_model(f"models:/high_40_tiny/{version.version}")
    assert pipeline("river", max_new_tokens=3)[0]["generated_text"].startswith("river")


def test_refusals_are_one_line(project: Path, winnow: Winnow) -> None:
    for arguments, words in (
        (["high_40_tny"], "unknown experiment 'high_40_tny'; nearest: high_40_tiny"),
        (["high_40_tiny"], "artifacts/select is missing or unfinished: run `winnow select high"),
    ):
        done = winnow("train", *arguments)
        assert done.returncode == 2 and words in done.stderr
        assert done.stderr.count("\n") == 1
    make_until("select")
    params: Any = copy.deepcopy(TINY)
    params["train"]["max_hours"] = 1e-4
    write_params(project, params)
    done = winnow("train", "high_40_1B", "--seed", "0")
    assert done.returncode == 2 and "train.max_hours is 0.0001" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr and not (project / "models").exists()
