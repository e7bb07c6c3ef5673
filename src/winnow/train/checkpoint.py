"""Checkpoints: weights, optimizer, random state and position; complete or not there.

Each is a folder with a card, written under another name and renamed; the older one is removed
after the newer one is durable, so that a kill at any moment leaves at least one. Tensors are in
safetensors: nothing here is ever unpickled.
"""

import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from winnow import publish


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
    """Sum of the training loss over tokens since the last point of the curve, in nats."""
    loss_tokens: int = 0
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


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    states = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": whole(torch.as_tensor(value)).contiguous()
        for index, state in states.items()
        for name, value in state.items()
    }


def _random_state() -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def save(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, position: Position,
    key: dict[str, Any],
) -> None:  # fmt: skip
    """Write `folder/step-N`, then remove the older ones; of several processes all must call it.

    Args:
        folder: the run's state folder.
        model: unwrapped.
        optimizer: its tensors are stored by parameter and name.
        position: where the run is.
        key: what the run is made of; a resume under another key is refused.
    """
    # Tied weights share memory, which safetensors refuses: one name of each is enough.
    weights = {name: whole(value).contiguous() for name, value in model.named_parameters()}
    moments = _optimizer_tensors(optimizer)
    if not PartialState().is_main_process:
        return
    target = folder / f"step-{position.step:09}"
    with publish.publish_folder(target, {"key": key, "position": asdict(position)}) as partial:
        save_file(weights, partial / "model.safetensors")
        save_file(moments, partial / "optimizer.safetensors")
        save_file(_random_state(), partial / "random.safetensors")
    for older in folder.glob("step-*"):
        if older.name < target.name:
            shutil.rmtree(older)


def load(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, key: dict[str, Any]
) -> Position:
    """Restore the newest complete checkpoint into model, optimizer and generators.

    A damaged one is passed over with a warning; without any the run starts at zero. A checkpoint
    of another run (other data, recipe, code) is set aside with its difference named.
    """
    for path in sorted(folder.glob("step-*"), reverse=True):
        if not publish.is_complete(path):
            print(f"train: {path} is damaged; an older one is used", file=sys.stderr)
            continue
        card = publish.read_json(path / publish.CARD)
        different = sorted(name for name in key if card["key"].get(name) != key[name])
        if different:
            print(
                f"train: unfinished work in {folder} had another {', '.join(different)}; "
                "starting anew",
                file=sys.stderr,
            )
            shutil.rmtree(folder)
            folder.mkdir(parents=True)
            return Position()
        _restore(path, model, optimizer)
        return Position(**card["position"])
    return Position()


def _restore(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    weights = load_file(path / "model.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_like(weights[name], parameter))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in load_file(path / "optimizer.safetensors").items():
        index, _, name = key.partition(".")
        states.setdefault(int(index), {})[name] = _like(value, parameters[int(index)])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": states, "param_groups": groups})
    random = load_file(path / "random.safetensors")
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
