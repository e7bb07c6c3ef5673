"""A text is new if it is like none of those before it, however they came.

pytest tests/generate/test_novelty.py
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.core.ngrams import unit_vectors
from winnow.core.words import cut
from winnow.generate.methods import Unique
from winnow.generate.novelty import DIMENSIONS, Novelty, plain

WORDS = ["what", "is", "the", "capital", "of", "France", "Spain", "name", "two", "rivers"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), max_size=9)


def _similarity(by: str, one: str, other: str) -> float:
    """Written out for two texts."""
    if by == "exact":
        return float(plain(one) == plain(other))
    if by == "near":
        first, second = (
            {*words, *map(" ".join, zip(words, words[1:], strict=False))}
            for words in (cut(plain(one)), cut(plain(other)))
        )
        return len(first & second) / len(first | second)
    first, second = unit_vectors([plain(one), plain(other)], DIMENSIONS).toarray()
    return float(first @ second)


@pytest.mark.parametrize("by", ["exact", "near", "semantic"])
@given(texts=TEXTS, threshold=st.sampled_from([0.31, 0.52, 0.83]), parts=st.integers(1, 4))
def test_a_text_is_new_if_no_earlier_new_one_is_as_similar(
    by: Any, texts: list[str], threshold: float, parts: int
) -> None:
    novelty, new, wanted = Novelty(Unique(by=by, threshold=threshold)), [], []
    for start in range(0, len(texts), parts):
        new += novelty.add(texts[start : start + parts])
    kept: list[str] = []
    for text in texts:
        least = 1.0 if by == "exact" else threshold
        wanted.append(all(_similarity(by, text, other) < least for other in kept))
        kept += [text] if wanted[-1] else []
    assert new == wanted


@pytest.mark.parametrize("by", ["exact", "near", "semantic"])
def test_signs_and_case_make_no_text_new(by: Any) -> None:
    novelty = Novelty(Unique(by=by, threshold=0.9))
    texts = ["What is H2O?", "what is h2o", "  What\nis H2O ?!", "What is CO2?"]
    assert novelty.add(texts) == [True, False, False, True]


@pytest.mark.parametrize("by", ["exact", "near", "semantic"])
def test_no_more_texts_are_compared_than_was_said(by: Any) -> None:
    novelty = Novelty(Unique(by=by, compared=70))
    letters = np.random.default_rng(0).choice(list("abcdefghij"), (200, 5, 9))
    texts = [" ".join("".join(word) for word in words) for words in letters]
    assert all(novelty.add(texts))
    assert not any(novelty.add(texts[-70:])) and novelty.add(texts[:1]) == [True]
