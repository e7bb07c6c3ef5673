"""Sizes, recipes, budgets, starts and the preflight: a name never lies, a refusal is one line."""

import copy
import json
import os
import shlex
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import ROOT, TINY, make_until, write_params
from transformers import AutoConfig, AutoModelForCausalLM

from winnow.__main__ import parser
from winnow.core import files, params
from winnow.core.experiments import Budget, Model, Pretrained, Recipe, quantity, resolve_one
from winnow.core.layout import SCORING_METRICS, TOKENIZER
from winnow.models import cost, device, gpt2, sequences
from winnow.models.family import declare, shape
from winnow.models.loss import WithLoss
from winnow.models.tokenizer import Vocabulary
from winnow.train import draws, loop, objectives, stage

SAMPLE, GPT2 = 1024, 50257
SIZES = {"1M": SAMPLE, "10M": SAMPLE, "50M": GPT2, "150M": GPT2, "500M": GPT2, "1B": GPT2}
"""Every declared model, and the vocabulary at which it has the size of its name."""
LAYERS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 256, "n_head": 4, "resid_pdrop": 0, "attn_pdrop": 0, "embd_pdrop": 0}
    | {"activation_function": "gelu_pytorch_tanh"},
    "llama": {"hidden_size": 256, "intermediate_size": 700, "num_attention_heads": 4}
    | {"num_key_value_heads": 2},
    "qwen2": {"hidden_size": 256, "intermediate_size": 1400, "num_attention_heads": 4}
    | {"num_key_value_heads": 4},
    "gpt_neox": {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4},
}
"""Architectures by what their layers keep: plain and gated ones of several widths."""
TINY_MODEL = Model(num_layers=2, hidden_size=32, num_heads=2, context=32)
CELL = "models/high_40_tiny/0"


