"""Learning from pairs: losses are those of the papers, pairs stay whole, a resume changes nothing.

pytest tests/train/test_preferences.py
"""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import trl
from faults import train_kills
from tiny import ROOT, make_until, write_pairs, write_params
from torch import Tensor
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from winnow import plan as planning
from winnow.core import files, params
from winnow.core.errors import Refusal
from winnow.core.experiments import Model, Recipe
from winnow.core.objectives import DPO, KTO, ORPO, Preference, SimPO
from winnow.models import gpt2, loss, preferences, sequences
from winnow.models.family import Family, load
from winnow.models.pairs import Pairs
from winnow.models.preferences import Answers
from winnow.train import loop, objectives, stage

NUMBERS: dict[str, Preference] = {
    "dpo": DPO(name="dpo"),
    "smoothed": DPO(name="dpo", beta=0.5, label_smoothing=0.2),
    "with_sft": DPO(name="dpo", sft_weight=1.0),
    "simpo": SimPO(name="simpo"),
    "orpo": ORPO(name="orpo"),
    "kto": KTO(name="kto", desirable_weight=1.5),
}
PAIRS = 13
SHORT = {"samples": 4, "max_new_tokens": 8}


def random_pairs(seed: int) -> Answers:
    """Log-probabilities as answers of 1 to 60 tokens have them."""
    rng = torch.Generator().manual_seed(seed)

    def drawn(scale: Tensor | float) -> Tensor:
        return -torch.rand(PAIRS, generator=rng, dtype=torch.float64) * scale

    counts = [torch.randint(1, 60, (PAIRS,), generator=rng) for _ in range(2)]
    policy = [drawn(4.0 * count) for count in counts]
    return Answers(
        chosen=policy[0].requires_grad_(),
        rejected=policy[1].requires_grad_(),
        chosen_tokens=counts[0],
        rejected_tokens=counts[1],
        chosen_reference=policy[0].detach() + drawn(9.0) + 4,
        rejected_reference=policy[1].detach() + drawn(9.0) + 4,
        divergence=float(-drawn(3.0)[0]),
    )


def plain(pairs: Answers, numbers: Any) -> Tensor:
    """The losses as the papers write them: odds, ratios and sigmoids of whole numbers."""
    p_chosen, p_rejected = pairs.chosen, pairs.rejected
    lengths = pairs.chosen_tokens, pairs.rejected_tokens
    if numbers.name in ("dpo", "kto"):
        reward = numbers.beta * torch.log(torch.exp(p_chosen - pairs.chosen_reference))
        other = numbers.beta * torch.log(torch.exp(p_rejected - pairs.rejected_reference))
    if numbers.name == "dpo":
        is_right = 1 / (1 + torch.exp(-(reward - other)))
        kept = 1 - numbers.label_smoothing
        mixed = kept * torch.log(is_right) + (1 - kept) * torch.log(1 - is_right)
        return -mixed + numbers.sft_weight * -p_chosen / lengths[0]
    if numbers.name == "simpo":
        ahead = numbers.beta * (p_chosen / lengths[0] - p_rejected / lengths[1])
        return -torch.log(1 / (1 + torch.exp(-(ahead - numbers.gamma))))
    if numbers.name == "orpo":
        means = [torch.exp(p / n) for p, n in zip((p_chosen, p_rejected), lengths, strict=True)]
        odds = [mean / (1 - mean) for mean in means]
        return -torch.log(means[0]) - numbers.weight * torch.log(
            1 / (1 + torch.exp(-torch.log(odds[0] / odds[1])))
        )
    baseline = numbers.beta * pairs.divergence
    values = [1 / (1 + torch.exp(-(reward - baseline))), 1 / (1 + torch.exp(-(baseline - other)))]
    weights = (numbers.desirable_weight, numbers.undesirable_weight)
    return sum(w * (1 - v) for w, v in zip(weights, values, strict=True)) / 2  # type: ignore[return-value]


