"""Learning from a model's own answers: advantages, losses and gradients are those of TRL.

pytest tests/train/test_policies.py
"""

import copy
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
import trl
from tiny import TINY, corpus, make_until, write_jsonl, write_params
from torch import Tensor

from winnow import plan as planning
from winnow.core import files
from winnow.core.errors import Refusal
from winnow.core.objectives import GRPO, RLOO, Policy
from winnow.models import policies
from winnow.models.policies import Samples
from winnow.train import loop, stage

NUMBERS: dict[str, Policy] = {
    "rloo": RLOO(name="rloo", check="exact"),
    "grpo": GRPO(name="grpo", check="exact"),
    "without_divergence": GRPO(name="grpo", check="exact", beta=0.0),
}
PROMPTS, GROUP, TOKENS = 5, 4, 9


def random_samples(seed: int, numbers: Policy) -> tuple[Samples, Tensor]:
    """Answers of 1 to 9 tokens, with rewards of which some groups have one and the same."""
    rng = torch.Generator().manual_seed(seed)
    shape = (PROMPTS * GROUP, TOKENS)

    def drawn(scale: float) -> Tensor:
        return (torch.rand(shape, generator=rng, dtype=torch.float64) - 0.5) * scale

    lengths = torch.randint(1, TOKENS + 1, (len(drawn(1.0)),), generator=rng)
    old = drawn(4.0) - 3
    rewards = torch.randint(0, 2, (PROMPTS, GROUP), generator=rng).double()
    rewards[0] = 1.0
    found = Samples(
        log_probs=(old + drawn(0.4)).requires_grad_(),
        old=old,
        reference=old + drawn(1.0),
        mask=(torch.arange(TOKENS) < lengths[:, None]).long(),
        advantages=torch.zeros(()),
    )
    divergences = ((found.old - found.reference) * found.mask).sum(1).view(PROMPTS, GROUP)
    gained = policies.advantages(rewards, divergences, numbers).flatten()
    return replace(found, advantages=gained), rewards


def trainer_of(numbers: Policy, samples: Samples, rewards: Tensor) -> Any:
    """A trainer of TRL's without its set-up, whose models say what the samples hold."""
    trainer = MagicMock()
    accelerator = trainer.accelerator
    accelerator.device, accelerator.process_index = torch.device("cpu"), 0
    accelerator.gather = accelerator.gather_for_metrics = lambda value: value
    accelerator.reduce = lambda value, reduction: value
    trainer._metrics, trainer._logs = {"train": defaultdict(list)}, defaultdict(MagicMock)
    trainer.beta, trainer.num_generations = numbers.beta, GROUP
    trainer.epsilon_low = trainer.epsilon_high = policies.CLIP
    trainer.model.training, trainer.ref_model.training = True, True
    trainer.normalize_advantages = trainer.mask_truncated_completions = False
    trainer.reward_clip_range = trainer.pad_to_multiple_of = None
    trainer.environment_factories = trainer.environments = trainer.tools = None
    trainer.aux_loss_enabled = trainer.use_vllm = trainer._entropy_bonus_enabled = False
    trainer.off_policy_mask_threshold, trainer.top_entropy_quantile = None, 1.0
    trainer.importance_sampling_level, trainer.loss_type = "token", "grpo"
    trainer.current_gradient_accumulation_steps = 1
    trainer.args.delta, trainer.args.use_bias_correction_kl = None, False
    trainer.multi_objective_aggregation, trainer.scale_rewards = "sum_then_normalize", "group"
    trainer.args.gradient_accumulation_steps = trainer.args.steps_per_generation = 1
    trainer.args.gradient_checkpointing_kwargs, trainer.num_iterations = {}, 2
    trainer._tokenizer.pad_token_id = 0
    trainer.reward_func_names, trainer.reward_weights = ["checked"], torch.ones(1).double()
    trainer._pending_extra_logs, trainer._pending_metrics = {}, {}
    trainer._calculate_rewards = lambda *_: rewards.flatten()[:, None].clone()
    answers = [[1] * int(number) for number in samples.mask.sum(1)]
    said = ([[1]] * len(answers), answers)
    texts = ["said"] * len(answers)
    trainer._generate = lambda _: (
        (*said, texts) if numbers.name == "rloo" else (*said, None, texts, None, {}, None, None)
    )
    nothing = torch.zeros_like(samples.old)
    width = int(samples.mask.sum(1).max())

    def log_probs(model: Any, *_: Any, **__: Any) -> tuple[Tensor, Tensor, None]:
        by_model = samples.reference if model is trainer.ref_model else trainer.says
        return by_model[:, :width], nothing[:, :width], None

    trainer._get_per_token_logps_and_entropies = log_probs
    return trainer


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NUMBERS)
def test_advantages_losses_and_gradients_are_those_of_trl(name: str, seed: int) -> None:
    numbers = NUMBERS[name]
    samples, rewards = random_samples(seed, numbers)
    kind: Any = getattr(trl, f"{numbers.name.upper()}Trainer")
    trainer = trainer_of(numbers, samples, rewards)
    trainer.says = samples.old
    prompts = [{"prompt": "Why?"}] * len(samples.mask)
    given = kind._generate_and_score_completions(trainer, prompts)
    torch.testing.assert_close(samples.advantages, given["advantages"], rtol=1e-5, atol=1e-7)
    trainer.says = samples.log_probs
    wanted = kind._compute_loss(trainer, trainer.model, given)
    ours = policies.losses(samples, numbers).mean()
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-7)
    slopes = [torch.autograd.grad(loss, samples.log_probs)[0] for loss in (ours, wanted)]
    assert float(slopes[0].norm()) > 0
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-7)


