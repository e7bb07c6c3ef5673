"""A reward model: its loss is TRL's, its number is the same everywhere, and a bad one is refused.

pytest tests/train/test_rewards.py
"""

import copy
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from tiny import make_until, write_pairs, write_params
from tiny_models import write_model
from torch import Tensor
from train.test_preferences import gradients, random_pairs
from transformers import AutoModelForSequenceClassification
from trl.trainer.reward_trainer import RewardTrainer

from winnow.core import files
from winnow.core.errors import Refusal
from winnow.core.objectives import GRPO, Reward
from winnow.core.records import ROW_SCHEMA
from winnow.generate.critics import BestOf
from winnow.models import family, judged, preferences, rewards
from winnow.score import stage as scoring
from winnow.train import stage
from winnow.train.policies import Answer, rewards_of


@pytest.mark.parametrize("weight", [0.0, 0.01])
def test_the_loss_and_its_gradient_are_those_of_trl(weight: float) -> None:
    pairs = random_pairs(5)
    kind: Any = RewardTrainer
    trainer = kind.__new__(kind)  # without its set-up, which is of a model

    def same(value: Tensor) -> Tensor:
        return value

    trainer.accelerator = SimpleNamespace(gather=same, gather_for_metrics=same)
    trainer.args = SimpleNamespace(center_rewards_coefficient=weight or None)
    trainer.model, trainer._metrics = SimpleNamespace(training=True), {"train": defaultdict(list)}
    trainer._total_train_tokens, trainer._tp_size = 0, 1
    said = torch.cat([pairs.chosen, pairs.rejected])[:, None]
    wanted = trainer.compute_loss(
        lambda **_: SimpleNamespace(logits=said), {"attention_mask": torch.ones(26, 2)}
    )
    ours = preferences.losses(pairs, Reward(name="reward", center_weight=weight)).mean()
    torch.testing.assert_close(ours, wanted, rtol=1e-8, atol=1e-10)
    for one, other in zip(gradients(ours, pairs), gradients(wanted, pairs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def trained(project: Path, kind: str = "", epochs: int = 8) -> tuple[Path, dict[str, Any]]:
    """A reward model of a project of pairs, and its params: a GPT-2's or a Llama's."""
    given = write_pairs(project, objective={"name": "reward"}, num_train_epochs=epochs)
    given["curate"] |= {"validation": 60}
    write_params(project, given)
    make_until("select")
    if kind:
        weights = write_model(project / "base", kind)
        given["train"]["models"]["tiny"] = {"family": "causal", "weights": str(weights)}
        given["train"]["models"]["tiny"] |= {"context": 64}
        write_params(project, given)
    stage.run(["pairs_40_tiny"], 0, False)
    return project / "models/pairs_40_tiny/0", given


def rows() -> Any:
    return pq.read_table("artifacts/curate/validation.parquet").select(ROW_SCHEMA.names)


@pytest.mark.parametrize("kind", ["", "llama"])
def test_it_ranks_held_out_pairs_and_scores_as_transformers_does(
    project: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, given = trained(project, kind)
    curve = files.read_json(folder / "train_results.json")["curve"]
    said = files.read_json(folder / rewards.REPORT)
    assert curve[0]["train_loss"] == pytest.approx(0.69, abs=0.1), "no answer is ahead at first"
    assert curve[-1]["validation_accuracy"] == said["accuracy"] and said["low"] > 0.55
    assert "validation_chosen_loss" not in curve[-1]
    assert said["low"] < said["accuracy"] <= said["high"] <= 1 and said["num_pairs"] > 20
    assert "held-out pairs right (95% interval" in capsys.readouterr().out

    given["score"]["scorers"] = [{"name": "reward", "model": str(folder)}]
    write_params(project, given)
    scoring.run()
    ours = pq.read_table("artifacts/score/validation.parquet")["reward"].to_pylist()
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    model = family.load_rewards(folder)
    assert sum(one is not None for one in ours) > 50
    for document, one in zip(model.documents(rows(), "response"), ours, strict=True):
        if one is None:  # the question alone fills the context
            continue
        ids = torch.tensor([[model.begin, *document.ids.tolist()]])[:, :64]
        with torch.no_grad():
            assert float(theirs(ids).logits) == pytest.approx(one, rel=1e-3, abs=1e-4)

    best = BestOf(2, {"name": "reward", "model": str(folder)}, lambda asked: [])
    question = rows()["instruction"][0].as_py()
    marks = best._marks([(question, rows()["response"][0].as_py()), (question, "bread no")])
    assert marks[0] > marks[1]
    asked = [Answer(question, "", text) for text in (rows()["response"][0].as_py(), "bread no")]
    as_rewards = rewards_of(GRPO(name="grpo", model=str(folder)))(asked, 2)
    assert as_rewards == pytest.approx(marks, rel=1e-4), "as a training's rewards"


def test_one_that_ranks_like_a_coin_is_refused(project: Path) -> None:
    folder, given = trained(project)
    low = files.read_json(folder / rewards.REPORT)["low"]
    scorer = {"name": "reward", "model": str(folder), "min_accuracy": low}
    given["score"]["scorers"] = [scorer]
    write_params(project, given)
    with pytest.raises(Refusal, match=r"held-out pairs right, .* is not above min_accuracy"):
        scoring.run()
    with pytest.raises(Refusal, match=r"critic: model: .* is not above min_accuracy"):
        BestOf(2, scorer, lambda asked: [], "critic")._marks([("Why?", "So.")])
    given["score"]["scorers"] = [scorer | {"min_accuracy": low - 1e-6}]
    write_params(project, given)
    scoring.run()
    with pytest.raises(Refusal, match="is a reward model, which writes no words"):
        judged.load(folder)
    given["score"]["scorers"] = [scorer | {"model": "data"}]
    write_params(project, given)
    with pytest.raises(Refusal, match="data is no reward model that winnow trained"):
        scoring.run()


def test_an_interval_is_wilsons() -> None:
    """scipy.stats.binomtest(k, n).proportion_ci(method="wilson") says the same."""
    from scipy.stats import binomtest

    for right, number in ((0, 7), (7, 7), (33, 60)):
        found, wanted = rewards.report(right / number, number), binomtest(right, number)
        low, high = wanted.proportion_ci(method="wilson")
        assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-6)


def test_an_adapter_has_no_head(project: Path) -> None:
    given = copy.deepcopy(write_pairs(project, objective={"name": "reward"}))
    given["train"]["models"]["tiny"]["adapter"] = {"name": "lora"}
    write_params(project, given)
    with pytest.raises(Refusal, match="pairs_40_tiny: a reward model is trained whole"):
        stage.run(["pairs_40_tiny"], 0, False)
