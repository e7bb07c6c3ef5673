"""What the steps of a training are made of, and the loss that they lower."""

import abc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from winnow.core import cards, files
from winnow.core.objectives import KTO, REFERENCED, Policy, Preference, Reward
from winnow.models import preferences
from winnow.models.family import Family
from winnow.models.loss import WithLoss
from winnow.models.pairs import Pairs
from winnow.models.sequences import Sequences, Units, together

U = TypeVar("U", bound=Units)
REFERENCE = "reference"
"""The folder, among a run's checkpoints, of what the reference makes of the pairs."""


def batches(units: U, order: Any, size: int) -> Iterator[U]:
    """Units in an order, so many at a time."""
    for start in range(0, len(order), size):
        yield units[order[start : start + size]]


def tensors(batch: Sequences, device: torch.device) -> list[torch.Tensor]:
    """Inputs, positions and labels on the device."""
    arrays = (batch.inputs, batch.positions, batch.labels)
    return [torch.from_numpy(array).to(device).long() for array in arrays]


def forward(model: torch.nn.Module, batch: Sequences, precision: str) -> torch.Tensor:
    """What a module of losses, wrapped or not, makes of a batch, in nats: of a WithLoss the summed
    next-token loss."""
    device = next(model.parameters()).device
    # Not Accelerate's own autocast: its precision is set once a process, here it is the plan's.
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        losses: torch.Tensor = model(*tensors(batch, device))
    return losses


class Worker:
    """One process of a training."""

    def __init__(self, accelerator: Accelerator, model: torch.nn.Module, precision: str) -> None:
        """Take part.

        Args:
            accelerator: which process this is, of how many.
            model: the objective's module, wrapped.
            precision: bf16 or fp32.
        """
        self.accelerator, self.model, self.precision = accelerator, model, precision

    def share(self, batch: U) -> U:
        """The units of a batch that this process computes: every so many of them.

        Where there is none left, one that does not count: all processes must go through the model
        alike.
        """
        processes = self.accelerator.num_processes
        own: U = batch[slice(self.accelerator.process_index, None, processes)]
        return own if len(own) else cast(U, batch.silent())

    def forward(self, batch: Sequences) -> torch.Tensor:
        """What the module makes of sequences."""
        return forward(self.model, batch, self.precision)

    def added(self, sums: list[torch.Tensor]) -> Any:
        """Sums of batches, each added up over the processes, as numbers."""
        gathered: torch.Tensor = self.accelerator.gather(torch.stack(sums)[None])
        return gathered.double().sum(0).tolist()


class Objective(abc.ABC, Generic[U]):
    """What a loop asks of what it lowers; a loss is summed over what it counts."""

    module: Callable[[torch.nn.Module], torch.nn.Module]
    """Makes of a network what DDP or FSDP wraps, whose output `forward` returns."""

    def begin(
        self, worker: Worker, units: dict[str, U], size: int, state: Path, key: dict[str, Any]
    ) -> float:
        """Learn what is to be known of the weights that the training starts from.

        Args:
            worker: its model has those weights.
            units: what is trained and validated on.
            size: units at a time.
            state: folder of the run's unfinished work.
            key: what the run is made of.

        Returns:
            The seconds that it took, when it was done.
        """
        return 0.0

    def prepare(self, worker: Worker, batch: U, size: int) -> None:
        """Learn what the losses of a batch, cut into parts of a size, have in common."""

    @abc.abstractmethod
    def count(self, batch: U) -> int:
        """What a step's loss is divided by."""

    @abc.abstractmethod
    def loss(self, worker: Worker, batch: U) -> torch.Tensor:
        """Summed loss of this process's share of a batch."""

    @abc.abstractmethod
    def validate(self, worker: Worker, rows: U, size: int) -> dict[str, float]:
        """What a point of the curve says of the validation rows: its `validation_loss`, and more
        where there is more to say."""


