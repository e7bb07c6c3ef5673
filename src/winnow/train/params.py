"""The section `train` of params.yaml."""

from dataclasses import dataclass
from typing import Annotated, Literal

from winnow.core.experiments import Model, Pretrained, Recipe
from winnow.core.params import Name, Range, Text
from winnow.models.pretrained import check_init


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """What may be trained and how long that may take."""

    max_hours: Annotated[float, Range("(0, 1e12]")]
    """A run that is estimated to take longer is refused before its first step."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    init: Text = "scratch"
    """Or the weights to start from: a folder, or a hub id with its commit, org/name@<40 hex>."""
    flops_per_second: Annotated[float, Range("[1, 1e21]")] | None = None
    """What a training reaches here; budgets of seconds are counted in it, so that a busy machine
    changes no result."""
    budgets: tuple[Name, ...] = ()
    """Ends of experiments' names, such as 1k_steps; see config.Budget."""
    models: dict[Name, Model | Pretrained]
    recipes: dict[Name, Recipe]

    def check(self) -> None:
        """Refuse a start that is none."""
        check_init(self.init)
