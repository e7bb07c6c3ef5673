"""Which rows a tier takes: pure functions of the score table."""

import importlib
from collections.abc import Collection, Mapping

import pandas as pd

from winnow.core import rules
from winnow.core.errors import Refusal, at
from winnow.core.experiments import QUALITY, Tier
from winnow.select.pool import Pool


def column(tier: Tier) -> str:
    """The column of the score table by which a tier is cut, if its rule asks for a score."""
    return "score" if tier.scorer == QUALITY else tier.scorer


def _candidates(tier: Tier, scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that a tier may take: those of its sources, those with a score.

    Raises:
        Refusal: a source has no row.
    """
    sources, named = scores.get("source"), tier.sources or tier.weights or ()
    for source in named:
        if not (sources == source).any():
            known = ", ".join(sorted(sources.unique())[:6])
            raise Refusal(f"no row is of source {source!r}: the sources are {known}")
    if named:
        return scores[sources.isin([*named])]
    if rules.find(tier.rule).is_scored and scores[column(tier)].hasnans:
        return scores[scores[column(tier)].notna()]
    return scores


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
        pool = "the curated pool has" if available == len(scores) else "it may choose from"
        raise Refusal(f"tier {name} wants {number} rows, {pool} {available}")
    return number


def cut(
    name: str,
    tiers: Mapping[str, Tier],
    scores: pd.DataFrame,
    seed: int,
    reversed_columns: Collection[str] = (),
) -> pd.Index:
    """Choose a tier's rows.

    Args:
        name: of the tier.
        tiers: all declared tiers (a matched one needs the tier that it is matched to).
        scores: the score table of the pool.
        seed: of the random draws.
        reversed_columns: those of scorers of which the lowest score is the best.

    Returns:
        Index labels into `scores`, in the order of the rule: best first for top, worst first for
        bottom, longest first for longest, in drawn order for random ones.

    Raises:
        Refusal: the rule does not find as many rows as the tier is to have.
    """
    tier = tiers[name]
    number = size(name, tiers, scores)
    rows, by = _candidates(tier, scores), column(tier)
    of = None if tier.of is None else cut(tier.of, tiers, scores, seed, reversed_columns)
    pool = Pool(
        tier=tier,
        number=number,
        rows=rows,
        scores=-rows[by] if by in reversed_columns else rows[by],
        of=of,
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
