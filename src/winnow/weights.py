"""Somebody else's model: a folder, or a commit on the hub. Nothing that came with it is run."""

import re
from pathlib import Path

from winnow import publish
from winnow.errors import Refusal, loading

FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
"""What is fetched of a model: nothing that has to be unpickled or is code."""
ATTENTION = (None, "eager", "sdpa")
"""Anything else may name a repository of kernels, which transformers would fetch and run
(CVE-2026-4372)."""


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
    if not any(found.rglob("*.safetensors")):
        raise Refusal(
            f"{model} holds no *.safetensors; weights in pickles are never opened, as they can "
            "run code: convert them with save_pretrained"
        )
    for path in sorted(found.rglob("config.json")):
        config = publish.read_json(path)
        if not isinstance(config, dict):
            raise Refusal(f"{path} describes no model")
        for key in config:
            if "attn_implementation" in key and config[key] not in ATTENTION:
                raise Refusal(f"{path} asks for code of its own ({key}), which is never run")
    return found


def _fetched(model: str, revision: str) -> Path:
    from huggingface_hub import constants, snapshot_download

    with loading(f"{model}@{revision} cannot be had"):
        return Path(
            snapshot_download(
                model, revision=revision, allow_patterns=FILES,
                local_files_only=constants.HF_HUB_OFFLINE,
            )
        )  # fmt: skip
