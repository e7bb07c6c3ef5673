"""Recipes beside each other: how many unique rows each brought for what it asked and cost.

The interval is a jackknife over shards (Heltshe and Forrester 1983, for numbers of species): rows
of one shard depend on each other, and to draw shards with replacement would make repeats.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from winnow.core.words import cut
from winnow.generate.duplication import Corpus
from winnow.generate.forecast import CONFIDENCE

MATCH = "near"
"""By which a corpus is deduplicated, and which decides shares and rates."""
COLUMNS = (
    *("candidates", "passed", "unique", "share of candidates", "distinct pairs"),
    *("words", "tokens a row"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a recipe came to."""

    candidates: int
    passed: int
    """Of quality control, repeats among them."""
    unique: int
    """By near match."""
    share: float | None
    """Unique rows for each candidate, over all shards: what more shards would bring falls."""
    margin: float | None
    """Half of its interval; None with fewer than two shards."""
    distinct_pairs: float | None
    """Different pairs of words over all pairs of the instructions: distinct-2 of Li et al. 2016.
    It falls with the number of rows: compare recipes of one size."""
    words: float | None
    """Of a response, on average."""
    tokens_per_row: float | None
    """Tokens of prompts and replies that were paid for each unique row."""


def outcome(
    corpus: Corpus, responses: Sequence[str], cards: Sequence[Mapping[str, Any]]
) -> Outcome:
    """What a recipe came to.

    Args:
        corpus: the rows that passed, by shard.
        responses: of them.
        cards: of all shards, in the order of the corpus.
    """
    labels = corpus.labels(MATCH)
    made = np.array([card["ledger"]["rows_in"] for card in cards])
    unique, spent = len(np.unique(labels)), [card["totals"]["all"] for card in cards]
    tokens = sum(one["prompt_tokens"] + one["reply_tokens"] for one in spent)
    pairs = [pair for text in corpus.instructions for pair in _pairs(text)]
    lengths = [len(cut(text)) for text in responses]
    return Outcome(
        candidates=int(made.sum()),
        passed=len(labels),
        unique=unique,
        share=unique / int(made.sum()) if made.sum() else None,
        margin=_margin(labels, corpus.shard, made),
        distinct_pairs=len(set(pairs)) / len(pairs) if pairs else None,
        words=sum(lengths) / len(lengths) if lengths else None,
        tokens_per_row=tokens / unique if unique else None,
    )


def _pairs(text: str) -> list[tuple[str, str]]:
    words = cut(text.lower())
    return list(zip(words, words[1:], strict=False))


def _margin(labels: Any, shard: Any, made: Any) -> float | None:
    """Half of the interval of unique rows a candidate, by leaving out a shard at a time."""
    number = len(made)
    if number < 2 or not (made.sum() - made).all():
        return None
    without = np.array([len(np.unique(labels[shard != one])) for one in range(number)])
    shares = without / (made.sum() - made)
    error = math.sqrt((number - 1) / number * ((shares - shares.mean()) ** 2).sum())
    return float(special.stdtrit(number - 1, 0.5 + CONFIDENCE / 2) * error)


def lines(outcomes: Mapping[str, Outcome]) -> list[str]:
    """The table for a screen."""
    width = max(map(len, outcomes), default=0)
    found = [" ".join([" " * width, *(f"{name:>{max(12, len(name))}}" for name in COLUMNS)])]
    for name, one in outcomes.items():
        share = "-" if one.share is None else f"{one.share:.1%}"
        share += "" if one.margin is None else f" ± {100 * one.margin:.1f}"
        cells = [
            *(f"{number:,}" for number in (one.candidates, one.passed, one.unique)),
            share,
            *("-" if n is None else f"{n:.3f}" for n in (one.distinct_pairs,)),
            *("-" if n is None else f"{n:,.0f}" for n in (one.words, one.tokens_per_row)),
        ]
        sizes = (max(12, len(column)) for column in COLUMNS)
        row = (f"{cell:>{size}}" for cell, size in zip(cells, sizes, strict=True))
        found.append(" ".join([f"{name:{width}}", *row]))
    return found
