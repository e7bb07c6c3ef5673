"""The section `select` of params.yaml."""

from dataclasses import dataclass

from winnow import config


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectConfig:
    """The declared tiers; the experiments say which of them are cut."""

    tiers: dict[str, config.Tier]
    seed: int = 0
    """Of the random and matched draws."""