def gradients(losses: Tensor, pairs: Answers) -> list[Tensor]:
    return list(torch.autograd.grad(losses.mean(), [pairs.chosen, pairs.rejected]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", NUMBERS)
def test_losses_and_gradients_are_those_of_the_papers(name: str, seed: int) -> None:
    pairs, numbers = random_pairs(seed), NUMBERS[name]
    ours, wanted = preferences.losses(pairs, numbers), plain(pairs, numbers)
    torch.testing.assert_close(ours, wanted, rtol=1e-8, atol=1e-10)
    for one, other in zip(gradients(ours, pairs), gradients(wanted, pairs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_an_answer_that_is_certain_has_a_finite_loss() -> None:
    pairs = replace(random_pairs(0), chosen=torch.zeros(PAIRS, requires_grad=True))
    losses = preferences.losses(pairs, NUMBERS["orpo"])
    assert losses.isfinite().all()
    assert all(slope.isfinite().all() for slope in gradients(losses, pairs))


class Said:
    """A model whose answer of one token has the log-probability that a pair was given, as TRL's
    trainers ask for it; what they log of it is zero."""

    training = True

    def __init__(self, log_probs: Tensor) -> None:
        self.log_probs = log_probs[:, None]

    def __call__(self, **_: Any) -> Any:
        nothing = torch.zeros_like(self.log_probs)
        return SimpleNamespace(
            log_probs=self.log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
        )


def trl_loss(name: str, model: Said, references: Tensor, **numbers: Any) -> Tensor:
    """The mean loss of a trainer of TRL's, chosen answers before rejected ones."""
    shape, kind = (len(references), 2), getattr(trl, name)
    trainer = kind.__new__(kind)  # without its set-up, which is of a model

    def same(value: Tensor) -> Tensor:
        return value

    trainer.accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=same, gather_for_metrics=same
    )
    trainer.model, trainer._metrics = model, {"train": defaultdict(list)}
    trainer._total_train_tokens, trainer._tp_size = 0, 1
    trainer.aux_loss_enabled, trainer.precompute_ref_logps = False, True
    vars(trainer).update(numbers)
    half = len(references) // 2
    found: Tensor = trainer._compute_loss(
        model,
        {
            "input_ids": torch.ones(shape, dtype=torch.long),
            "attention_mask": torch.ones(shape, dtype=torch.long),
            "completion_mask": torch.tensor([[0, 1]]).expand(shape),
            "label": torch.arange(len(references)) < half,
            "ref_logps": references,
            "ref_chosen_logps": references[:half],
            "ref_rejected_logps": references[half:],
        },
        return_outputs=False,
    )
    return found


@pytest.mark.parametrize("name", ["dpo", "simpo", "orpo", "kto"])
def test_losses_and_gradients_are_those_of_trl(name: str) -> None:
    """Of KTO without its divergence, which TRL takes from a micro-batch and we from a step."""
    numbers: Any = NUMBERS[name]
    pairs = replace(random_pairs(3), divergence=0.0)
    model = Said(torch.cat([pairs.chosen, pairs.rejected]))
    references = torch.cat([pairs.chosen_reference, pairs.rejected_reference])
    if name == "dpo":
        given = {"loss_types": ["sigmoid"], "loss_weights": [1.0], "ld_alpha": None}
        given |= {"f_divergence_type": "reverse_kl", "use_weighting": False, "beta": numbers.beta}
        wanted = trl_loss("DPOTrainer", model, references, **given)
    elif name == "kto":
        given = {"beta": numbers.beta, "calculate_KL": False, "loss_type": "kto"}
        given |= {"desirable_weight": 1.5, "undesirable_weight": 1.0}
        wanted = trl_loss("KTOTrainer", model, references, **given)
    else:
        kind = CPOTrainer if name == "simpo" else ORPOTrainer
        trainer = kind.__new__(kind)
        trainer.accelerator = SimpleNamespace(device=torch.device("cpu"))
        if name == "simpo":
            trainer.beta, trainer.simpo_gamma = numbers.beta, numbers.gamma
            trainer.alpha, trainer.label_smoothing, trainer.loss_type = 0.0, 0.0, "simpo"
            wanted = trainer.cpo_loss(*pairs.means)[0].mean()
        else:
            trainer.beta = numbers.weight
            wanted = (-pairs.means[0] - trainer.odds_ratio_loss(*pairs.means)[0]).mean()
    ours = preferences.losses(pairs, numbers).mean()
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-7, check_dtype=False)
    for one, other in zip(gradients(ours, pairs), gradients(wanted, pairs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


TINY = Model(num_layers=2, hidden_size=32, num_heads=2, context=48)


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_token_losses_and_their_gradient_are_those_of_whole_logits(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "ROWS", 7)  # at a time, and a rest
    monkeypatch.setattr(loss, "LOGITS_CPU", 0)
    torch.manual_seed(0)
    model = gpt2.build(TINY, 60, 0)
    rng = np.random.default_rng(0)
    documents = [np.append(rng.integers(1, 60, size), 0).astype(np.int32) for size in (30, 45, 9)]
    batch = sequences.pack(documents, 48, 0)[:]
    weights = torch.randn(batch.labels.shape)
    found = objectives.forward(loss.WithTokenLosses(model), batch, kind)
    (found * weights).sum().backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    inputs, positions, labels = objectives.tensors(batch, torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
        logits = model(input_ids=inputs, position_ids=positions, use_cache=False).logits
    whole = torch.nn.functional.cross_entropy(
        logits.float().mT, labels, ignore_index=sequences.IGNORED, reduction="none"
    )
    (whole * weights).sum().backward()
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        off = (ours[name] - parameter.grad).norm() / parameter.grad.norm()
        assert off < (1e-5 if kind == "fp32" else 0.02), (name, off)


def answers_of(number: int, others: int) -> list[tuple[sequences.Document, ...]]:
    """Pairs of answers of random tokens to random questions."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(number):
        question = rng.integers(1, 60, rng.integers(2, 12))
        answers = [rng.integers(1, 60, rng.integers(1, 20)) for _ in range(2 + others)]
        texts = [np.concatenate([question, answer, [0]]).astype(np.int32) for answer in answers]
        found.append(tuple(sequences.Document.of(text, len(question)) for text in texts))
    return found


class Tiny(gpt2.GPT2):
    """A tiny GPT-2 that needs no tokenizer."""

    def __init__(self, dropout: float = 0.0) -> None:
        self.spec, self.begin, self.base = replace(TINY, dropout=dropout), 0, "scratch"
        torch.manual_seed(0)
        self.network = gpt2.build(self.spec, 60, 0)


def plan_of(
    folder: Path, numbers: Preference, micro: int = 4, model: Family | None = None
) -> loop.Plan:
    """A training of 24 pairs, 8 a step, three times over."""
    model = model or Tiny()
    recipe = Recipe(
        learning_rate=0.01,
        num_train_epochs=3,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=8 // micro,
        eval_steps=3,
        save_steps=2,
        objective=numbers,
    )
    others = int(numbers.name == "kto")
    train, validation = (Pairs.of(answers_of(n, others), 48) for n in (24, 7))
    objective = objectives.of(numbers, model)
    plan = loop.Plan(model.network, recipe, train, validation, 0, "fp32", folder, {"a": 1})
    return replace(plan, objective=objective)


@pytest.mark.parametrize("name", ["dpo", "simpo", "orpo", "kto"])
def test_the_loss_of_packed_pairs_is_that_of_one_answer_at_a_time(
    name: str, tmp_path: Path
) -> None:
    numbers = NUMBERS[name]
    plan = plan_of(tmp_path, numbers)
    run = loop.Run(plan)
    network = copy.deepcopy(plan.model).eval()
    with torch.no_grad():  # another model than the reference
        for parameter in plan.model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    plan.model.eval()

    def log_prob(model: Any, document: sequences.Document) -> float:
        given = torch.tensor([[0, *document.ids[:-1].tolist()]])
        with torch.no_grad():
            logs = model(input_ids=given).logits.log_softmax(-1)[0].double()
        places = torch.from_numpy(np.flatnonzero(document.labels != sequences.IGNORED))
        return float(logs[places, torch.from_numpy(document.ids).long()[places]].sum())

    pairs = plan.train
    assert isinstance(pairs, Pairs)
    made = [
        torch.tensor([[log_prob(model, one) for one in pair] for pair in pairs.answers]).double()
        for model in (plan.model, network)
    ]
    counts = torch.from_numpy(pairs.tokens)
    divergence = max(0.0, float((made[0] - made[1])[:, 2:].mean())) if name == "kto" else 0.0
    wanted = plain(
        Answers(
            chosen=made[0][:, 0],
            rejected=made[0][:, 1],
            chosen_tokens=counts[:, 0],
            rejected_tokens=counts[:, 1],
            chosen_reference=made[1][:, 0],
            rejected_reference=made[1][:, 1],
            divergence=divergence,
        ),
        numbers,
    )
    plan.objective.prepare(run.worker, pairs, 5)
    summed = plan.objective.loss(run.worker, pairs)
    assert float(summed.detach()) == pytest.approx(float(wanted.sum()), rel=1e-4)


def curve(plan: loop.Plan) -> list[dict[str, float]]:
    return [{**point, "seconds": 0.0} for point in loop.train(plan, lambda point: None).curve]


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_however_a_step_is_cut_its_pairs_weigh_the_same(name: str, tmp_path: Path) -> None:
    whole = curve(plan_of(tmp_path / "8", NUMBERS[name], 8))
    assert whole[-1]["train_loss"] < whole[0]["train_loss"]
    assert whole[-1]["validation_chosen_loss"] > 0 and len(whole) == 9
    for micro in (1, 2):
        parts = curve(plan_of(tmp_path / str(micro), NUMBERS[name], micro))
        for one, other in zip(whole, parts, strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_the_reference_is_computed_once_and_sealed(tmp_path: Path) -> None:
    first = plan_of(tmp_path, NUMBERS["dpo"])
    loop.Run(first)
    assert isinstance(first.train, Pairs) and np.isfinite(first.train.reference).all()
    file = tmp_path / "reference/log_probs.safetensors"
    sealed = file.read_bytes()

    def again() -> np.ndarray[Any, Any]:
        """What a run takes for the reference whose model is another one."""
        plan = plan_of(tmp_path, NUMBERS["dpo"])
        with torch.no_grad():
            for parameter in plan.model.parameters():
                parameter.mul_(1.5)
        loop.Run(plan)
        assert isinstance(plan.train, Pairs)
        return plan.train.reference

    assert np.array_equal(again(), first.train.reference)
    file.write_bytes(sealed[:-1] + b"!")
    assert not np.array_equal(again(), first.train.reference), "a damaged one is made anew"


def test_an_answer_beyond_the_context_is_cut_and_its_pair_left_out_where_none_is_left() -> None:
    question, answer = np.arange(1, 11, dtype=np.int32), np.full(8, 5, np.int32)
    long = sequences.Document.of(np.append(question, answer), 10)
    short = sequences.Document.of(np.append(question[:2], answer), 2)
    pairs = Pairs.of([(short, long), (short, short)], 12)
    assert pairs.tokens.tolist() == [[8, 2], [8, 8]] and pairs.num_targets == 26
    assert len(Pairs.of([(short, long), (short, short)], 10)) == 1
    assert pairs.peak(1) == 10 + 12


def declared(project: Path, objective: Any, **recipe: Any) -> None:
    """A project of pairs whose tier is cut."""
    write_pairs(project, objective=objective, **recipe)
    make_until("select")


def test_pairs_are_learned_from_end_to_end(project: Path) -> None:
    declared(project, {"name": "dpo"}, num_train_epochs=6)
    stage.run(["pairs_40_tiny"], 0, False)
    folder = project / "models/pairs_40_tiny/0"
    results = files.read_json(folder / "train_results.json")
    points = results["curve"]
    assert points[0]["train_loss"] == pytest.approx(np.log(2), abs=0.05), "it starts as its own"
    assert points[-1]["train_loss"] < 0.9 * points[0]["train_loss"]
    assert points[-1]["validation_accuracy"] > 0.5 and points[-1]["validation_chosen_loss"] > 0
    assert results["num_steps"] == 60, "40 pairs, 4 a step, six times"
    config = files.read_json(folder / "experiment_config.json")
    assert config["recipe"]["objective"]["beta"] == 0.1 and config["num_rows"] == 40
    assert load(folder).network.config.n_layer == 1
    assert not (project / ".winnow/train/pairs_40_tiny-0").exists()


def test_the_cost_of_pairs_is_counted_and_a_budget_of_seconds_is_spent_on_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flops = {}
    for name in ("simpo", "dpo", "kto"):
        given = write_pairs(project, objective={"name": name})
        given["train"]["flops_per_second"] = 1e7
        write_params(project, given)
        if name == "simpo":
            make_until("select")
        shutil.rmtree(project / ".winnow", ignore_errors=True)
        stage.run(["pairs_40_tiny_60_seconds"], 0, False)
        made = project / "models/pairs_40_tiny_60_seconds/0/train_results.json"
        flops[name] = files.read_json(made)
        assert 0.9 < flops[name]["flops"] / (60 * 1e7) <= 1, name
        planning.run(["pairs_40_tiny_60_seconds"])
        (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("pairs_40_")]
        assert "?" not in line and " 40 " in line, line
    steps = [flops[name]["num_steps"] for name in ("simpo", "dpo", "kto")]
    assert steps[0] > steps[1] > steps[2] > 0


def test_what_cannot_be_compared_is_refused_in_one_line(project: Path) -> None:
    given = write_pairs(project, every=2, objective={"name": "dpo"})
    make_until("select", "high_40_tiny_pairs")
    missing = "rows have no rejected answer, and dpo compares two: name rejected"
    with pytest.raises(Refusal, match=missing):
        stage.run(["high_40_tiny_pairs"], 0, False)
    given["train"]["max_hours"] = 1e-9
    write_params(project, given)
    with pytest.raises(Refusal, match="would take about"):
        stage.run(["pairs_40_tiny"], 0, False)
    for objective, message in (
        ("dpo", "pairs.objective: expected {name: dpo}, found 'dpo'"),
        ({"name": "ppo"}, "kto, reward, rloo, grpo, found 'ppo'"),
        ({"name": "dpo", "beta": 0}, "objective.beta: expected a number in"),
        ({"name": "simpo", "weight": 1.0}, "unknown key train.recipes.pairs.objective.weight"),
    ):
        given["train"]["recipes"]["pairs"]["objective"] = objective
        write_params(project, given)
        with pytest.raises(Refusal) as error:
            params.load("train", stage.TrainConfig)
        assert message in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [{"name": "dpo"}, {"name": "reward"}, {"name": "grpo", "check": "contains", **SHORT}],
    ids=lambda objective: objective["name"],
)
def test_killed_anywhere_a_training_on_answers_ends_in_the_same_bytes(
    objective: dict[str, Any], project: Path
) -> None:
    """DPO, whose reference is among what a kill may fall into; see test_survives.py."""
    given = write_pairs(project)
    given["train"]["recipes"]["quick"]["objective"] = objective
    given["experiments"] = ["high_40_tiny"]
    write_params(project, given)
    make_until("select")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, train_kills.__file__, "5", "1"],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(kill["killed"] for kill in found) >= 5
    for kill in found:
        assert kill["whole"] and kill["resumed"] and kill["equal"] and not kill["debris"], kill
