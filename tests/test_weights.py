"""A model of somebody else's is read and never run."""

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from winnow.core.errors import Refusal
from winnow.models import pretrained


def made(path: Path, **config: Any) -> Path:
    """A folder that looks like a model."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": "gpt2"} | config))
    (path / "model.safetensors").write_bytes(b"")
    return path


def test_a_plain_folder_is_taken(tmp_path: Path) -> None:
    plain = made(tmp_path / "plain", attn_implementation="sdpa", _attn_implementation_internal=None)
    assert pretrained.folder(str(plain), None) == plain


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
        pretrained.folder(str(path), None)
    inner = made(tmp_path / "outer")
    path.rename(inner / "1_Part")
    with pytest.raises(ValueError, match="asks for code of its own"):
        pretrained.folder(str(inner), None)


def test_pickles_and_models_without_a_commit_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "pickled")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="weights in pickles are never opened"):
        pretrained.folder(str(path), None)
    for model, revision in (("org/name", None), ("org/name", "main"), (str(path), 40 * "0")):
        with pytest.raises(ValueError, match="expected a folder, or a hub id and a revision of 40"):
            pretrained.folder(model, revision)


def refusal(path: Path) -> str:
    """The one line by which a folder is refused."""
    with pytest.raises(Refusal) as error:
        pretrained.folder(str(path), None)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    for number, target in enumerate((secret, "../secret.json", tmp_path, "/dev/zero", "/nowhere")):
        path = made(tmp_path / str(number))
        (path / "generation_config.json").symlink_to(target)
        assert "generation_config.json is a link out of its folder" in refusal(path)
    path = made(tmp_path / "inner")
    (path / "again.json").symlink_to("config.json")
    assert pretrained.folder(str(path), None) == path
    (tmp_path / "link").symlink_to(path)
    assert pretrained.folder(str(tmp_path / "link"), None)


def test_the_links_of_a_hubs_cache_lead_to_its_blobs(tmp_path: Path) -> None:
    path = tmp_path / "models--org--name/snapshots" / (40 * "0")
    path.parent.mkdir(parents=True)
    made(path)
    blobs = path.parents[1] / "blobs"
    blobs.mkdir()
    (path / "config.json").rename(blobs / "1")
    (path / "config.json").symlink_to("../../blobs/1")
    assert pretrained.folder(str(path), None) == path
    (blobs / "2").symlink_to("/etc/passwd")
    (path / "vocab.json").symlink_to("../../blobs/2")
    assert "to /etc/passwd" in refusal(path)


def test_a_pipe_a_socket_and_a_link_to_nothing_are_refused_unread(tmp_path: Path) -> None:
    piped = made(tmp_path / "piped")
    os.mkfifo(piped / "tokenizer.json")
    assert "tokenizer.json is neither a file nor a folder" in refusal(piped)
    bound = made(tmp_path / "bound")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(bound / "model.json"))
        assert "model.json is neither" in refusal(bound)
    empty = made(tmp_path / "empty")
    (empty / "vocab.json").symlink_to("nothing")
    (empty / "loop.json").symlink_to("loop.json")
    assert "loop.json is neither" in refusal(empty)


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/etc/x.safetensors",
        "pytorch_model.bin",
        "sub/x.safetensors",
        "",
        ".",
        "..",
        "gone.safetensors",
        "x\0.safetensors",
        7,
        None,
        ["a"],
    ],
)
def test_an_index_names_nothing_but_safetensors_beside_it(tmp_path: Path, name: Any) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"")
    path = made(tmp_path / "model")
    (path / "sub").mkdir()
    for file in ("pytorch_model.bin", "sub/x.safetensors"):
        (path / file).write_bytes(b"")
    index = {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": name}}
    (path / pretrained.INDEX).write_text(json.dumps(index))
    assert "index" in refusal(path)
    index["weight_map"]["b"] = "model.safetensors"
    (path / pretrained.INDEX).write_text(json.dumps(index))
    assert pretrained.folder(str(path), None) == path


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000, "\xff"])
def test_an_index_or_a_configuration_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    for name in (pretrained.INDEX, "config.json"):
        path = made(tmp_path / name)
        (path / name).write_text(text, encoding="latin-1")
        refusal(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"text_config": {"parts": [{"attn_implementation": "evil/kernels"}]}}',
        '{"attn_implementation": "evil/kernels", "attn_implementation": "sdpa"}',
        '{"transformers_weights": "adapter_model.bin"}',
        '{"configuration_files": ["config.0.0.json"]}',
    ],
)
def test_no_part_of_a_configuration_names_code_or_other_files(tmp_path: Path, text: str) -> None:
    path = made(tmp_path / "model")
    (path / "config.json").write_text(text)
    assert "which " in refusal(path) and "never" in refusal(path)


def test_a_part_whose_weights_are_pickled_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "model")
    (path / "pytorch_model.bin").write_bytes(b"ignored")
    assert pretrained.folder(str(path), None) == path
    (path / "2_Dense").mkdir()
    (path / "2_Dense/pytorch_model.bin").write_bytes(b"opened")
    assert "pickles are never opened" in refusal(path)
