"""The section `train` of params.yaml."""

from dataclasses import dataclass
from typing import Literal

from winnow import config


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """What may be trained and how long that may take."""

    max_hours: float
    """A run that is estimated to take longer is refused before its first step."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    init: str = "scratch"
    """Or the weights to start from: a folder, or a hub id with its commit, org/name@<40 hex>."""
    flops_per_second: float | None = None
    """What a training reaches here; budgets of seconds are counted in it, so that a busy machine
    changes no result."""
    budgets: tuple[str, ...] = ()
    """Ends of experiments' names, such as 1k_steps; see config.Budget."""
    models: dict[str, config.Model]
    recipes: dict[str, config.Recipe]
