"""A training starts from weights that are read as they are written, or from none.

pytest tests/train/test_starts.py
"""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_until
from transformers import GPT2LMHeadModel

from winnow.core.errors import Refusal
from winnow.core.experiments import Model, resolve_one
from winnow.core.layout import TOKENIZER
from winnow.models import gpt2, pretrained
from winnow.models.tokenizer import Vocabulary
from winnow.train import stage

TINY = Model(num_layers=1, hidden_size=32, num_heads=2, context=64)
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A folder as transformers writes it."""
    torch.manual_seed(0)
    gpt2.build(TINY, 320, 0).save_pretrained(tmp_path / "start")
    return tmp_path / "start"


def change(start: Path, edit: Callable[[Tensors], Any]) -> None:
    """Write a start's weights with some of them changed."""
    tensors = {name: tensor.clone() for name, tensor in load_file(start / WEIGHTS).items()}
    edit(tensors)
    save_file(tensors, start / WEIGHTS, {"format": "pt"})


def declare(start: Path, **changes: Any) -> None:
    """Change what a start's config.json says."""
    declared = json.loads((start / "config.json").read_text())
    (start / "config.json").write_text(json.dumps(declared | changes))


def loaded(start: Path) -> Tensors:
    """The weights that a training from a start begins with."""
    vocabulary = Vocabulary(None, 320, 0, None)  # type: ignore[arg-type]
    return gpt2.load(start, TINY, vocabulary).state_dict()


def refusal(start: Path) -> str:
    """The one line by which a start is refused."""
    with pytest.raises(Refusal) as error:
        loaded(start)
    assert str(error.value).startswith("params.yaml: train.init: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def same(one: Tensors, other: Tensors) -> bool:
    """Whether two models have the same weights."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


WEIGHTS = "model.safetensors"
WORDS = "transformer.wte.weight"


def split(start: Path) -> list[Path]:
    """Write a start's weights in several files."""
    model = GPT2LMHeadModel.from_pretrained(start)
    (start / WEIGHTS).unlink()
    model.save_pretrained(start, max_shard_size="40KB")
    assert (start / pretrained.INDEX).exists() and not (start / WEIGHTS).exists()
    return sorted(start.glob("*.safetensors"))


def test_weights_in_several_files_or_without_a_prefix_are_the_same(start: Path) -> None:
    whole = loaded(start)

    def edit(tensors: Tensors) -> None:
        for name in [*tensors]:
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)

    change(start, edit)
    assert WORDS.removeprefix("transformer.") in load_file(start / WEIGHTS)
    assert same(loaded(start), whole)
    assert len(split(start)) > 2 and same(loaded(start), whole)


def test_the_identity_covers_every_file_that_decides(start: Path) -> None:
    shards = split(start)
    seen = {gpt2.identity(str(start))}
    for path in (start / "config.json", start / pretrained.INDEX, *shards):
        kept = path.read_bytes()
        changed = bytearray(kept)
        changed[-2] ^= 1  # in a file of JSON: the last brace
        path.write_bytes(changed if path.suffix != ".json" else kept + b" ")
        seen.add(gpt2.identity(str(start)))
        path.write_bytes(kept)
    assert len(seen) == 3 + len(shards)
    first, second, *_ = shards
    first.rename(start / "kept"), second.rename(first), (start / "kept").rename(second)
    seen.add(gpt2.identity(str(start)))
    assert len(seen) == 4 + len(shards)


def test_a_changed_start_is_trained_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_until("select")
    vocabulary = Vocabulary.read(TOKENIZER)
    model = resolve_one("high_40_tiny").model
    gpt2.build(model, vocabulary.size, 0).save_pretrained("start")
    shutil.copytree(TOKENIZER, "start", dirs_exist_ok=True)
    for change, again in (({}, True), ({}, False), ({"layer_norm_epsilon": 0.1}, True)):
        declare(Path("start"), **change)
        stage.run(["high_40_tiny"], 0, True, "start")
        assert ("is done and unchanged" in capsys.readouterr().out) != again


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_a_number_that_is_none_is_named_by_its_tensor(
    start: Path, value: float, kind: torch.dtype
) -> None:
    name = "transformer.h.0.mlp.c_fc.weight"

    def edit(tensors: Tensors) -> None:
        tensors[name][3, 5] = value
        tensors[name] = tensors[name].to(kind)

    change(start, edit)
    assert f"{name} holds numbers that are not finite" in refusal(start)


