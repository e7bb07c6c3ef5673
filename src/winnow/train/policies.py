"""Learning from one's own answers: sampled, rewarded and learned from in one step.

What a step samples follows from the weights, the training's seed and the step alone, so that a
killed training goes on to the same bytes.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from winnow.core import extensions
from winnow.core.checks import CHECKS, holds
from winnow.core.errors import Refusal, at
from winnow.core.objectives import GRPO, Policy
from winnow.core.records import ROW_SCHEMA
from winnow.models import policies, sampling
from winnow.models.family import Family
from winnow.models.prompts import Prompts
from winnow.models.rewards import RewardModel
from winnow.models.sequences import IGNORED, Document, together
from winnow.train.objectives import Objective, Worker, forward


class Answer(NamedTuple):
    """What a model said, to which question, and what the row says."""

    question: str
    response: str
    text: str


Program = Callable[[Sequence[Answer]], Sequence[float]]
"""What an `objective.check` of the form `package.module:name` names: the reward of each answer, a
finite number. Equal answers have to get equal rewards, or a killed training ends elsewhere."""

Rewards = Callable[[Sequence[Answer], int], list[float]]
"""The reward of each answer, so many of them at a time."""


def rewards_of(numbers: Policy) -> Rewards:
    """What rewards answers.

    Raises:
        Refusal: the program or the reward model cannot be had, or ranks too few pairs right; the
            program gives answers no reward each.
    """
    check = next((one for one in CHECKS if one == numbers.check), None)
    if check:
        return lambda given, _: [float(holds(check, one.response, one.text)) for one in given]
    if numbers.check:
        return _by_program(numbers.check)
    with at("params.yaml: train.recipes: objective.model"):
        model = RewardModel(Path(str(numbers.model)), numbers.min_accuracy)

    def by_model(given: Sequence[Answer], size: int) -> list[float]:
        empty = dict.fromkeys(ROW_SCHEMA.names, "")
        rows = [empty | {"instruction": one.question, "response": one.text} for one in given]
        found = model(model.documents(pa.Table.from_pylist(rows, ROW_SCHEMA)), size)
        least = min((one for one in found if one is not None), default=0.0)
        return [least if one is None else one for one in found]

    return by_model


def _by_program(path: str) -> Rewards:
    with at("params.yaml: train.recipes: objective.check"):
        program: Program = extensions.load(path, FunctionType)

    def rewarded(given: Sequence[Answer], _: int) -> list[float]:
        found = [float(one) for one in program(given)]
        if len(found) != len(given) or not np.isfinite(found).all():
            raise Refusal(f"{path}: expected {len(given)} finite numbers for as many answers")
        return found

    return rewarded


@dataclass(frozen=True, slots=True)
class Group:
    """The answers to one prompt."""

    documents: list[Document]
    """Each behind its prompt; its tokens are the targets."""
    rewards: list[float]


class Policies(Objective[Prompts]):
    """Answers that are rewarded; every answer weighs the same."""

    def __init__(self, numbers: Policy, family: Family) -> None:
        """Take the method's numbers, and the model that answers."""
        self.numbers, self.family, self.module = numbers, family, family.with_token_losses
        self._groups: dict[int, tuple[Group, torch.Tensor]] = {}

    def begin(
        self, worker: Worker, units: dict[str, Prompts], size: int, state: Path, key: dict[str, Any]
    ) -> float:
        """Keep a copy of the weights that the training starts from, where it is a reference.

        Raises:
            Refusal: several processes train, or the reward model is not to be had.
        """
        if worker.accelerator.num_processes > 1:
            raise Refusal(f"{self.numbers.name} is trained by one process: launch no more")
        self._rewards = rewards_of(self.numbers)
        if self.numbers.beta:
            self._reference = copy.deepcopy(worker.model).eval().requires_grad_(False)
        return 0.0

    @torch.no_grad()
    def _answered(self, worker: Worker, batch: Prompts, size: int, seed: int) -> list[Group]:
        """What the model says to each prompt, with its rewards; the random numbers are those of the
        seed and the prompt."""
        numbers, vocabulary, context = (
            self.numbers,
            self.family.vocabulary,
            self.family.spec.context,
        )
        network, end = self.family.network, vocabulary.end_of_text
        dice = (np.random.default_rng([seed, int(place)]) for place in batch.places)
        is_training = worker.model.training
        worker.model.eval()
        with torch.autocast(
            network.device.type, torch.bfloat16, enabled=worker.precision == "bf16"
        ):
            said = sampling.complete(
                sampling.CausalDecoder(network, context, end),
                [[self.family.begin, *one.ids.tolist()] for one in batch.prompts],
                end,
                vocabulary.size,
                sampling.Sampling(
                    num_samples=numbers.samples,
                    max_new_tokens=numbers.max_new_tokens,
                    temperature=1.0,
                    top_p=1.0,
                    batch_size=size,
                    seed=0,
                ),
                seeds=[int(one.integers(2**63)) for one in dice],
                shown=False,
            )
        worker.model.train(is_training)
        answers = [[_until(ids, end) for ids in each.astype(np.int32)] for each in said]
        texts = [vocabulary.tokenizer.decode_batch(each) for each in answers]
        given = [
            Answer(one.question, one.response, text.strip())
            for one, each in zip(batch.prompts, texts, strict=True)
            for text in each
        ]
        rewards = np.reshape(self._rewards(given, size), (len(batch), numbers.samples)).tolist()
        return [
            Group([Document.of(np.append(one.ids, ids), len(one.ids)) for ids in each], rewarded)
            for one, each, rewarded in zip(batch.prompts, answers, rewards, strict=True)
        ]

    def _log_probs(
        self, worker: Worker, model: torch.nn.Module, documents: list[Document]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each token of answers, in nats, and which are tokens: both (answers,
        tokens)."""
        context, begin = self.family.spec.context, self.family.begin
        batch, owners = together(documents, context, begin, self.family.packs)
        losses = forward(model, batch, worker.precision).double().flatten()
        is_target = batch.labels.ravel() != IGNORED
        own = [np.flatnonzero(is_target & (owners.ravel() == i)) for i in range(len(documents))]
        places = np.zeros((len(own), max(map(len, own))), np.int64)
        mask = np.zeros(places.shape, np.int64)
        for row, kept, tokens in zip(places, mask, own, strict=True):
            row[: len(tokens)], kept[: len(tokens)] = tokens, 1
        found = torch.from_numpy(mask).to(losses.device)
        return -losses[torch.from_numpy(places).to(losses.device)] * found, found

    @torch.no_grad()
    def prepare(self, worker: Worker, batch: Prompts, size: int) -> None:
        """Sample the answers of a step, and say how much better than its group each is."""
        groups = self._answered(worker, batch, size, torch.initial_seed())
        rewards = torch.tensor([group.rewards for group in groups], dtype=torch.float64)
        divergences = torch.zeros_like(rewards)
        if self.numbers.name == "rloo" and self.numbers.beta:
            worker.model.eval()
            for place, group in enumerate(groups):
                own, mask = self._log_probs(worker, worker.model, group.documents)
                other, _ = self._log_probs(worker, self._reference, group.documents)
                divergences[place] = ((own - other) * mask).sum(1).cpu()
            worker.model.train()
        gained = policies.advantages(rewards, divergences, self.numbers)
        self._groups = dict(
            zip(batch.places.tolist(), zip(groups, gained, strict=True), strict=True)
        )

    def count(self, batch: Prompts) -> int:
        """The answers."""
        return len(batch) * self.numbers.samples

    def loss(self, worker: Worker, batch: Prompts) -> torch.Tensor:
        """Summed loss of answers, each of which is learned from once, by the model that gave it."""
        groups = [self._groups[place] for place in batch.places.tolist()]
        documents = [document for group, _ in groups for document in group.documents]
        log_probs, mask = self._log_probs(worker, worker.model, documents)
        reference = log_probs.detach()
        if isinstance(self.numbers, GRPO) and self.numbers.beta:
            with torch.no_grad():
                reference, _ = self._log_probs(worker, self._reference, documents)
        samples = policies.Samples(
            log_probs=log_probs,
            old=log_probs.detach(),
            reference=reference,
            mask=mask,
            advantages=torch.cat([gained for _, gained in groups]).to(log_probs.device),
        )
        return policies.losses(samples, self.numbers).sum()

    def validate(self, worker: Worker, rows: Prompts, size: int) -> dict[str, float]:
        """The mean reward of the answers to validation prompts, drawn by the same random numbers at
        every point; and its negative, which stands for a loss."""
        groups = self._answered(worker, rows, size, 0)
        reward = float(np.mean([group.rewards for group in groups]))
        return {"validation_loss": -reward, "validation_reward": reward}


def _until(ids: Any, end: int) -> Any:
    """An answer's tokens up to its end, with it where there is one."""
    places = np.flatnonzero(ids == end)
    return ids[: places[0] + 1] if len(places) else ids