@pytest.fixture(scope="module")
def shipped() -> stage.TrainConfig:
    """The train section of the repository's params.yaml."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        return params.load("train", stage.TrainConfig)
    finally:
        os.chdir(before)


def change(project: Path, **train: Any) -> None:
    """Write TINY with other values in its train section; recipes change in both alike."""
    params: Any = copy.deepcopy(TINY)
    recipe = train.pop("recipe", {})
    params["train"] |= train
    for declared in params["train"]["recipes"].values():
        declared |= recipe
    write_params(project, params)


def results(project: Path, experiment: str, seed: int = 0) -> Any:
    """What a training says of itself."""
    return files.read_json(project / f"models/{experiment}/{seed}/train_results.json")


def test_declared_models_have_the_size_of_their_names(shipped: stage.TrainConfig) -> None:
    assert set(SIZES) == set(shipped.models)
    for name, vocabulary in SIZES.items():
        model = shipped.models[name]
        with torch.device("meta"):
            built = gpt2.build(model, vocabulary, 0)
        counted = sum(p.numel() for p in built.parameters())  # tied embeddings come once
        assert counted == gpt2.num_parameters(model, vocabulary)
        named = quantity(name)
        assert named and abs(counted / named - 1) <= 0.03, (name, counted)
        assert built.config.vocab_size % 64 == 0
        # 1M: no whole number of heads of 64 has a million parameters.
        head_size = model.hidden_size / model.num_heads
        assert head_size in (64, 128) or (name, head_size) == ("1M", 44)


def test_the_recipes_are_the_documented_ones(shipped: stage.TrainConfig) -> None:
    documented = {
        # learning rate, epochs, batch, accumulation, eval steps, save steps
        "ultra": (1e-4, 10, 8, 4, 500, 1000),
        "high": (2e-4, 3, 8, 4, 1000, 5000),
        "medium": (2e-4, 1, 16, 2, 2000, 10000),
    }
    for name, numbers in documented.items():
        found = shipped.recipes[name]
        assert tuple(asdict(found).values())[:6] == numbers
        assert (found.weight_decay, found.warmup_steps) == (0.01, 1000)
        assert found.gradient_checkpointing == "auto" and found.packing
    assert shipped.precision == "auto" and shipped.init.startswith("base/")


def test_a_budget_is_its_name(project: Path) -> None:
    arm = resolve_one("high_40_tiny_3k_tokens")
    assert arm.budget == Budget(unit="tokens", amount=3000)
    assert resolve_one("high_40_tiny").budget is None
    for name in ("7_epochs", "many_steps", "10pct_steps", "0_steps", "steps"):
        change(project, budgets=[name])
        with pytest.raises(ValueError, match=f"train.budgets: expected names such as .* '{name}'"):
            resolve_one("high_40_tiny")


@given(st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(1, 200), st.integers(1, 4))
def test_steps_to_is_the_first_step_that_has_seen_the_tokens(
    sizes: list[int], tokens: int, per_step: int
) -> None:
    rows = sequences.pad([np.ones(size, np.int32) for size in sizes], 8, 0)
    seen = steps = epoch = 0
    while seen < tokens:
        order = sequences.epoch_order(len(rows), 3, epoch)
        for at in range(0, len(order), per_step):
            if seen < tokens:
                seen += rows[order[at : at + per_step]].num_targets
                steps += 1
        epoch += 1
    assert sequences.steps_to(rows, tokens, per_step, 3) == steps


def test_equal_cost_charges_the_scoring(project: Path) -> None:
    make_until("curate")
    vocabulary = Vocabulary.read(TOKENIZER)
    scored, control, whole = (
        resolve_one(f"{tier}_tiny_60_seconds") for tier in ("high_40", "matched_40", "all_100pct")
    )
    settings = params.load("train", stage.TrainConfig)
    sized = shape(scored.model, vocabulary.size)
    step = cost.flops_per_position(sized) * 4 * 64
    slow = replace(settings, flops_per_second=step / 10)  # ten seconds a step
    files.write_sealed(SCORING_METRICS, {"seconds": 15.5})
    assert stage.budget_of(scored, slow, sized) == {"steps": 4}
    assert stage.budget_of(control, slow, sized) == {"steps": 6}
    assert stage.budget_of(whole, slow, sized) == {"steps": 12}, "all rows, half the batch"
    files.write_sealed(SCORING_METRICS, {"seconds": 59.0})
    with pytest.raises(ValueError, match="scoring alone took 59 s, which leaves no step"):
        stage.budget_of(scored, slow, sized)
    with pytest.raises(ValueError, match=r"train\.flops_per_second: expected a number, as high_40"):
        stage.budget_of(scored, replace(settings, flops_per_second=None), sized)


def test_a_budget_ends_the_training_and_is_compared_within_itself(project: Path) -> None:
    from winnow.analyze.study import read_study
    from winnow.evaluate import stage as evaluate

    make_until("select")
    arms = ("high_40_tiny_7_steps", "high_40_tiny_3k_tokens")
    for arm in arms:
        stage.run([arm], 0, False)
        evaluate.run([arm], 0, False)
    steps, tokens = (results(project, arm) for arm in arms)
    assert steps["num_steps"] == steps["curve"][-1]["step"] == 7
    assert 3000 <= tokens["tokens_seen"] < 3000 + 4 * 64
    assert tokens["curve"][-1]["tokens"] == tokens["tokens_seen"]
    compared = read_study(arms, [0]).models()
    assert [(n, len(found)) for n, found in compared.items()] == [
        ("tiny_3k_tokens", 1),
        ("tiny_7_steps", 1),
    ]


@given(st.lists(st.lists(st.integers(1, 50), max_size=30), min_size=1, max_size=9))
def test_padded_rows_hold_a_document_each_from_its_start(texts: list[list[int]]) -> None:
    documents = [np.array([*text, 0], dtype=np.int32) for text in texts]
    padded = sequences.pad(documents, 16, 0)[:]
    for document, inputs, labels in zip(documents, padded.inputs, padded.labels, strict=True):
        kept = document[:16].tolist()
        assert labels.tolist() == kept + [sequences.IGNORED] * (16 - len(kept))
        assert inputs.tolist() == [0, *kept[:-1]] + [0] * (16 - len(kept))
    assert padded.num_targets == sum(min(16, len(document)) for document in documents)


def test_the_loss_of_padded_rows_is_that_of_packed_ones() -> None:
    torch.manual_seed(0)
    model = gpt2.build(TINY_MODEL, 64, 0).eval()
    dice = np.random.default_rng(0)
    documents = [np.append(dice.integers(1, 60, size), 0).astype(np.int32) for size in (9, 12, 5)]
    packed, padded = (
        objectives.forward(WithLoss(model), fill(documents, 32, 0)[:], "fp32").item()
        for fill in (sequences.pack, sequences.pad)
    )
    assert padded == pytest.approx(packed, abs=1e-4)


def test_padded_rows_say_what_they_cut(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_until("select")
    change(project, recipe={"packing": False})
    arm = resolve_one("high_40_tiny")
    documents = draws.Draw(arm, 0, declare(arm.model, TOKENIZER)).documents["train"]
    stage.run(["high_40_tiny"], 0, False)
    cut = sum(max(0, len(document.ids) - 64) for document in documents)
    assert f"train: rows of 64 tokens cut {cut} tokens off high_40" in capsys.readouterr().out
    found = files.read_json(project / CELL / "experiment_config.json")
    assert found["num_tokens"] == sum(len(document.ids) for document in documents) - cut and cut > 0
    assert results(project, "high_40_tiny")["num_steps"] == 2 * 40 / 4


def test_gradient_checkpointing_changes_no_bit(tmp_path: Path) -> None:
    documents = [np.arange(1, 30, dtype=np.int32) % 60 for _ in range(12)]
    curves = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        packed = sequences.pack(documents, 32, 0)
        recipe = Recipe(
            learning_rate=0.01,
            num_train_epochs=2,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=1,
            eval_steps=1,
            save_steps=100,
            gradient_checkpointing=checkpointing,
        )
        plan = loop.Plan(
            model=gpt2.build(replace(TINY_MODEL, dropout=0.1), 64, 0),
            recipe=recipe,
            train=packed,
            validation=packed,
            seed=0,
            precision="fp32",
            state=tmp_path / str(checkpointing),
            key={},
        )
        curve = loop.train(plan, lambda point: None).curve
        curves.append([(point["train_loss"], point["validation_loss"]) for point in curve])
        assert plan.model.is_gradient_checkpointing is checkpointing  # type: ignore[operator]
    assert curves[0] == curves[1]


def test_checkpointing_comes_where_memory_asks_for_it(shipped: stage.TrainConfig) -> None:
    model, room = (
        shape(replace(TINY_MODEL, num_layers=24), 64),
        device.device_memory(torch.device("cpu")),
    )
    few = shipped.recipes["ultra"]
    for kind in cost.ACTIVATIONS:
        fits = int(room / (32 * 24 * cost.kept_bytes(model, kind)))
        many = replace(few, per_device_train_batch_size=fits)
        small, large = (cost.estimate(model, r, 1, 9, 1, kind) for r in (few, many))
        assert not small.gradient_checkpointing and small.memory_gb < small.device_gb
        assert large.gradient_checkpointing and large.memory_gb < large.device_gb
        assert str(large).endswith("GB, with gradient checkpointing")
        never = replace(many, gradient_checkpointing=False)
        assert cost.estimate(model, never, 1, 9, 1, kind).memory_gb > room / 1e9


def test_the_estimate_stands_beside_the_measurement(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    make_until("select")
    stage.run(["high_40_tiny"], 0, False)
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "parameters" in line]
    found = results(project, "high_40_tiny")
    assert f"{found['num_parameters'] / 1e6:.2f}M parameters" in said
    assert f"{found['tokens_seen'] / 1e6:.2f}M tokens" in said and f"{found['flops']:.2e}" in said
    assert found["num_epochs"] == 2
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    (version,) = client.search_model_versions("name='high_40_tiny'")
    logged = client.get_run(version.run_id).data
    for name in ("train_time", "estimated_time", "peak_memory_gb", "estimated_memory_gb"):
        # The peak is 0 where memory that an earlier test gave back was enough.
        assert logged.metrics[name] == pytest.approx(found[name]) and found[name] >= 0
    assert logged.params["init"] == "scratch"


def test_a_model_beyond_the_memory_is_refused(project: Path) -> None:
    make_until("select")
    huge = {"num_layers": 999, "hidden_size": 8192, "num_heads": 64, "context": 1024}
    change(project, max_hours=1e12, models={"huge": huge})
    with pytest.raises(
        ValueError, match=r"high_40_huge would take about \d+\.\d GB, .* has .*: lower"
    ):
        stage.run(["high_40_huge"], 0, False)
    assert not (project / "models").exists()


def test_a_training_starts_from_a_given_model(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_until("select")
    stage.run(["high_40_tiny"], 0, False)
    shutil.copytree(CELL, "start")
    scratch = results(project, "high_40_tiny")
    stage.run(["high_40_tiny"], 0, True, "start")
    assert "unchanged" not in capsys.readouterr().out
    tuned = results(project, "high_40_tiny")
    assert tuned["curve"][0]["train_loss"] < scratch["curve"][0]["train_loss"] - 0.05
    found = files.read_json(project / CELL / "experiment_config.json")
    assert found["init"] == "start" and found["command"].endswith("--init start")
    stage.run(["high_40_tiny"], 0, True, "start")
    assert "is done and unchanged" in capsys.readouterr().out
    change(project, init="start")  # params.yaml says the same, and the selector another
    stage.run(["high_40_tiny"], 0, True)
    assert "is done and unchanged" in capsys.readouterr().out
    stage.run(["high_40_tiny"], 0, True, "scratch")
    assert results(project, "high_40_tiny")["curve"][0]["train_loss"] == pytest.approx(
        scratch["curve"][0]["train_loss"]
    )


def test_a_start_that_does_not_fit_is_refused_in_one_line(project: Path) -> None:
    make_until("select")
    vocabulary = Vocabulary.read(TOKENIZER)
    fitting = resolve_one("high_40_tiny").model

    def folder(name: str, model: Model = fitting) -> Path:
        gpt2.build(model, vocabulary.size, 0).save_pretrained(name)
        shutil.copytree(TOKENIZER, name, dirs_exist_ok=True)
        return Path(name)

    folder("wide", replace(fitting, hidden_size=64))
    other = folder("other") / "tokenizer.json"
    words = json.loads(other.read_text())
    swapped = {"a": words["model"]["vocab"]["b"], "b": words["model"]["vocab"]["a"]}
    words["model"]["vocab"] |= swapped
    other.write_text(json.dumps(words))
    (folder("bare") / "tokenizer.json").unlink()
    (folder("pickled") / "model.safetensors").rename("pickled/pytorch_model.bin")
    llama = folder("llama") / "config.json"
    llama.write_text(llama.read_text().replace('"gpt2"', '"llama"'))
    (folder("torn") / "model.safetensors").write_bytes(b"torn")
    for init, message in (
        ("nothing/here", "train.init: expected scratch, a folder, or a hub id with its commit"),
        ("gpt2@main", "(org/name@<40 hex digits>), found 'gpt2@main'"),
        ("pickled", "pickled holds no *.safetensors; weights in pickles are never opened"),
        ("wide", "declare one under train.models with num_layers: 1, hidden_size: 64"),
        ("other", "its tokenizer (320 words) is not the corpus's (320): set curate.tokenizer to"),
        ("bare", "it holds no tokenizer.json to compare"),
        ("llama", "it is a llama, and only gpt2 is trained here"),
        ("torn", "torn cannot be loaded"),
    ):
        with pytest.raises(ValueError) as error:
            stage.run(["high_40_tiny"], 0, False, init)
        assert message in str(error.value) and "\n" not in str(error.value)
    assert not (project / "models").exists()


def test_a_hub_model_is_taken_at_its_commit(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    make_until("curate")
    vocabulary, model = Vocabulary.read(TOKENIZER), resolve_one("high_40_tiny").model
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    init = f"some/model@{'0123456789' * 4}"
    with pytest.raises(ValueError, match=f"{init} cannot be had: Cannot find"):
        gpt2.folder_of(init, model, vocabulary)
    cached = tmp_path / "hub/models--some--model/snapshots" / init[-40:]
    gpt2.build(model, vocabulary.size, 0).save_pretrained(cached)
    shutil.copytree(TOKENIZER, cached, dirs_exist_ok=True)
    assert gpt2.folder_of(init, model, vocabulary) == cached
    assert gpt2.identity(init) == init


def test_a_vocabulary_that_is_not_padded_gets_rows_that_change_nothing_else(project: Path) -> None:
    make_until("curate")
    vocabulary = replace(Vocabulary.read(TOKENIZER), size=300)
    model = gpt2.build(TINY_MODEL, 300, 0).eval()
    model.resize_token_embeddings(300)
    model.save_pretrained("start")
    loaded = gpt2.load(Path("start"), TINY_MODEL, vocabulary).eval()
    assert loaded.config.vocab_size == 320
    tokens = torch.arange(20)[None]
    before, after = model(tokens).logits, loaded(tokens).logits
    torch.testing.assert_close(after[..., :300], before)
    torch.testing.assert_close(
        after[..., 300:], before.mean(-1, keepdim=True).expand(-1, -1, 20), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("init", ["", "scratch", "a folder"])
def test_mlflow_passes_the_start_on(init: str) -> None:
    from mlflow.projects.utils import get_entry_point_command, load_project

    given = {"exp": "high_100k_1B"} | ({"init": init} if init else {})
    (command,) = get_entry_point_command(load_project(str(ROOT)), "train", given, None)
    name, *arguments = shlex.split(command)
    found = parser().parse_args(arguments)
    assert name == "winnow" and found.init == init and found.experiments == ["high_100k_1B"]


def test_the_commands_for_a_gpu_host_are_commands() -> None:
    from mlflow.projects.utils import get_entry_point_command, load_project

    page = (ROOT / "docs/gpu.md").read_text()
    runs = [line.split() for line in page.splitlines() if line.startswith("mlflow run")]
    assert len(runs) == 6
    for _, _, _, _, entry, *words in runs:
        parameters = dict(word.split("=") for word in words if word != "-P")
        (command,) = get_entry_point_command(load_project(str(ROOT)), entry, parameters, None)
        assert command.startswith(f"winnow {entry}")


@pytest.mark.parametrize(("kind", "settings"), list(LAYERS.items()))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_layer_keeps_what_is_counted(
    kind: str, settings: dict[str, Any], precision: str, tmp_path: Path
) -> None:
    """Bytes of a position, as the difference of two lengths and of two depths: within a fifth."""
    shared = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    found: dict[tuple[int, int], int] = {}
    for depth in (1, 3):
        config = AutoConfig.for_model(kind, **settings | shared, num_hidden_layers=depth)
        model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(tmp_path / str(depth))
        for length in (32, 96):
            found[depth, length] = _saved(model, length, precision)
    per_position = [(found[d, 96] - found[d, 32]) / 64 for d in (1, 3)]
    spec = Pretrained(family="causal", weights=str(tmp_path / "3"), context=96)
    counted = cost.kept_bytes(shape(spec, 64), precision)
    assert (per_position[1] - per_position[0]) / 2 == pytest.approx(counted, rel=1 / 5)


def _saved(model: torch.nn.Module, length: int, precision: str) -> int:
    """Bytes that a forward pass over one sequence leaves for the backward one."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    ids, places = torch.zeros(1, length, dtype=torch.long), torch.arange(length)[None] % 16
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        loss = WithLoss(model, plain_head=True)(ids, places, ids)
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in kept.values())