@pytest.mark.parametrize(
    "edit, reason",
    [
        (lambda t: t.update({WORDS: t[WORDS][:-1].clone()}), "of shape [319, 32], and the model"),
        (lambda t: t.update({WORDS: t[WORDS].flatten()}), "of shape [10240], and the model"),
        (lambda t: t.update({WORDS: t[WORDS].long()}), "holds torch.int64 of shape [320, 32]"),
        (lambda t: t.pop(WORDS), f"has no weights for {WORDS}"),
        (lambda t: t.clear(), "has no weights for transformer.wte.weight"),
    ],
)
def test_weights_that_do_not_fit_what_is_declared_are_refused(
    start: Path, edit: Callable[[Tensors], Any], reason: str
) -> None:
    change(start, edit)
    assert reason in refusal(start)


def test_more_words_than_are_declared_are_refused(start: Path) -> None:
    declare(start, vocab_size=300)
    assert "of shape [320, 32], and the model that config.json declares" in refusal(start)


def header(start: Path, described: Any, size: int | None = None) -> None:
    """Write a file of weights with this header, and a length of the header that may be false."""
    text = json.dumps(described).encode()
    length = struct.pack("<Q", len(text) if size is None else size)
    (start / WEIGHTS).write_bytes(length + text + bytes(64))


@pytest.mark.parametrize(
    "described, size",
    [
        ({}, 2**63),
        ({}, 2**40),
        ({}, 100),
        ([], None),
        (
            {
                "a": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]},
                "b": {"dtype": "F32", "shape": [8], "data_offsets": [16, 48]},
            },
            None,
        ),
        ({"a": {"dtype": "F32", "shape": [16], "data_offsets": [0, 4096]}}, None),
        ({"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 64]}}, None),
        ({"a": {"dtype": "PICKLE", "shape": [16], "data_offsets": [0, 64]}}, None),
        ({"a": {"dtype": "F8_E8M0", "shape": [64], "data_offsets": [0, 64]}}, None),
        ({"a": {"dtype": "F4", "shape": [128], "data_offsets": [0, 64]}}, None),
        ({"a": {"dtype": "F32", "shape": [-16], "data_offsets": [0, 64]}}, None),
    ],
)
def test_a_header_that_lies_is_refused(start: Path, described: Any, size: int | None) -> None:
    header(start, described, size)
    assert "cannot be loaded" in refusal(start) or "has no weights for" in refusal(start)


def test_what_else_lies_in_a_folder_is_not_used(start: Path, tmp_path: Path) -> None:
    whole = loaded(start)
    (start / "pytorch_model.bin").write_bytes(b"no pickle")
    (start / "generation_config.json").write_text('{"max_length": "none"}')
    other = tmp_path / "other"
    other.mkdir()
    adapter = {"base_model_name_or_path": str(other), "peft_type": "LORA"}
    (start / "adapter_config.json").write_text(json.dumps(adapter))
    declare(
        start,
        auto_map={"AutoModelForCausalLM": "evil.Evil"},
        quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True},
        num_labels=10**12,
        dtype="evil",
    )
    assert same(loaded(start), whole)


@pytest.mark.parametrize(
    "changes",
    [{"n_layer": "many"}, {"n_head": 0}, {"n_embd": -1}, {"activation_function": "os.system"}],
)
def test_a_configuration_of_other_types_is_refused(start: Path, changes: Any) -> None:
    declare(start, **changes)
    assert "config.json" in refusal(start)
