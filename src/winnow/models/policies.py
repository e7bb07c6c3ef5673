"""Losses by which a model learns from its own answers, each with a reward: pure functions of what
was sampled, one group of answers a prompt."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from winnow.core.objectives import GRPO, RLOO, Policy

CLIP = 0.2
"""How far a probability may move from that at which a model sampled, and count (Schulman et al.
2017, arXiv 1707.06347)."""
NOISE = 1e-4
"""Added to the standard deviation of a group's rewards, which may be 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """What models make of sampled answers; each tensor but the last is (answers, tokens)."""

    log_probs: torch.Tensor
    """Log-probability of each token under the model that learns, in nats."""
    old: torch.Tensor
    """The same under the model that sampled."""
    reference: torch.Tensor
    """The same under the weights that the training starts from."""
    mask: torch.Tensor
    """1 at the tokens of an answer with its end, 0 behind it."""
    advantages: torch.Tensor
    """How much better than its group an answer is, (answers,); see `advantages`."""
    clip: float = CLIP


def _clipped(ratios: torch.Tensor, advantages: torch.Tensor, clip: float) -> torch.Tensor:
    """The pessimistic objective of PPO (Schulman et al. 2017), as a loss."""
    held = ratios.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratios * advantages, held * advantages)


def rloo(samples: Samples, numbers: RLOO) -> torch.Tensor:
    """The loss of arXiv 2402.14740, of whole answers; with a clipped ratio, for samples of a model
    some steps older. Its divergence is in the rewards."""
    ratios = ((samples.log_probs - samples.old) * samples.mask).sum(1).exp()
    return _clipped(ratios, samples.advantages, samples.clip)


def grpo(samples: Samples, numbers: GRPO) -> torch.Tensor:
    """The loss of arXiv 2402.03300, of tokens, the mean of each answer, with its divergence."""
    ratios = (samples.log_probs - samples.old).exp()
    away = samples.reference - samples.log_probs
    losses = _clipped(ratios, samples.advantages[:, None], samples.clip)
    losses = losses + numbers.beta * (away.exp() - away - 1)
    return (losses * samples.mask).sum(1) / samples.mask.sum(1).clamp(min=1)


LOSSES: dict[str, Callable[[Samples, Any], torch.Tensor]] = {"rloo": rloo, "grpo": grpo}


def losses(samples: Samples, numbers: Policy) -> torch.Tensor:
    """The loss of each answer, (answers,)."""
    return LOSSES[numbers.name](samples, numbers)


def advantages(rewards: torch.Tensor, divergences: torch.Tensor, numbers: Policy) -> torch.Tensor:
    """How much better than its group an answer is: (prompts, answers).

    RLOO takes the divergence off the rewards, and the mean of the others off each; GRPO takes off
    the mean of all, and divides by their standard deviation.

    Args:
        rewards: (prompts, answers), two answers or more.
        divergences: by how much likelier an answer is to the model that sampled than to the
            reference, in nats: (prompts, answers).
        numbers: of the method.
    """
    if numbers.name == "rloo":
        rewards = rewards - numbers.beta * divergences
        others = rewards.sum(1, keepdim=True) - rewards
        return rewards - others / (rewards.shape[1] - 1)
    return (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + NOISE)
