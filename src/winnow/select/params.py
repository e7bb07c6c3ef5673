"""The section `select` of params.yaml."""

from dataclasses import dataclass

from winnow.core.experiments import Tier
from winnow.core.params import Name, Seed


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectConfig:
    """The declared tiers; the experiments say which of them are cut."""

    tiers: dict[Name, Tier]
    seed: Seed = 0
    """Of the random and matched draws."""
