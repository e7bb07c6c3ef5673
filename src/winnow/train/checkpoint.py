"""Checkpoints: trained weights, optimizer and position; complete or not there.

Each is a folder with a card, written under another name and renamed. The newest two stay, so that
one that is damaged has one before it; older ones are removed after the newest is durable. Tensors
are in safetensors: nothing here is ever unpickled. No state of a generator is among them: a step
draws from the seed, its own number and the process's.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from winnow.core import cards, files
from winnow.core.errors import Refusal

KEPT = 2
"""Checkpoints that stay."""


@dataclass(slots=True)
class Position:
    """Where a run is."""

    step: int = 0
    """Optimizer steps done."""
    tokens: int = 0
    """Tokens trained on."""
    seconds: float = 0.0
    """Training time, over all sittings."""
    loss_sum: float = 0.0
    """Sum of the training loss over tokens, or pairs, since the last point of the curve."""
    loss_count: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that processes share (FSDP), put together by all of them; another as it is."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def _like(tensor: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """This process's part of a whole tensor, where the tensor in its place is shared."""
    if not isinstance(shared, DTensor) or tensor.shape != shared.shape:
        return tensor
    mesh, placements = shared.device_mesh, shared.placements
    return distribute_tensor(tensor.to(shared.device), mesh, placements, src_data_rank=None)


def _trained(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The parameters that a training changes: beside an adapter nothing else."""
    return (pair for pair in model.named_parameters() if pair[1].requires_grad)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    states = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": whole(torch.as_tensor(value)).contiguous()
        for index, state in states.items()
        for name, value in state.items()
    }


def claim(folder: Path, key: dict[str, Any]) -> None:
    """Make a run's state folder, or make sure that it is of the same run.

    Args:
        folder: the run's state folder.
        key: what the run is made of.

    Raises:
        Refusal: it holds checkpoints of another run; nothing is changed, the message names the
            difference. What another run left without a checkpoint is not worth a question.
    """
    note = folder / "key.json"
    if folder.exists() and (difference := _difference(note, key)):
        if any(folder.glob("step-*")):
            raise Refusal(
                f"unfinished work in {folder} had another {difference}: go back to it, or remove "
                "that folder to start anew"
            )
        print(f"train: {folder} had another {difference}; starting anew", file=sys.stderr)
        cards.discard(folder)
    for left in folder.glob(".*"):  # half written or half removed, by a kill
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    files.write_json(note, key)


def _entries(key: dict[str, Any]) -> dict[str, Any]:
    """A key with its parts' own entries beside its plain ones."""
    return {
        f"{name}.{inner}" if inner else name: value
        for name, part in key.items()
        for inner, value in (part.items() if isinstance(part, dict) else [("", part)])
    }


def _difference(note: Path, key: dict[str, Any]) -> str:
    """The entries in which a stored key differs from this one, with their values where short."""
    try:
        stored = files.read_json(note)
    except Refusal:
        stored = None
    if not isinstance(stored, dict):
        return "key, which cannot be read"
    old, new = _entries(stored), _entries(json.loads(files.dump(key)))
    changes = [
        (name, f" ({old.get(name)}, now {new.get(name)})")
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]
    return ", ".join(name + (values if len(values) < 40 else "") for name, values in changes)


def save(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    position: Position,
    key: dict[str, Any],
) -> None:
    """Write `folder/step-N`, then remove all but the newest two; all of several processes call it.

    Args:
        folder: the run's state folder.
        model: unwrapped.
        optimizer: its tensors are stored by parameter and name.
        position: where the run is.
        key: what the run is made of.
    """
    # Tied weights share memory, which safetensors refuses: one name of each is enough.
    weights = {name: whole(value).contiguous() for name, value in _trained(model)}
    moments = _optimizer_tensors(optimizer)
    if not PartialState().is_main_process:
        return
    target = folder / f"step-{position.step:09}"
    with cards.publish_folder(target, {"key": key}) as partial:
        save_file(weights, partial / "model.safetensors")
        save_file(moments, partial / "optimizer.safetensors")
        files.write_json(partial / "position.json", position)
    for older in sorted(folder.glob("step-*"))[:-KEPT]:
        cards.discard(older)


def load(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, key: dict[str, Any]
) -> Position:
    """Restore the newest whole checkpoint into model and optimizer, on any number of devices.

    A damaged one is removed with a warning and the one before it used; without any the run starts
    at zero.

    Raises:
        Refusal: it is of another run (other data, recipe, code); nothing is changed.
    """
    paths = sorted(folder.glob("step-*"))
    while paths:
        path = paths.pop()
        if not cards.is_complete(path):
            instead = f"from {paths[-1].name}" if paths else "at the start"
            print(f"train: {path} is damaged; going on {instead}", file=sys.stderr)
            cards.discard(path)
            continue
        if files.read_json(path / cards.CARD)["key"] != json.loads(files.dump(key)):
            raise Refusal(f"{path} is of another run: remove {folder} to start anew")
        _restore(path, model, optimizer)
        return Position(**files.read_json(path / "position.json"))
    return Position()


def _restore(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    weights = load_file(path / "model.safetensors")
    with torch.no_grad():
        for name, parameter in _trained(model):
            parameter.copy_(_like(weights[name], parameter))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in load_file(path / "optimizer.safetensors").items():
        index, _, name = key.partition(".")
        states.setdefault(int(index), {})[name] = _like(value, parameters[int(index)])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": states, "param_groups": groups})
