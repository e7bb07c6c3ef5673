"""Which rows a tier takes: pure functions of the score table."""

import importlib
from collections.abc import Mapping

import pandas as pd

from winnow.core import rules
from winnow.core.errors import Refusal, at
from winnow.core.experiments import Tier
from winnow.select.pool import Pool


def _candidates(tier: Tier, scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that a tier may take: those of its sources, where it names some.

    Raises:
        Refusal: a source has no row.
    """
    named = tier.sources or tier.weights
    if named is None:
        return scores
    sources = scores["source"]
    for source in named:
        if not (sources == source).any():
            known = ", ".join(sorted(sources.unique())[:6])
            raise Refusal(f"no row is of source {source!r}: the sources are {known}")
    return scores[sources.isin([*named])]


def size(name: str, tiers: Mapping[str, Tier], scores: pd.DataFrame) -> int:
    """How many rows a tier takes.

    Raises:
        Refusal: more than there are, or none; the message names both numbers.
    """
    tier = tiers[name]
    if tier.of is not None:
        return size(tier.of, tiers, scores)
    with at(f"tier {name}"):
        available = len(_candidates(tier, scores))
    number = tier.count if tier.share is None else round(tier.share * available)
    assert number is not None
    if not 0 < number <= available:
        pool = "the curated pool has" if available == len(scores) else "its sources have"
        raise Refusal(f"tier {name} wants {number} rows, {pool} {available}")
    return number


def cut(name: str, tiers: Mapping[str, Tier], scores: pd.DataFrame, seed: int) -> pd.Index:
    """Choose a tier's rows.

    Args:
        name: of the tier.
        tiers: all declared tiers (a matched one needs the tier that it is matched to).
        scores: SCORE_SCHEMA columns of the pool.
        seed: of the random draws.

    Returns:
        Index labels into `scores`, in the order of the rule: best first for top, worst first for
        bottom, longest first for longest, in drawn order for random ones.

    Raises:
        Refusal: the rule does not find as many rows as the tier is to have.
    """
    tier = tiers[name]
    pool = Pool(
        tier=tier,
        number=size(name, tiers, scores),
        rows=_candidates(tier, scores),
        of=None if tier.of is None else cut(tier.of, tiers, scores, seed),
        seed=seed,
    )
    choose = rules.find(tier.rule).choose
    if choose is None:
        choose = importlib.import_module(f"winnow.select.rules.{tier.rule}").choose
    with at(f"tier {name}"):
        chosen: pd.Index = choose(pool)
        if len(chosen) != pool.number or not chosen.is_unique:
            raise Refusal(f"{tier.rule} chose {len(chosen)} rows, it is to choose {pool.number}")
    return chosen
