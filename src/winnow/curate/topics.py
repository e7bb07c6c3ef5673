"""Rows by what they are about, where no source says it: clusters of their vectors, named by words.

K-means on vectors of rows; each cluster takes the place of a source, so that every rule and every
question that knows sources knows topics.
"""

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core.texts import PARTS
from winnow.core.words import bare
from winnow.curate.numbers import Topics
from winnow.curate.semantic import buckets
from winnow.curate.steps import replaced
from winnow.curate.verdict import Positions, marks

READ, WORDS, LETTERS = 2000, 3, 3
"""Rows of a topic that its name is made of, words of a name, and the least letters of a word."""


def by_topic(table: pa.Table, rows: Positions, numbers: Topics) -> pa.Table:
    """The table with a topic as the source of each of these rows.

    Args:
        table: has ids, texts and hashes.
        rows: the positions of those that are left.
        numbers: see `Topics`.

    Raises:
        Refusal: the model cannot be had.
    """
    if not len(rows):
        return table
    number = min(numbers.clusters, len(rows))
    order, _, labels = buckets(table, rows, number, numbers)
    names = _names(table, rows[order], labels, number)
    found = pa.array([names[topic] for topic in labels[np.argsort(order)]], pa.string())
    return replaced(table, "source", marks(len(table), rows), found)


def _names(table: pa.Table, rows: Positions, labels: NDArray[np.int64], number: int) -> list[str]:
    """By topic the words that are in more of its rows than of all, the most telling first."""
    held = [_frequencies(table, rows[labels == topic][:READ]) for topic in range(number)]
    read = [min(READ, int((labels == topic).sum())) for topic in range(number)]
    everywhere: Counter[str] = Counter()
    for found in held:
        everywhere.update(found)
    names: list[str] = []
    for topic, found in enumerate(held):
        told = {
            word: count / read[topic] * math.log(sum(read) / everywhere[word])
            for word, count in found.items()
        }
        words = sorted(told, key=lambda word: (-told[word], word))[:WORDS]
        name = "-".join(words) or "wordless"
        names.append(f"{name}-{topic}" if name in names else name)
    return names


def _frequencies(table: pa.Table, rows: Positions) -> Counter[str]:
    """In how many of some rows each word is."""
    texts: Iterable[dict[str, str]] = table.select(PARTS).take(rows).to_pylist()
    found: Counter[str] = Counter()
    for parts in texts:
        words = set(bare("\n".join(parts.values())).lower().split())
        found.update(word for word in words if len(word) >= LETTERS and word.isalpha())
    return found
