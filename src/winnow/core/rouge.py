"""How alike two texts are in their words, in order: ROUGE-L of Lin 2004 (ROUGE: a package for
automatic evaluation of summaries), as F1.
"""

from collections.abc import Sequence

from winnow.core.words import cut


def longest_common(words: Sequence[str], others: Sequence[str]) -> int:
    """The length of the longest common subsequence of two lists of words.

    A row of the usual table is one whole number, a bit a word: Hyyrö 2004, Bit-parallel LCS-length
    computation revisited.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << place
    everything = (1 << len(words)) - 1
    # A bit is 0 where the subsequence of the words up to there grows by one.
    row = everything
    for other in others:
        met = row & places.get(other, 0)
        row = (row + met | row - met) & everything
    return len(words) - row.bit_count()


def f1(words: Sequence[str], others: Sequence[str]) -> float:
    """ROUGE-L of two lists of words, in [0, 1]; 0 where neither has any."""
    if not words and not others:
        return 0.0
    return 2 * longest_common(words, others) / (len(words) + len(others))


def rouge_l(candidate: str, reference: str) -> float:
    """F1 of the longest common subsequence of lower-case words, in [0, 1]."""
    return f1(cut(candidate.lower()), cut(reference.lower()))
