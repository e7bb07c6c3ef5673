"""Pretrained models of any architecture are tuned, whole or by LoRA, as their folders declare.

pytest tests/train/test_families.py
"""

import copy
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pytest
import real
import torch
from faults import train_kills
from safetensors.torch import load_file
from tiny import ROOT, TINY, Winnow, make_until, need, write_params
from tiny_models import declare_tiny, write_model, write_t5
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from winnow.core import files
from winnow.core.experiments import Adapter, Pretrained, Recipe
from winnow.core.records import ROW_SCHEMA
from winnow.models import family
from winnow.models.sequences import IGNORED, Sequences
from winnow.train import draws, loop, objectives, stage

PACKS = {"llama": True, "qwen2": True, "gemma2": True, "granite": True, "mistral": True}
PACKS |= {"gpt_neox": True, "phi": True, "opt": False, "bloom": False, "mamba": False}
PLAIN = {"llama", "qwen2", "mistral", "gpt_neox", "opt", "bloom", "mamba"}
"""Architectures whose logits are a plain product: no scale, cap or bias."""
CHAT = (
    "{% for m in messages %}<|im|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im|>assistant\n{% endif %}"
)


def params_with(base: Path, recipe: dict[str, Any] | None = None, **model: Any) -> Any:
    """TINY with a model `base` of a folder's weights."""
    params: Any = copy.deepcopy(TINY)
    declared = {"family": "causal", "weights": str(base), "context": 64} | model
    params["train"]["models"]["base"] = declared
    for settings in params["train"]["recipes"].values():
        settings |= recipe or {}
    return params


@pytest.fixture
def base(project: Path) -> Path:
    """A project whose tiers are cut, and a tiny Llama beside it."""
    make_until("select")
    return write_model(project / "base")


def rows(number: int) -> pa.Table:
    """Rows of different lengths."""
    words = [f"{'stone ' * (i + 1)}?" for i in range(number)]
    columns = [[f"r{i}" for i in range(number)], ["s"] * number, words, [""] * number]
    columns.append([f"green {'lamp ' * (2 * i + 1)}." for i in range(number)])
    return pa.table(columns, schema=ROW_SCHEMA)


def opened(folder: Path, **other: Any) -> family.Family:
    """The family of a folder, with its weights."""
    spec = Pretrained(family="causal", weights=str(folder), context=64, **other)
    found = family.declare(spec, folder)
    found.check()
    found.build(0)
    return found


def registered_completes_as(model: family.Family, project: Path) -> bool:
    """Whether the only registered version of high_40_base says what a model says."""
    mlflow.set_tracking_uri(f"sqlite:///{project}/mlflow.db")
    parts = mlflow.transformers.load_model("models:/high_40_base/1", return_type="components")
    ids = parts["tokenizer"]("river stone", return_tensors="pt").input_ids
    said = [
        network.eval().generate(ids, max_new_tokens=5, do_sample=False).tolist()
        for network in (parts["model"].float(), model.network)
    ]
    return said[0] == said[1]


def loss_sum(model: family.Family, batch: Sequences) -> float:
    """The summed loss of a batch, as it is trained on."""
    arrays = (batch.inputs, batch.positions, batch.labels)
    module = model.with_loss(model.network.eval())
    with torch.no_grad():
        return float(module(*(torch.from_numpy(array).long() for array in arrays)))


@pytest.mark.parametrize("kind", PACKS)
def test_packed_loss_is_that_of_one_document_at_a_time(
    base: Path, tmp_path: Path, kind: str
) -> None:
    """By plain logits, whether an architecture keeps packed documents apart or they are padded."""
    model = opened(write_model(tmp_path / kind, kind))
    assert model.packs is PACKS[kind]
    assert model.plain_head is (kind in PLAIN)  # type: ignore[attr-defined]
    documents = model.documents(rows(4), "next_token")
    together = model.sequences(documents, packing=model.packs)[:]
    assert (len(together) < len(documents)) is model.packs
    plain = 0.0
    for ids, _ in documents:
        given = torch.tensor([[model.begin, *ids[:-1].tolist()]])
        with torch.no_grad():
            logs = model.network(input_ids=given, use_cache=False).logits.log_softmax(-1)[0]
        plain -= float(logs[torch.arange(len(ids)), torch.from_numpy(ids).long()].sum())
    assert loss_sum(model, together) == pytest.approx(plain, rel=1e-5)


