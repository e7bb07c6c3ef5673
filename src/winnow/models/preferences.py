"""Losses by which a model learns which of two answers is better, a pair each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from winnow.core.objectives import DPO, KTO, ORPO, Preference, Reward, SimPO


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What a model and its reference make of pairs of answers; each tensor is (pairs,)."""

    chosen: torch.Tensor
    """Log-probability of the chosen answer with its end, in nats; of a reward model its reward."""
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    """Tokens of the chosen answer with its end."""
    rejected_tokens: torch.Tensor
    chosen_reference: torch.Tensor
    """The chosen answer's log-probability under the reference."""
    rejected_reference: torch.Tensor
    divergence: torch.Tensor | float = 0.0
    """KTO's: how far the model is from its reference, in nats, of all pairs of a step."""

    @property
    def ratios(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-ratios of the chosen and of the rejected answer to the reference."""
        return self.chosen - self.chosen_reference, self.rejected - self.rejected_reference

    @property
    def means(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities a token of the chosen and of the rejected answer."""
        return self.chosen / self.chosen_tokens, self.rejected / self.rejected_tokens


def _preferred(logits: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Bradley and Terry's loss, some of the pairs taken to be the wrong way round."""
    return -(1 - smoothing) * logsigmoid(logits) - smoothing * logsigmoid(-logits)


def dpo(pairs: Answers, numbers: DPO) -> torch.Tensor:
    """The loss of arXiv 2305.18290; with the chosen answer's loss a token that of 2404.19733."""
    chosen, rejected = pairs.ratios
    losses = _preferred(numbers.beta * (chosen - rejected), numbers.label_smoothing)
    return losses - numbers.sft_weight * pairs.means[0]


def simpo(pairs: Answers, numbers: SimPO) -> torch.Tensor:
    """The loss of arXiv 2405.14734."""
    chosen, rejected = pairs.means
    logits = numbers.beta * (chosen - rejected) - numbers.gamma
    return _preferred(logits, numbers.label_smoothing)


def orpo(pairs: Answers, numbers: ORPO) -> torch.Tensor:
    """The loss of arXiv 2403.07691; its first part counts the chosen answer, not the question."""
    chosen, rejected = pairs.means
    return -chosen - numbers.weight * logsigmoid(_log_odds(chosen) - _log_odds(rejected))


def _log_odds(log_prob: torch.Tensor) -> torch.Tensor:
    """log(p / (1 - p)), for p up to 1 less a rounding."""
    log_prob = log_prob.clamp(max=-torch.finfo(log_prob.dtype).eps)
    return log_prob - torch.log(-torch.expm1(log_prob))


def kto(pairs: Answers, numbers: KTO) -> torch.Tensor:
    """The loss of arXiv 2402.01306, the mean of a pair's two answers."""
    chosen, rejected = pairs.ratios
    wanted = 1 - torch.sigmoid(numbers.beta * (chosen - pairs.divergence))
    unwanted = 1 - torch.sigmoid(numbers.beta * (pairs.divergence - rejected))
    return (numbers.desirable_weight * wanted + numbers.undesirable_weight * unwanted) / 2


def reward(pairs: Answers, numbers: Reward) -> torch.Tensor:
    """The loss of arXiv 2203.02155, of two rewards; with the squared sum that of 2312.09244."""
    losses = _preferred(pairs.chosen - pairs.rejected, 0.0)
    return losses + numbers.center_weight * (pairs.chosen + pairs.rejected) ** 2


LOSSES: dict[str, Callable[[Answers, Any], torch.Tensor]] = {
    "dpo": dpo,
    "simpo": simpo,
    "orpo": orpo,
    "kto": kto,
    "reward": reward,
}


def losses(pairs: Answers, numbers: Preference) -> torch.Tensor:
    """The loss of each pair, (pairs,)."""
    return LOSSES[numbers.name](pairs, numbers)


def margins(pairs: Answers, numbers: Preference) -> torch.Tensor:
    """By how much the model prefers the chosen answer, in the terms of its loss: (pairs,)."""
    if numbers.name == "reward":
        return pairs.chosen - pairs.rejected
    chosen, rejected = pairs.ratios if numbers.name in ("dpo", "kto") else pairs.means
    return chosen - rejected
