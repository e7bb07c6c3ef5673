"""The section `train` of params.yaml."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from winnow.config import Model, Name, Range, Recipe, Text
from winnow.errors import Refusal


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
    models: dict[Name, Model]
    recipes: dict[Name, Recipe]

    def check(self) -> None:
        """Refuse a start that is none."""
        check_init(self.init)


def check_init(init: str) -> None:
    """Refuse a start that is neither scratch nor a folder nor a hub id with its commit."""
    is_name = init == "scratch" or re.fullmatch(r"[\w.-]+(/[\w.-]+)?@[0-9a-f]{40}", init)
    if not is_name and not Path(init).is_dir():
        raise Refusal(
            "params.yaml: train.init: expected scratch, a folder, or a hub id with its commit "
            f"(org/name@<40 hex digits>), found {init!r}"
        )