def test_a_chat_template_frames_a_row_and_only_its_response_is_learned(base: Path) -> None:
    model = opened(write_model(base, chat=CHAT))
    table = rows(2)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    for row, document, response in zip(
        table.to_pylist(),
        model.documents(table, "next_token"),
        model.documents(table, "response"),
        strict=True,
    ):
        chat = [("user", row["instruction"]), ("assistant", row["response"])]
        said = [{"role": role, "content": content} for role, content in chat]
        whole = tokenizer.apply_chat_template(said, tokenize=False).removesuffix("\n")
        assert tokenizer.decode([model.begin, *document.ids]) == whole
        learned = response.labels[response.labels != IGNORED]
        assert tokenizer.decode(learned) == row["response"] + "<|end|>"
        assert np.array_equal(response.ids, document.ids)


def test_text_that_spells_a_special_token_stays_text(base: Path) -> None:
    model = opened(write_model(base, chat=CHAT))
    table = rows(1).set_column(4, "response", pa.array(["say <|end|> now"]))
    (document,) = model.documents(table, "response")
    assert (document.labels == model.vocabulary.end_of_text).sum() == 1


def without_time(folder: Path) -> Any:
    """Every file of a published folder, the curve without its times."""
    found = {
        path.name: files.file_hash(path)
        for path in folder.iterdir()
        if path.suffix != ".json" or path.name in ("adapter_config.json", "base.json")
    }
    curve = files.read_json(folder / "train_results.json")["curve"]
    return found, [{**point, "seconds": 0} for point in curve]


@pytest.mark.parametrize("adapter", [None, {"name": "lora", "rank": 2, "dropout": 0.1}])
def test_a_model_is_tuned_and_read_back(base: Path, project: Path, adapter: Any) -> None:
    write_params(project, params_with(base, adapter=adapter))
    stage.run(["high_40_base"], 0, False)
    folder = project / "models/high_40_base/0"
    first = without_time(folder)
    curve = first[1]
    assert curve[-1]["validation_loss"] < curve[0]["validation_loss"]
    weights = load_file(folder / f"{'adapter_' if adapter else ''}model.safetensors")
    assert all("lora" in name for name in weights) is bool(adapter)
    model = family.load(folder)
    batch = draws.Draw(stage.resolve(["high_40_base"])[0], 0, model).validation()[:]
    assert isinstance(batch, Sequences)
    measured = loss_sum(model, batch) / batch.num_targets
    assert measured == pytest.approx(curve[-1]["validation_loss"], rel=2e-2)
    assert registered_completes_as(model, project)
    shutil.rmtree(project / "models")
    stage.run(["high_40_base"], 0, False)
    assert without_time(folder) == first


def test_peft_itself_reads_what_is_published(base: Path, project: Path) -> None:
    from peft import PeftModel

    write_params(project, params_with(base, adapter={"name": "lora", "rank": 2}))
    stage.run(["high_40_base"], 0, False)
    folder = project / "models/high_40_base/0"
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        ours = family.load(folder).network(ids).logits
        torch.testing.assert_close(theirs.eval()(ids).logits, ours, rtol=1e-4, atol=1e-4)


