"""Somebody else's model: a folder, or a commit on the hub. Nothing that came with it is run, and
nothing outside of it is read."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from winnow.core import files
from winnow.core.errors import Refusal, loading

FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.safetensors"]
"""What is fetched of a model: nothing that has to be unpickled or is code."""
ATTENTION = (None, "eager", "sdpa")
"""Anything else may name a repository of kernels, which transformers would fetch and run
(CVE-2026-4372)."""
OTHER_FILES = ("transformers_weights", "configuration_files")
"""Keys of a configuration that name other files to read, weights in pickles among them."""
INDEX = "model.safetensors.index.json"
"""Which file each tensor is in, where the weights are in several."""


def folder(model: str, revision: str | None) -> Path:
    """The folder of a model whose weights are safetensors and which needs no code of its own.

    Args:
        model: a folder, or a hub id.
        revision: of a hub id the 40 hex digits of a commit; None for a folder.

    Raises:
        Refusal: it cannot be had, or is not to be trusted; the caller names the key.
    """
    found = Path(model)
    if found.is_dir() != (revision is None) or not re.fullmatch(
        "[0-9a-f]{40}", revision or 40 * "0"
    ):
        raise Refusal(
            f"expected a folder, or a hub id and a revision of 40 hex digits, found {model!r}, "
            f"revision {revision!r}"
        )
    if revision is not None:
        found = _fetched(model, revision)
    check_files(found)
    pickled = {path.parent for path in found.rglob("pytorch_model*.bin")}
    if not any(found.rglob("*.safetensors")) or any(
        not any(part.glob("*.safetensors")) for part in pickled
    ):
        raise Refusal(
            f"{model} holds no *.safetensors; weights in pickles are never opened, as they can "
            "run code: convert them with save_pretrained"
        )
    for path in sorted(found.rglob("config.json")):
        _check_config(path)
    for path in sorted(found.rglob(INDEX)):
        shards(path)
    return found


def located(weights: str) -> Path:
    """The folder of weights that are named as a folder or org/name@<40 hex>; see `folder`."""
    is_here = Path(weights).is_dir()
    name, _, revision = (weights, "", "") if is_here else weights.partition("@")
    return folder(name, revision or None)


def identity(weights: str, patterns: Sequence[str] = FILES) -> str:
    """What a key says of weights: their hub id and commit, or the hash of their folder's files.

    Raises:
        Refusal: they are a folder that is not to be trusted.
    """
    if not Path(weights).is_dir():
        return weights
    found = located(weights)
    paths = [path for pattern in patterns for path in found.glob(pattern)]
    return files.fingerprint({path.name: files.file_hash(path) for path in paths})


def check_files(folder: Path) -> None:
    """Refuse a folder with anything in it that is no file or folder, or lies outside of it.

    The links of a hub's cache lead from snapshots/<commit> to the blobs beside snapshots.
    """
    root = Path(os.path.realpath(folder))
    own = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [root]
    for path in sorted(folder.rglob("*")):
        real = Path(os.path.realpath(path))
        if not any(real.is_relative_to(place) for place in own):
            raise Refusal(f"{path} is a link out of its folder, to {real}: copy it")
        if not (real.is_file() or real.is_dir()):
            raise Refusal(f"{path} is neither a file nor a folder: remove it")


def read_json(path: Path) -> Any:
    """What a JSON file that came with a model says.

    Raises:
        Refusal: it cannot be read.
    """
    with loading(f"{path} cannot be read"):
        return json.loads(path.read_bytes())


def _check_config(path: Path) -> None:
    entries: list[tuple[str, Any]] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Of an object at any depth."""
        entries.extend(pairs)
        return dict(pairs)

    with loading(f"{path} cannot be read"):
        config = json.loads(path.read_bytes(), object_pairs_hook=note)
    if not isinstance(config, dict):
        raise Refusal(f"{path} describes no model")
    for key, value in entries:
        if "attn_implementation" in key and value not in ATTENTION:
            raise Refusal(f"{path} asks for code of its own ({key}), which is never run")
        if key in OTHER_FILES:
            raise Refusal(f"{path} names other files to read ({key}), which are never read")


def shards(index: Path) -> list[Path]:
    """The files of weights that an index names.

    Raises:
        Refusal: it is no index, or names anything but *.safetensors that lie beside it.
    """
    with loading(f"{index} is no index of weights"):
        names = sorted(set(read_json(index)["weight_map"].values()))
        paths = [index.parent / Path(name) for name in names]
    for name, file in zip(names, paths, strict=True):
        if Path(name).name != name or file.suffix != ".safetensors" or not file.is_file():
            raise Refusal(f"{index} names {name!r}: expected names of *.safetensors beside it")
    return paths


def _fetched(model: str, revision: str) -> Path:
    from huggingface_hub import constants, snapshot_download

    with loading(f"{model}@{revision} cannot be had"):
        return Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=FILES,
                local_files_only=constants.HF_HUB_OFFLINE,
            )
        )


def check_init(init: str) -> None:
    """Refuse a start that is neither scratch nor a folder nor a hub id with its commit."""
    is_name = init == "scratch" or re.fullmatch(r"[\w.-]+(/[\w.-]+)?@[0-9a-f]{40}", init)
    if not is_name and not Path(init).is_dir():
        raise Refusal(
            "params.yaml: train.init: expected scratch, a folder, or a hub id with its commit "
            f"(org/name@<40 hex digits>), found {init!r}"
        )
