"""How unique instructions are: what repeats, how often, and what each shard brought that was new.

What counts as one text is a matter of the match:

- `exact`: equal when normalised: visible characters in NFKC, lower case, single spaces, without
  the signs that end a sentence.
- `near`: the clusters of curate's near duplicates (core/minhash.py) of the instructions alone.
- `semantic`: in the order of rows a text that is like an earlier one joins it, by the cosine of
  TF-IDF vectors of hashed words. It knows words, no meaning: see likeness.py.

Texts that match exactly match in every way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core import minhash
from winnow.core.records import normalise
from winnow.core.texts import PARTS
from winnow.generate import likeness

ENDS = " .!?:;,\u3002\u061f\u0964\u203d"
"""What is left out at the end of a text: a full stop decides no instruction."""
NEAR_THRESHOLD, NEAR_NGRAM, NEAR_PERMUTATIONS = 0.8, 3, 128
"""As in the sample's step `near` of curate."""
TOP = 10
"""Of the most frequent texts that are shown."""
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Instructions by shard, in the order in which they were made."""

    names: tuple[str, ...]
    """Of the shards; one may be empty."""
    shard: Labels
    """The shard of every row, as a place in `names`."""
    instructions: tuple[str, ...]
    responses: tuple[str, ...] | None = None
    """Where instructions repeat by design: a text is then a pair, and a repeat one of both."""

    @classmethod
    def of_shards(
        cls, shards: Sequence[tuple[str, Sequence[str]]], responses: Sequence[str] | None = None
    ) -> "Corpus":
        """From the name and the instructions of every shard, and the responses of all rows in
        their order where these count as well."""
        sizes = [len(texts) for _, texts in shards]
        return cls(
            tuple(name for name, _ in shards),
            np.repeat(np.arange(len(shards)), sizes),
            tuple(text for _, texts in shards for text in texts),
            None if responses is None else tuple(responses),
        )

    def labels(self, match: str) -> Labels:
        """The number of every row's text, as `labels` gives them: of pairs where responses count,
        which are one text if both parts are."""
        found = labels(self.instructions, match)
        if self.responses is None or not len(found):
            return found
        pairs = found * len(found) + labels(self.responses, match)
        _, places, inverse = np.unique(pairs, return_index=True, return_inverse=True)
        return np.asarray(np.argsort(np.argsort(places))[inverse], np.int64)


@dataclass(frozen=True, slots=True)
class Repeated:
    """A text that came more than once."""

    instruction: str
    """As it was written first."""
    count: int
    share: float
    """Of all rows."""


@dataclass(frozen=True, slots=True)
class Yield:
    """What a shard brought."""

    shard: str
    rows: int
    new: int
    """Texts that came in no earlier shard."""
    unique: int
    """In all shards up to this one."""


@dataclass(frozen=True, slots=True)
class Duplication:
    """How unique a corpus is by one kind of match."""

    match: str
    total: int
    unique: int
    duplicates: int
    """Rows beyond the first of each text."""
    duplicate_rate: float | None
    """Of all rows; None where there is none."""
    once: int
    """f_1: texts that came once."""
    twice: int
    """f_2: texts that came twice."""
    top: tuple[Repeated, ...]
    """The most frequent texts; of equal ones the earlier first."""
    yields: tuple[Yield, ...]
    """By shard, in their order."""


def bare(instruction: str) -> str:
    """The text by which instructions match exactly; one of nothing but signs keeps them."""
    text = normalise(instruction, "", "").partition("\x1f")[0]
    return text.rstrip(ENDS) or text


def _firsts(values: Sequence[str]) -> Labels:
    """Number different values in the order in which they come first."""
    codes = pa.array(values, pa.large_string()).dictionary_encode()
    return np.asarray(codes.indices.to_numpy(), np.int64)


def _exact(instructions: Sequence[str]) -> Labels:
    # Most repeats are equal as they stand: each text is normalised once.
    raw = pa.array(instructions, pa.large_string()).dictionary_encode()
    texts = _firsts([bare(text) for text in raw.dictionary.to_pylist()])
    return texts[raw.indices.to_numpy()] if len(texts) else texts


def _near(texts: Sequence[str]) -> Labels:
    """Clusters of different texts, whatever their order."""
    columns: dict[str, Any] = {name: [""] * len(texts) for name in PARTS}
    order = np.argsort(np.array(texts, object), kind="stable")
    found = minhash.clusters(
        pa.table(columns | {"instruction": texts}),
        order,
        threshold=NEAR_THRESHOLD,
        permutations=NEAR_PERMUTATIONS,
        ngram=NEAR_NGRAM,
    )
    labels = np.empty(len(texts), np.int64)
    labels[order] = order[found]
    return labels


_CLUSTERS: Mapping[str, Callable[[Sequence[str]], Labels]] = {
    "near": _near,
    "semantic": likeness.leaders,
}
MATCHES = ("exact", *_CLUSTERS)


def labels(instructions: Sequence[str], match: str) -> Labels:
    """Give every instruction the number of its text; equal numbers, one text.

    Numbers are 0, 1, 2... in the order in which texts come first.

    Args:
        instructions: in the order in which they were made; for `semantic` it decides.
        match: one of MATCHES.
    """
    found = _exact(instructions)
    if match == "exact" or not len(found):
        return found
    _, first = np.unique(found, return_index=True)
    clusters = _CLUSTERS[match]([bare(instructions[row]) for row in first])
    _, places, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    numbers = np.argsort(np.argsort(places))
    return np.asarray(numbers[inverse][found], np.int64)


def measure(corpus: Corpus, match: str, found: Labels | None = None) -> Duplication:
    """Say how unique a corpus is.

    Args:
        corpus: any rows, a shard each for what came together, such as files.
        match: one of MATCHES.
        found: what `Corpus.labels` says, where it is known.
    """
    found = corpus.labels(match) if found is None else found
    counts = np.bincount(found)
    _, first = np.unique(found, return_index=True)
    total, unique = len(found), len(counts)
    frequent = np.argsort(-counts, kind="stable")[:TOP]
    top = [
        Repeated(corpus.instructions[first[text]], int(counts[text]), float(counts[text] / total))
        for text in frequent
        if counts[text] > 1
    ]
    return Duplication(
        match=match,
        total=total,
        unique=unique,
        duplicates=total - unique,
        duplicate_rate=1 - unique / total if total else None,
        once=int((counts == 1).sum()),
        twice=int((counts == 2).sum()),
        top=tuple(top),
        yields=_yields(corpus, found),
    )


def _yields(corpus: Corpus, found: Labels) -> tuple[Yield, ...]:
    """By shard in order, whatever the order of rows."""
    number = len(corpus.names)
    earliest = np.full(int(found.max()) + 1 if len(found) else 0, number)
    np.minimum.at(earliest, found, corpus.shard)
    new = np.bincount(earliest, minlength=number)
    rows = np.bincount(corpus.shard, minlength=number)
    columns = zip(corpus.names, rows.tolist(), new.tolist(), np.cumsum(new).tolist(), strict=True)
    return tuple(Yield(*column) for column in columns)