def test_an_adapter_is_read_from_any_folder(
    base: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(base, project / "weights")
    write_params(project, params_with(Path("weights"), adapter={"name": "lora", "rank": 2}))
    stage.run(["high_40_base"], 0, False)
    monkeypatch.chdir(project.parent)
    assert family.load(project / "models/high_40_base/0").network is not None
    (project / "weights").rename(project.parent / "weights")
    assert family.load(Path(project.name) / "models/high_40_base/0").network is not None


def test_an_adapter_beside_other_weights_is_refused(base: Path, project: Path) -> None:
    write_params(project, params_with(base, adapter={"name": "lora", "rank": 2}))
    stage.run(["high_40_base"], 0, False)
    write_model(base, "qwen2")
    with pytest.raises(ValueError, match=f"was trained beside another {base}: train it again"):
        family.load(project / "models/high_40_base/0")


def test_a_checkpoint_of_an_adapter_holds_nothing_else(base: Path, tmp_path: Path) -> None:
    model = opened(base, adapter=Adapter(name="lora", rank=2))
    rows_in = model.sequences(model.documents(rows(6), "response"), packing=True)
    recipe = Recipe(
        learning_rate=0.01,
        num_train_epochs=1,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=1,
        eval_steps=1,
        save_steps=1,
        gradient_checkpointing=True,
    )
    plan = loop.Plan(model.network, recipe, rows_in, rows_in, 0, "bf16", tmp_path, {})
    loop.train(replace(plan, objective=objectives.of("response", model)), lambda point: None)
    newest = max(tmp_path.glob("step-*"))
    tensors = load_file(newest / "model.safetensors")
    trained = {name for name, p in model.network.named_parameters() if p.requires_grad}
    assert set(tensors) == trained and all("lora" in name for name in trained)
    assert len(load_file(newest / "optimizer.safetensors")) == 3 * len(trained)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"weights": "nowhere/here"}, "expected a folder, or a hub id and a revision"),
        ({"context": 129}, "base has 128 positions, found 129"),
        ({"adapter": {"name": "lora", "targets": ["nothing"]}}, "it fits no layer of the model"),
        ({"adapter": {"name": "qlora"}}, "adapter.name: expected one of lora, found 'qlora'"),
        ({"family": "cause"}, "base.family: expected one of gpt2, causal, seq2seq, found 'cause'"),
        ({"num_layers": 2}, "unknown key train.models.base.num_layers"),
        ({"family": "seq2seq"}, "a seq2seq model such as base is not trained by the objective"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    base: Path, project: Path, edit: dict[str, Any], message: str
) -> None:
    write_params(project, params_with(base, **edit))
    with pytest.raises(ValueError) as error:
        stage.run(["high_40_base"], 0, False)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (project / "models").exists()


def test_weights_that_are_not_to_be_trusted_are_refused_in_one_line(
    base: Path, project: Path
) -> None:
    def declare(folder: Path, **changes: Any) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    def copied(name: str) -> Path:
        return Path(shutil.copytree(base, project / name))

    (copied("adapter") / "adapter_config.json").write_text("{}")
    declare(copied("quantized"), quantization_config={"quant_method": "bitsandbytes"})
    declare(copied("unknown"), model_type="evil", auto_map={"AutoConfig": "evil.Evil"})
    declare(copied("kernels"), attn_implementation="some/kernels")
    (copied("pickled") / "model.safetensors").rename(project / "pickled/pytorch_model.bin")
    (copied("endless") / "tokenizer_config.json").write_text("{}")
    for name, message in (
        ("adapter", "holds an adapter: name the weights that it is trained beside"),
        ("quantized", "is quantized: name its weights in bf16 or fp32"),
        ("unknown", "declares no model that transformers knows"),
        ("kernels", "asks for code of its own"),
        ("pickled", "weights in pickles are never opened"),
        ("endless", "is not a fast one with an end-of-text"),
    ):
        write_params(project, params_with(project / name))
        with pytest.raises(ValueError) as error:
            stage.run(["high_40_base"], 0, False)
        assert message in str(error.value) and "\n" not in str(error.value), name


def test_a_start_is_not_named_for_a_pretrained_model(base: Path, winnow: Winnow) -> None:
    write_params(base.parent, params_with(base))
    done = winnow("train", "high_40_base", "--seed", "0", "--init", str(base))
    assert done.returncode == 2 and "a causal model starts from its own weights" in done.stderr


def test_gpt2_takes_an_adapter_beside_its_start(project: Path) -> None:
    make_until("select")
    stage.run(["high_40_tiny"], 0, False)
    shutil.copytree("models/high_40_tiny/0", "start")
    params = copy.deepcopy(TINY)
    params["train"]["models"]["tiny"]["adapter"] = {"name": "lora", "rank": 2}  # type: ignore[index]
    write_params(project, params)
    with pytest.raises(ValueError, match="a fresh gpt2 has nothing that an adapter could be"):
        stage.run(["high_40_tiny"], 0, False)
    stage.run(["high_40_tiny"], 0, False, "start")
    folder = project / "models/high_40_tiny/0"
    assert not (folder / "model.safetensors").exists()
    assert family.load(folder).base == "start"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_killed_anywhere_a_tuning_ends_in_the_same_bytes(project: Path, kind: str) -> None:
    """An adapter of a Llama, and a whole T5; see test_survives.py."""
    make_until("curate")
    declare_tiny(project, kind)
    make_until("select")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, train_kills.__file__, "4", "1"],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(kill["killed"] for kill in found) >= 4
    for kill in found:
        assert kill["whole"] and kill["resumed"] and kill["equal"] and not kill["debris"], kill


