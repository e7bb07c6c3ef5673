"""Texts as hashed words, signs and pairs of them, in sparse matrices of scipy.

Weinberger et al. 2009, Feature hashing for large scale multitask learning; the hash is
scikit-learn's MurmurHash3 of the words in lower case, a pair joined by a space.
"""

from collections.abc import Sequence
from typing import Any

FEATURES = 2**20


def unit_vectors(texts: Sequence[str], size: int = FEATURES) -> Any:
    """Signed counts of words, single signs and pairs of them as [texts, size], each of length one:
    what a linear model learns from, or rows are compared by."""
    return _hasher(r"\w+|[^\w\s]", size).transform(texts)


def counts(texts: Sequence[str], buckets: int) -> Any:
    """How often the words, runs of signs and pairs of them of each bucket are in each text, as
    [texts, buckets]."""
    return _hasher(r"\w+|[^\w\s]+", buckets, alternate_sign=False, norm=None).transform(texts)


def _hasher(token: str, features: int, **options: Any) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(
        token_pattern=token, ngram_range=(1, 2), n_features=features, **options
    )