def test_answers_that_all_fare_alike_teach_nothing_and_clipped_ones_neither() -> None:
    for numbers in (replace(NUMBERS[name], beta=0.0) for name in ("rloo", "grpo")):
        samples, _ = random_samples(1, numbers)
        assert samples.advantages[:GROUP].abs().max() == 0, "the first group's rewards are equal"
        far = replace(samples, old=samples.log_probs.detach() - 1, advantages=torch.ones(20))
        (slope,) = torch.autograd.grad(policies.losses(far, numbers).sum(), samples.log_probs)
        assert slope.abs().max() == 0


def declared(project: Path, **objective: Any) -> None:
    """A project whose rows all want one short word, which a model finds by chance."""
    rows = [row | {"output": "a", "input": ""} for row in corpus()]
    write_jsonl(project / "data/a.jsonl", rows)
    given: Any = copy.deepcopy(TINY)
    given["select"]["tiers"]["random_30"]["recipe"] = "own"
    given["train"]["recipes"]["own"] = given["train"]["recipes"]["quick"] | {
        "learning_rate": 0.01,
        "num_train_epochs": 4,
        "objective": {"samples": 8, "max_new_tokens": 8, "check": "contains"} | objective,
    }
    given["train"]["models"]["tiny"] |= {"context": 128, "dropout": 0.0}
    write_params(project, given)
    make_until("select", "random_30_tiny")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_what_a_program_rewards_is_learned_and_a_stopped_training_ends_in_the_same_bytes(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared(project, name=name)
    planning.run(["random_30_tiny"])
    stage.run(["random_30_tiny"], 0, False)
    folder = project / "models/random_30_tiny/0"
    curve = files.read_json(folder / "train_results.json")["curve"]
    assert curve[-1]["validation_reward"] > curve[0]["validation_reward"] + 0.15
    assert curve[-1]["validation_loss"] == -curve[-1]["validation_reward"]
    weights = (folder / "model.safetensors").read_bytes()
    shutil.rmtree(project / "models")

    step = loop.Run.step

    def stopped(run: loop.Run, batch: Any) -> None:
        if run.position.step == 13:
            raise KeyboardInterrupt
        step(run, batch)

    monkeypatch.setattr(loop.Run, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        stage.run(["random_30_tiny"], 0, False)
    monkeypatch.setattr(loop.Run, "step", step)
    stage.run(["random_30_tiny"], 0, False)
    assert (folder / "model.safetensors").read_bytes() == weights
    again = files.read_json(folder / "train_results.json")["curve"]
    assert [point | {"seconds": 0} for point in again] == [p | {"seconds": 0} for p in curve]


MINE = """
def shorter(answers):
    return [1 / (1 + len(one.text)) for one in answers]


def nothing(answers):
    return []
"""


def test_a_program_of_the_users_own_rewards_answers(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "my_house.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(project))
    own = {"samples": 2, "max_new_tokens": 4, "check": "my_house:shorter"}
    declared(project, name="rloo", **own)
    stage.run(["random_30_tiny"], 0, False)
    folder = project / "models/random_30_tiny/0"
    curve = files.read_json(folder / "train_results.json")["curve"]
    assert 0 < curve[-1]["validation_reward"] < 1
    assert files.read_json(folder / "card.json")["key"]["reward"] == files.file_hash(
        project / "my_house.py"
    )
    declared(project, name="rloo", **own | {"check": "my_house:nothing"})
    with pytest.raises(Refusal, match="my_house:nothing: expected 8 finite numbers"):
        stage.run(["random_30_tiny"], 0, False)


def test_what_cannot_be_learned_from_is_refused_in_one_line(project: Path) -> None:
    for objective, message in (
        ({"check": "number"}, "has a response that is no number, and grpo checks for one"),
        ({"max_new_tokens": 128}, "no prompt leaves room for an answer of 128 tokens"),
        ({"model": "data"}, "expected a check or the model of a reward, one of them"),
        ({"check": None}, "expected a check or the model of a reward, one of them"),
        ({"check": None, "model": "data"}, "objective.model: "),
        ({"check": "close"}, "expected exact, contains, number or package.module:name, found"),
        ({"check": "no_such_house:right"}, "objective.check: no_such_house:right: no module"),
    ):
        with pytest.raises(Refusal, match=message) as error:
            declared(project, name="grpo", **objective)
            stage.run(["random_30_tiny"], 0, False)
        assert "\n" not in str(error.value)
