"""What a recipe trains a model for: the tokens that a loss counts, or which of two answers is
better, with the numbers of each method and their published defaults."""

from dataclasses import dataclass
from typing import Annotated, Literal

from winnow.core import extensions
from winnow.core.checks import CHECKS
from winnow.core.errors import Refusal
from winnow.core.params import Range, Text

Objective = Literal["next_token", "response", "seq2seq"]
"""The tokens that a loss counts: all; those of the response; or those of the response as the
target of an encoder's source."""

Beta = Annotated[float, Range("(0, 1000]")]
Weight = Annotated[float, Range("[0, 1000]")]
Smoothing = Annotated[float, Range("[0, 0.5)")]


@dataclass(frozen=True, kw_only=True, slots=True)
class DPO:
    """Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290)."""

    name: Literal["dpo"]
    beta: Beta = 0.1
    """How much a log-ratio to the reference counts."""
    label_smoothing: Smoothing = 0.0
    """The share of pairs that are taken to be the wrong way round (Mitchell 2023)."""
    sft_weight: Weight = 0.0
    """Of the chosen answer's loss a token, which is added; 1 in Pang et al. 2024 (arXiv
    2404.19733)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimPO:
    """Simple preference optimization (Meng et al. 2024, arXiv 2405.14734), without a reference."""

    name: Literal["simpo"]
    beta: Beta = 2.0
    """How much a log-probability a token counts."""
    gamma: Annotated[float, Range("[0, 1000]")] = 0.5
    """By how much the chosen answer is to be ahead."""
    label_smoothing: Smoothing = 0.0
    """The share of pairs that are taken to be the wrong way round."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ORPO:
    """Odds ratio preference optimization (Hong et al. 2024, arXiv 2403.07691), without a
    reference."""

    name: Literal["orpo"]
    weight: Weight = 0.1
    """Of the odds ratio, beside the chosen answer's loss a token; the paper's lambda."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KTO:
    """Kahneman-Tversky optimization (Ethayarajh et al. 2024, arXiv 2402.01306): every answer by
    itself is wanted or not."""

    name: Literal["kto"]
    beta: Beta = 0.1
    """How much a log-ratio to the reference counts."""
    desirable_weight: Weight = 1.0
    """Of chosen answers."""
    undesirable_weight: Weight = 1.0
    """Of rejected answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """A reward model (Ouyang et al. 2022, arXiv 2203.02155): a number for an answer, by which the
    chosen one is ahead as Bradley and Terry have it. What is published writes no words."""

    name: Literal["reward"]
    center_weight: Weight = 0.0
    """Of the squared sum of a pair's rewards, which is added: it holds them about zero (Eisenstein
    et al. 2023, arXiv 2312.09244)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnAnswers:
    """How a model's own answers are drawn, at temperature 1 from all words, and rewarded: by a
    program or by a reward model, one of them."""

    samples: Annotated[int, Range("[2, 1024]")] = 8
    """Answers to a prompt."""
    max_new_tokens: Annotated[int, Range("[1, 100000]")] = 64
    """Tokens of an answer with its end, at most; longer prompts than leave room are left out."""
    check: Text | None = None
    """How the row's response is found in the answer, which makes the reward 1, else 0: `exact`,
    `contains` or `number`; or a program `package.module:name` that rewards answers, see
    winnow.train.policies.Program."""
    model: Text | None = None
    """A folder models/<experiment>/<seed> of a reward model, whose number is the reward."""
    min_accuracy: Annotated[float, Range("[0, 1)")] = 0.5
    """The share of held-out pairs that the reward model surely has to rank right."""

    def __post_init__(self) -> None:
        """Refuse no reward, two, and a check that there is not."""
        if (self.check is None) == (self.model is None):
            raise Refusal("check: expected a check or the model of a reward, one of them")
        if self.check and self.check not in CHECKS and not extensions.is_path(self.check):
            known = ", ".join(CHECKS)
            raise Refusal(f"check: expected {known} or package.module:name, found {self.check!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RLOO(OwnAnswers):
    """REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740): a model's own answers, each
    against the others to its prompt."""

    name: Literal["rloo"]
    beta: Weight = 0.05
    """Of the divergence from the reference, in nats an answer, which its reward loses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GRPO(OwnAnswers):
    """Group relative policy optimization (Shao et al. 2024, arXiv 2402.03300): a model's own
    answers, each against its group, token by token."""

    name: Literal["grpo"]
    beta: Weight = 0.04
    """Of the divergence from the reference, in nats a token, which is added to the loss."""


Policy = RLOO | GRPO
Preference = DPO | SimPO | ORPO | KTO | Reward
REFERENCED = ("dpo", "kto")
"""Those that compare a model with the weights that its training started from."""

COMPARING = ("dpo", "simpo", "orpo", "kto", "reward")
SAMPLING = ("rloo", "grpo")
OBJECTIVES: dict[str, tuple[str, ...]] = {
    "gpt2": ("next_token", "response", *COMPARING, *SAMPLING),
    "causal": ("next_token", "response", *COMPARING, *SAMPLING),
    "seq2seq": ("seq2seq",),
}
"""What each family can be trained for."""


def name_of(objective: Objective | Preference | Policy) -> str:
    """What an objective is called."""
    return objective if isinstance(objective, str) else objective.name