@pytest.fixture
def t5(project: Path) -> Path:
    """A project whose tiers are cut, and a tiny T5 beside it."""
    make_until("select")
    return write_t5(project / "t5")


def test_the_loss_of_a_seq2seq_model_is_that_of_transformers(t5: Path) -> None:
    spec = Pretrained(family="seq2seq", weights=str(t5), context=20)
    model = family.declare(spec, t5)
    model.build(0)
    table = rows(5)
    documents = model.documents(table, "seq2seq")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(t5)
    batch = model.sequences(documents, packing=True)[:]
    assert len(batch) == 5 and batch.labels.shape[1] <= 20
    plain, model_ = 0.0, model.network.eval()
    for row, document in zip(table.to_pylist(), documents, strict=True):
        assert tokenizer.decode(document.ids) == row["instruction"] + tokenizer.eos_token
        assert tokenizer.decode(document.labels) == row["response"] + tokenizer.eos_token
        given = [torch.from_numpy(part[:20]).long()[None] for part in document]
        with torch.no_grad():
            mean = model_(input_ids=given[0], labels=given[1]).loss
        plain += float(mean) * given[1].numel()
    assert loss_sum(model, batch) == pytest.approx(plain, rel=1e-5)
    cut = sum(max(0, len(part) - 20) for document in documents for part in document)
    assert model.num_cut(documents, batch) == cut > 0


@pytest.mark.parametrize("adapter", [None, {"name": "lora", "rank": 2, "dropout": 0.1}])
def test_a_seq2seq_model_is_tuned_and_read_back(t5: Path, project: Path, adapter: Any) -> None:
    recipe = {"objective": "seq2seq", "num_train_epochs": 6, "learning_rate": 0.01}
    write_params(project, params_with(t5, recipe, family="seq2seq", adapter=adapter))
    stage.run(["high_40_base"], 0, False)
    folder = project / "models/high_40_base/0"
    _, curve = without_time(folder)
    assert curve[0]["validation_loss"] < 7, "an untied one starts at 47"
    assert curve[-1]["validation_loss"] < curve[0]["validation_loss"] - (0.01 if adapter else 0.5)
    model = family.load(folder)
    batch = draws.Draw(stage.resolve(["high_40_base"])[0], 0, model).validation()[:]
    assert isinstance(batch, Sequences)
    measured = loss_sum(model, batch) / batch.num_targets
    assert measured == pytest.approx(curve[-1]["validation_loss"], rel=2e-2)
    assert registered_completes_as(model, project)


@pytest.mark.slow
def test_a_real_model_is_tuned_by_lora(project: Path, tmp_path: Path) -> None:
    """SmolLM2-135M-Instruct for some steps on the responses of some rows."""
    need(real.is_there(), "the extra `real`: SmolLM2 as a package")
    weights = real.write_smollm2(tmp_path / "smollm2")
    recipe = {"objective": "response", "learning_rate": 0.002, "save_steps": 100, "eval_steps": 7}
    recipe |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    params = params_with(weights, recipe, adapter={"name": "lora", "rank": 4}, context=128)
    params["curate"]["validation"], params["train"]["budgets"] = 8, ["7_steps"]
    write_params(project, params)
    make_until("select")
    stage.run(["high_40_base_7_steps"], 0, False)
    folder = project / "models/high_40_base_7_steps/0"
    curve = files.read_json(folder / "train_results.json")["curve"]
    assert curve[-1]["validation_loss"] < curve[0]["validation_loss"] - 0.5
    assert (folder / "adapter_model.safetensors").stat().st_size < 2e7
    assert not (folder / "model.safetensors").exists()
    model = family.load(folder)
    assert model.begin == 1 and model.packs
    (document,) = model.documents(rows(1), "next_token")
    text = model.vocabulary.tokenizer.decode(document.ids.tolist(), skip_special_tokens=False)
    assert text.startswith("system\nYou are") and text.endswith("lamp .<|im_end|>")
