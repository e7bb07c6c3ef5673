"""Which rows a tier takes: pure functions of the score table."""

import hashlib
import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from winnow.core import rules
from winnow.core.errors import Refusal, at
from winnow.core.experiments import Tier, score_column
from winnow.core.layout import draw_name
from winnow.select.pool import Pool


def _draw_seed(seed: int, training_seed: int) -> int:
    """The seed of a draw for a training: a hash of both, so that no two pairs share one."""
    text = f"{seed}/{training_seed}"
    return int(hashlib.blake2b(text.encode(), digest_size=4).hexdigest(), 16)


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """The rows of tiers, each draw of them chosen once, when it is first asked for."""

    tiers: Mapping[str, Tier]
    """All that are declared: one may be matched to another, or a part of it."""
    scores: pd.DataFrame
    """The compact score table of the pool, and which rows are pairs."""
    seed: int
    """Of the draws, with the training's."""
    reversed_columns: Collection[str] = ()
    """Those of scorers of which the lowest score is the best."""
    chosen: dict[str, pd.Index] = field(default_factory=dict)
    """By the name of the draw."""
    ledgers: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """What rules had to say, by the name of the draw and by source."""

    def _candidates(self, tier: Tier) -> pd.DataFrame:
        """The rows that a tier may take: those of its sources, pairs, those with a score.

        Raises:
            Refusal: a source has no row.
        """
        scores, named = self.scores, tier.sources or tier.weights or ()
        sources = scores["source"]
        for source in named:
            if not (sources == source).any():
                known = ", ".join(sorted(sources.unique())[:6])
                raise Refusal(f"no row is of source {source!r}: the sources are {known}")
        column = score_column(tier.scorer)
        if named:
            is_there = sources.isin([*named])
        elif rules.find(tier.rule).is_paired:
            is_there = scores["is_pair"]
        elif rules.find(tier.rule).is_scored and scores[column].hasnans:
            is_there = scores[column].notna()
        else:
            return scores
        rows = scores[is_there]
        # A source without a row is none.
        return rows.assign(source=rows["source"].cat.remove_unused_categories())

    def size(self, name: str) -> int:
        """How many rows a tier takes.

        Raises:
            Refusal: more than there are, or none; the message names both numbers.
        """
        tier = self.tiers[name]
        if tier.of is not None and not tier.is_sized:
            return self.size(tier.of)
        with at(f"tier {name}"):
            available = self.size(tier.of) if tier.of else len(self._candidates(tier))
        number = tier.count if tier.share is None else round(tier.share * available)
        assert number is not None
        if not 0 < number <= available * (tier.repeat or 1):
            pool = "the curated pool has" if available == len(self.scores) else "it may choose from"
            raise Refusal(f"tier {name} wants {number} rows, {pool} {available}")
        return number

    def rows(self, name: str, training_seed: int = 0) -> pd.Index:
        """The rows of a tier that a training learns.

        Args:
            name: of the tier.
            training_seed: it decides the rows of tiers that are drawn, and of no others.

        Returns:
            Index labels into `scores`, in the order of the rule: best first for top, worst first
            for bottom, longest first for longest, in drawn order for random ones.

        Raises:
            Refusal: the rule does not find as many rows as the tier is to have.
        """
        draw = draw_name(name, training_seed if self.tiers[name].is_drawn else None)
        if draw not in self.chosen:
            self.ledgers[draw] = {}
            self.chosen[draw] = self._choose(name, training_seed, self.ledgers[draw])
        return self.chosen[draw]

    def _choose(self, name: str, training_seed: int, ledger: dict[str, Any]) -> pd.Index:
        tier, number = self.tiers[name], self.size(name)
        rows, by = self._candidates(tier), score_column(tier.scorer)
        pool = Pool(
            tier=tier,
            number=number,
            rows=rows,
            scores=-rows[by] if by in self.reversed_columns else rows[by],
            of=None if tier.of is None else self.rows(tier.of, training_seed),
            seed=_draw_seed(self.seed, training_seed) if tier.is_drawn else self.seed,
            ledger=ledger,
        )
        choose = rules.find(tier.rule).choose
        if choose is None:
            choose = importlib.import_module(f"winnow.select.rules.{tier.rule}").choose
        with at(f"tier {name}"):
            chosen: pd.Index = choose(pool)
            if len(chosen) != number or not (tier.repeat or chosen.is_unique):
                raise Refusal(f"{tier.rule} chose {len(chosen)} rows, it is to choose {number}")
        return chosen