class Tokens(Objective[Sequences]):
    """The next token; every one that counts weighs the same."""

    def __init__(self, module: Callable[[torch.nn.Module], torch.nn.Module] = WithLoss) -> None:
        """Take the module whose output is its summed loss."""
        self.module = module

    def count(self, batch: Sequences) -> int:
        """The targets."""
        return batch.num_targets

    def loss(self, worker: Worker, batch: Sequences) -> torch.Tensor:
        """Summed next-token loss, in nats."""
        return worker.forward(worker.share(batch))

    def validate(self, worker: Worker, rows: Sequences, size: int) -> dict[str, float]:
        """Loss per token, in nats."""
        losses = [self.loss(worker, batch) for batch in batches(rows, np.arange(len(rows)), size)]
        return {"validation_loss": sum(worker.added(losses)) / rows.num_targets}


class Preferences(Objective[Pairs]):
    """Which of two answers is better; every pair weighs the same."""

    def __init__(self, numbers: Preference, family: Family) -> None:
        """Take the method's numbers, and the model that reads both answers."""
        self.numbers, self.family, self.module = numbers, family, family.with_token_losses
        self._divergence = 0.0

    def _log_probs(self, worker: Worker, pairs: Pairs, answers: slice) -> torch.Tensor:
        """Log-probabilities of some answers of every pair, in nats: (pairs, answers)."""
        return -self._sums(worker, pairs, answers)

    def _sums(self, worker: Worker, pairs: Pairs, answers: slice) -> torch.Tensor:
        """What the module makes of the tokens of some answers of every pair, added up."""
        documents = [document for pair in pairs.answers for document in pair[answers]]
        context, begin = self.family.spec.context, self.family.begin
        batch, owners = together(documents, context, begin, self.family.packs)
        made = worker.forward(batch).double()
        places = torch.arange(len(documents), device=made.device)[:, None, None]
        is_own = torch.from_numpy(owners).to(made.device) == places
        # Not by index_add, which adds in any order on a GPU.
        return (made * is_own).sum((1, 2)).view(len(pairs), -1)

    def _answers(self, worker: Worker, pairs: Pairs) -> preferences.Answers:
        log_probs = self._log_probs(worker, pairs, slice(2))
        counts = torch.from_numpy(pairs.tokens).to(log_probs.device)
        # A method without a reference reads none, and NaN would be in the gradient of nothing.
        reference = torch.from_numpy(pairs.reference[:, :2]).to(log_probs.device)
        return preferences.Answers(
            chosen=log_probs[:, 0],
            rejected=log_probs[:, 1],
            chosen_tokens=counts[:, 0],
            rejected_tokens=counts[:, 1],
            chosen_reference=reference[:, 0],
            rejected_reference=reference[:, 1],
            divergence=self._divergence,
        )

    def begin(
        self, worker: Worker, units: dict[str, Pairs], size: int, state: Path, key: dict[str, Any]
    ) -> float:
        """Fill in what the weights that the training starts from make of every answer, once: what a
        killed run had computed is read from its state."""
        if self.numbers.name not in REFERENCED:
            return 0.0
        folder = state / REFERENCE
        if cards.is_made_of(folder, key):
            found = load_file(folder / "log_probs.safetensors")
        else:
            began = time.perf_counter()
            found = {name: self._reference(worker, pairs, size) for name, pairs in units.items()}
            if worker.accelerator.is_main_process:
                with cards.publish_folder(folder, {"key": key}) as partial:
                    save_file(found, partial / "log_probs.safetensors")
                    seconds = time.perf_counter() - began
                    files.write_json(partial / "seconds.json", seconds)
            worker.accelerator.wait_for_everyone()
        for name, pairs in units.items():
            pairs.reference[:] = found[name].numpy()
        return float(files.read_json(folder / "seconds.json"))

    @torch.no_grad()
    def _reference(self, worker: Worker, pairs: Pairs, size: int) -> torch.Tensor:
        worker.model.eval()
        process, processes = worker.accelerator.process_index, worker.accelerator.num_processes
        found = torch.zeros(pairs.reference.shape, dtype=torch.float64)
        found = found.to(worker.accelerator.device)
        for start in range(0, len(pairs), size):
            own = np.arange(len(pairs))[start : start + size][process::processes]
            batch = pairs[own] if len(own) else pairs[:1]
            log_probs = self._log_probs(worker, batch, slice(None))
            if len(own):
                found[own] = log_probs
        worker.model.train()
        added: torch.Tensor = worker.accelerator.reduce(found, "sum")
        return added.cpu().contiguous()

    @torch.no_grad()
    def prepare(self, worker: Worker, batch: Pairs, size: int) -> None:
        """Of KTO, estimate how far the model is from its reference, by what both make of answers to
        other questions: the mean log-ratio of all pairs, 0 at least."""
        if not isinstance(self.numbers, KTO):
            return
        is_training = worker.model.training
        worker.model.eval()
        sums = []
        for part in map(worker.share, batches(batch, np.arange(len(batch)), size)):
            reference = torch.from_numpy(part.reference[:, 2:]).to(worker.accelerator.device)
            ratios = self._log_probs(worker, part, slice(2, None)) - reference
            sums.append(ratios.sum() * part.is_counted)
        worker.model.train(is_training)
        self._divergence = max(0.0, sum(worker.added(sums)) / len(batch))

    def count(self, batch: Pairs) -> int:
        """The pairs."""
        return len(batch)

    def loss(self, worker: Worker, batch: Pairs) -> torch.Tensor:
        """Summed loss of pairs."""
        own = worker.share(batch)
        losses = preferences.losses(self._answers(worker, own), self.numbers)
        return losses.sum() * own.is_counted

    def validate(self, worker: Worker, rows: Pairs, size: int) -> dict[str, float]:
        """Loss per pair; the share of pairs whose chosen answer the model prefers; and the chosen
        answers' loss per token, in nats, as a training on responses has it."""
        self.prepare(worker, rows, size)
        sums = []
        for part in map(worker.share, batches(rows, np.arange(len(rows)), size)):
            answers = self._answers(worker, part)
            losses = preferences.losses(answers, self.numbers)
            right = preferences.margins(answers, self.numbers) > 0
            of_all = [losses.sum(), right.sum(), -answers.chosen.sum()]
            sums.append(torch.stack([one.double() for one in of_all]) * part.is_counted)
        loss, right, chosen = np.sum(worker.added(sums), axis=0).tolist()
        return {
            "validation_loss": loss / len(rows),
            "validation_accuracy": right / len(rows),
            "validation_chosen_loss": chosen / int(rows.tokens[:, 0].sum()),
        }


class Rewards(Preferences):
    """Which of two answers is better, by a number for each; the network is a reward model's."""

    def __init__(self, numbers: Reward, family: Family) -> None:
        """Take the numbers, and the model that reads both answers."""
        super().__init__(numbers, family)
        self.module = family.with_rewards

    def _log_probs(self, worker: Worker, pairs: Pairs, answers: slice) -> torch.Tensor:
        """Rewards of some answers of every pair: (pairs, answers)."""
        return self._sums(worker, pairs, answers)

    def validate(self, worker: Worker, rows: Pairs, size: int) -> dict[str, float]:
        """Loss per pair, and the share of pairs whose chosen answer has the higher reward."""
        found = super().validate(worker, rows, size)
        return {name: found[name] for name in ("validation_loss", "validation_accuracy")}


def of(objective: Any, family: Family) -> Objective[Any]:
    """What a recipe's objective asks of a loop."""
    if isinstance(objective, str):
        return Tokens(family.with_loss)
    if isinstance(objective, Reward):
        return Rewards(objective, family)
    if isinstance(objective, Policy):
        from winnow.train.policies import Policies  # which is made of what is here

        return Policies(objective, family)
    return Preferences(objective, family)
