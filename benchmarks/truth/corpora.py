"""Corpora of which it is known what makes a row good, in a language that a tiny model can learn.

A row is a topic and a walk through words. Every topic has its own four successors of each word, of
unequal chance; noise puts any word in a successor's place. Rows are judged on clean walks of all
lengths, which no corpus holds.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from winnow.models.tokenizer import Tokens
from winnow.select.compact import compact

TOPICS, WORDS, VOCABULARY = 4, 64, 69
"""Token 0 ends a text, then come the topics and the words."""
CHANCES = (0.55, 0.25, 0.15, 0.05)
SHORTEST, LONGEST = 16, 56
ROWS, TEST_ROWS = 2000, 1200

NOISE = {
    "quality": 0.9,
    "no quality": 0.0,
    "length": 0.0,
    "wrong labels": 0.9,
    "crossing": 0.35,
    "one topic": 0.35,
}
"""What is planted -> the share of words that are noise in the worst row; in the best there is none.

quality: the score is what is clean. no quality: all rows are clean, and the score is a die. length:
all rows are clean, and the score is the length. wrong labels: rows are as of quality, and the score
is a die. crossing: as of quality, with noise so mild that it hurts less than seeing few rows often.
one topic: as of crossing, but a score that first asks for one of the four topics and then for what
is clean. It was added when the program's method was settled, and tells what was not tuned on.
"""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents of token ids, each with its end, and the score table that tiers are cut from."""

    documents: list[Tokens]
    scores: pd.DataFrame
    test: list[Tokens]


def _walks(
    lengths: NDArray[np.int64], noise: NDArray[np.float64], dice: np.random.Generator
) -> list[Tokens]:
    # The language is the same in all corpora: only rows differ.
    successors = np.random.default_rng(0).integers(WORDS, size=(TOPICS, WORDS, len(CHANCES)))
    topics = dice.integers(TOPICS, size=len(lengths))
    words = np.empty((len(lengths), LONGEST), np.int64)
    words[:, 0] = dice.integers(WORDS, size=len(lengths))
    for place in range(1, LONGEST):
        chosen = dice.choice(len(CHANCES), size=len(lengths), p=CHANCES)
        following = successors[topics, words[:, place - 1], chosen]
        anything = dice.integers(WORDS, size=len(lengths))
        words[:, place] = np.where(dice.random(len(lengths)) < noise, anything, following)
    tokens = np.hstack([1 + topics[:, None], 1 + TOPICS + words])
    return [
        np.append(row[:length], 0).astype(np.int32)
        for row, length in zip(tokens, lengths, strict=True)
    ]


def corpus(kind: str) -> Corpus:
    """The corpus of a kind of NOISE; always the same."""
    dice = np.random.default_rng([1, list(NOISE).index(kind)])
    lengths = dice.integers(SHORTEST, LONGEST + 1, size=ROWS)
    quality = dice.random(ROWS)
    score = {"length": (lengths + dice.random(ROWS)) / (LONGEST + 1)}.get(kind, quality)
    if kind in ("no quality", "wrong labels"):
        score = dice.random(ROWS)
    documents = _walks(lengths, NOISE[kind] * (1 - quality), dice)
    if kind == "one topic":
        score = quality + np.array([document[0] == 1 for document in documents])
    names = [f"{index:08}" for index in range(ROWS)]
    table = {"id": names, "hash": names, "source": ["planted"] * ROWS} | {
        "score": score,
        "num_tokens": lengths + 1,
    }
    scores = compact(pa.table(table).column, ("score", "num_tokens"))
    dice = np.random.default_rng(2)
    lengths = dice.integers(SHORTEST, LONGEST + 1, size=TEST_ROWS)
    test = _walks(lengths, np.zeros(TEST_ROWS), dice)
    return Corpus(documents, scores, test)
