"""Whether a text was made before: said while rows are made, so that no response is asked in vain.

Texts are compared with all that were new before them, whichever shard they are of. `exact` compares
letters and digits, `near` the words and pairs of words of two texts by the Jaccard similarity,
`semantic` their hashed words by the cosine (core/ngrams), where two words may share a number.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from winnow.core.words import bare, cut
from winnow.generate.methods import Unique

DIMENSIONS = 1024
"""Of the vectors of words: 100,000 of them take 0.4 GB."""


class Novelty:
    """The texts so far, as a recipe compares them.

    A text costs the exact comparison a look into a table, the near one the texts that share a word
    with it, the semantic one all texts: 10,000 texts against 10,000 take some seconds.
    """

    def __init__(self, settings: Unique) -> None:
        self._settings = settings
        self._exact: dict[str, None] = {}
        self._grams: dict[int, frozenset[str]] = {}
        self._holders: dict[str, dict[int, None]] = defaultdict(dict)
        self._vectors = np.zeros((0, DIMENSIONS), np.float32)
        self._number = 0

    def add(self, texts: Sequence[str]) -> list[bool]:
        """Which of these texts are new, each beside those before it too; the new ones are kept."""
        if self._settings.by == "semantic":
            return self._add_vectors(texts)
        add = self._add_exact if self._settings.by == "exact" else self._add_near
        return [add(text) for text in texts]

    def _add_exact(self, text: str) -> bool:
        form = plain(text)
        if form in self._exact:
            return False
        self._exact[form] = None
        if len(self._exact) > self._settings.compared:
            del self._exact[next(iter(self._exact))]
        return True

    def _add_near(self, text: str) -> bool:
        words = cut(plain(text))
        grams = frozenset(words) | {" ".join(pair) for pair in zip(words, words[1:], strict=False)}
        shared = Counter(number for gram in grams for number in self._holders[gram])
        for number, common in shared.items():
            similarity = common / (len(grams) + len(self._grams[number]) - common)
            if similarity >= self._settings.threshold:
                return False
        self._grams[self._number] = grams
        for gram in grams:
            self._holders[gram][self._number] = None
        self._number += 1
        if len(self._grams) > self._settings.compared:
            self._forget(next(iter(self._grams)))
        return True

    def _forget(self, number: int) -> None:
        for gram in self._grams.pop(number):
            del self._holders[gram][number]

    def _add_vectors(self, texts: Sequence[str]) -> list[bool]:
        # Here, as it takes a second that other recipes need not wait for.
        from winnow.core.ngrams import unit_vectors

        made = unit_vectors([plain(text) for text in texts], DIMENSIONS).toarray()
        return [self._add_vector(vector) for vector in made.astype(np.float32)]

    def _add_vector(self, vector: NDArray[np.float32]) -> bool:
        known = self._vectors[: min(self._number, self._settings.compared)]
        if (known @ vector).max(initial=-1.0) >= self._settings.threshold:
            return False
        if len(known) == len(self._vectors) < self._settings.compared:
            room = np.zeros((max(64, len(known)), DIMENSIONS), np.float32)
            self._vectors = np.concatenate([self._vectors, room])
        self._vectors[self._number % self._settings.compared] = vector  # over the oldest one
        self._number += 1
        return True


def plain(text: str) -> str:
    """Letters and digits of a text in NFKC and lower case, with one space between words."""
    return " ".join(bare(unicodedata.normalize("NFKC", text).lower()).split())
