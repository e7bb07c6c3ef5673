"""A model that gives an answer a number: transformers' own sequence classifier with one label.

Its body is a language model's, and its head begins at zero, so that before the first step no answer
is ahead of another. An answer's reward is read where the model reads its last token.
"""

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from winnow.core import cards, files
from winnow.core.errors import Refusal, loading
from winnow.models.loss import WithLoss
from winnow.models.sequences import IGNORED, Document, together

REPORT = "reward.json"
"""What a published reward model says of itself; see `report`."""
Z = 1.959964
"""Of an interval of 95%."""


def of(network: Any, end_of_text: int) -> Any:
    """A reward model with the body of a language model.

    Args:
        network: a PreTrainedModel with an output head.
        end_of_text: behind an answer, and the padding: others read the last token before it.

    Raises:
        Refusal: transformers has no classifier of this architecture whose head is a matrix.
    """
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(network.config)
    config.update({"num_labels": 1, "pad_token_id": end_of_text, "loss_type": None})
    with loading(f"transformers makes no reward model of a {config.model_type}"):
        made = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
        made.base_model.load_state_dict(network.base_model.state_dict())
    if not isinstance(getattr(made, "score", None), torch.nn.Linear):
        raise Refusal(f"transformers makes no reward model of a {config.model_type}")
    torch.nn.init.zeros_(made.score.weight)
    return made


def read(folder: Path) -> Any:
    """The weights of a published reward model, in fp32.

    Raises:
        Refusal: they cannot be loaded.
    """
    from transformers import AutoModelForSequenceClassification

    with loading(f"{folder} cannot be loaded"):
        return AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
        )


class WithRewards(WithLoss):
    """A reward model whose output is the reward of each document at its last target, 0 elsewhere:
    (sequences, length)."""

    def __init__(self, model: Any, *, packs: bool = True, by_document: bool = False) -> None:
        """Wrap a model; see WithLoss. What its body says is what is wanted of it."""
        super().__init__(model, packs=packs, plain_head=True, by_document=by_document)

    def forward(
        self, inputs: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Rewards of (sequences, length); the labels are already shifted."""
        is_target = torch.nn.functional.pad(labels != IGNORED, (0, 1))
        begins = torch.nn.functional.pad(positions == 0, (0, 1), value=True)
        is_last = is_target[:, :-1] & (begins[:, 1:] | ~is_target[:, 1:])
        scores = self.model.score(self._outputs(inputs, positions))[..., 0].float()
        found: torch.Tensor = scores * is_last
        return found


class RewardModel:
    """A reward model that a training published, on a GPU where there is one."""

    def __init__(self, folder: Path, min_accuracy: float) -> None:
        """Load it.

        Args:
            folder: models/<experiment>/<seed>.
            min_accuracy: that the lower end of its interval has to be above.

        Raises:
            Refusal: it is none, is not what its card says, or ranks too few held-out pairs right.
        """
        from winnow.models import family

        if not (folder / REPORT).is_file():
            raise Refusal(f"{folder} is no reward model that winnow trained")
        cards.read_card(folder, "winnow train")
        self.report = found = files.read_json(folder / REPORT)
        if found["low"] <= min_accuracy:
            raise Refusal(
                f"{folder} ranks {found['accuracy']:.1%} of {found['num_pairs']} held-out pairs "
                f"right, 95% interval from {found['low']:.1%}, which is not above min_accuracy "
                f"({min_accuracy:.1%}): train it on more pairs"
            )
        self.family = family.load_rewards(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.module = WithRewards(self.family.network.to(device), packs=False)

    def documents(self, rows: pa.Table) -> list[Document]:
        """Rows (ROW_SCHEMA) as it reads them, cut at its context."""
        context = self.family.spec.context
        documents = self.family.documents(rows, "response")
        return [Document(one.ids[:context], one.labels[:context]) for one in documents]

    @torch.inference_mode()
    def __call__(self, documents: Sequence[Document], size: int) -> list[float | None]:
        """The reward of each answer behind its question, a padded row each; None where no token of
        the answer is within the context.

        Args:
            documents: of `documents`.
            size: of them at a time.
        """
        order = [int(i) for i in np.argsort([len(one.ids) for one in documents], kind="stable")]
        read = [place for place in order if documents[place].num_targets]
        found: list[float | None] = [None] * len(documents)
        for start in range(0, len(read), size):
            places = read[start : start + size]
            batch, _ = together(
                [documents[place] for place in places],
                self.family.spec.context,
                self.family.begin,
                packing=False,
            )
            arrays = (batch.inputs, batch.positions, batch.labels)
            device = next(self.module.parameters()).device
            rewards = self.module(*(torch.from_numpy(one).to(device).long() for one in arrays))
            for place, reward in zip(places, rewards.sum(1).tolist(), strict=True):
                found[place] = reward
        return found


def report(accuracy: float, pairs: int) -> dict[str, float]:
    """What is said of a reward model: the share of held-out pairs whose chosen answer it puts
    ahead, with Wilson's interval (1927) of 95%.

    Args:
        accuracy: the share.
        pairs: their number.
    """
    spread = Z**2 / pairs
    middle = (accuracy + spread / 2) / (1 + spread)
    half = math.sqrt(accuracy * (1 - accuracy) * spread + spread**2 / 4) / (1 + spread)
    return {
        "accuracy": accuracy,
        "low": max(0.0, middle - half),
        "high": min(1.0, middle + half),
        "confidence": 0.95,
        "num_pairs": pairs,
    }
