"""A model of somebody else's is read and never run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from winnow import weights


def made(path: Path, **config: Any) -> Path:
    """A folder that looks like a model."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": "gpt2"} | config))
    (path / "model.safetensors").write_bytes(b"")
    return path


def test_a_plain_folder_is_taken(tmp_path: Path) -> None:
    plain = made(tmp_path / "plain", attn_implementation="sdpa", _attn_implementation_internal=None)
    assert weights.folder(str(plain), None) == plain


@pytest.mark.parametrize(
    "asked",
    [
        {"_attn_implementation_internal": "evil/kernels"},
        {"attn_implementation": {"": "evil/kernels:run"}},
    ],
)
def test_a_configuration_that_names_code_is_refused(tmp_path: Path, asked: Any) -> None:
    path = made(tmp_path / "evil", **asked)
    with pytest.raises(ValueError, match=re.escape(f"own ({next(iter(asked))}), which is never")):
        weights.folder(str(path), None)
    inner = made(tmp_path / "outer")
    path.rename(inner / "1_Part")
    with pytest.raises(ValueError, match="asks for code of its own"):
        weights.folder(str(inner), None)


def test_pickles_and_models_without_a_commit_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "pickled")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="weights in pickles are never opened"):
        weights.folder(str(path), None)
    for model, revision in (("org/name", None), ("org/name", "main"), (str(path), 40 * "0")):
        with pytest.raises(ValueError, match="expected a folder, or a hub id and a revision of 40"):
            weights.folder(model, revision)
