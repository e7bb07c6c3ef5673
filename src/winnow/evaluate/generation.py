"""What sampled completions are like, and whether they do what was asked.

The qualities are plain counts with a source each, between 0 and 1; none asks a model.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from winnow.core.words import cut
from winnow.evaluate.tasks import Prompt, passes


def _grams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def repetition(text: str) -> float | None:
    """Share of word 4-grams that repeat an earlier one: seq-rep-4 of Welleck et al. 2020."""
    grams = _grams(cut(text), 4)
    return 1 - len(set(grams)) / len(grams) if grams else None


def distinct(texts: Sequence[str], size: int) -> float | None:
    """Distinct word n-grams over all n-grams of some texts: distinct-n of Li et al. 2016."""
    grams = [gram for text in texts for gram in _grams(cut(text), size)]
    return len(set(grams)) / len(grams) if grams else None


def bleu(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU-4 of Papineni et al. 2002, by words, against the closest reference in length.

    A size of n-grams without a match counts a tenth of one: Chen and Cherry 2014, method 1.
    """
    logarithms = 0.0
    for size in range(1, 5):
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= Counter(_grams(reference, size))
        grams = _grams(candidate, size)
        matches = (Counter(grams) & most).total()
        logarithms += math.log((matches or 0.1) / len(grams)) / 4
    length = min((len(one) for one in references), key=lambda n: (abs(n - len(candidate)), n))
    return math.exp(logarithms + min(0.0, 1 - length / len(candidate)))


def self_bleu(texts: Sequence[str]) -> float | None:
    """Mean BLEU-4 of each text against the others: self-BLEU of Zhu et al. 2018 (Texygen).

    A text of fewer than four words has no 4-gram and is only a reference.
    """
    split = [cut(text) for text in texts]
    scores = [
        bleu(words, split[:at] + split[at + 1 :])
        for at, words in enumerate(split)
        if len(words) >= 4 and len(split) > 1
    ]
    return sum(scores) / len(scores) if scores else None


def rouge_l(candidate: str, reference: str) -> float:
    """F1 of the longest common subsequence of lower-case words: ROUGE-L of Lin 2004."""
    one, two = cut(candidate.lower()), cut(reference.lower())
    row = [0] * (len(two) + 1)
    for word in one:
        before = row[:]
        for index, other in enumerate(two):
            row[index + 1] = (
                before[index] + 1 if word == other else max(row[index], before[index + 1])
            )
    return 2 * row[-1] / (len(one) + len(two)) if one or two else 0.0


def length_ratio(candidate: str, reference: str) -> float:
    """The shorter of two texts over the longer one, in words: a definition of this project."""
    one, two = len(cut(candidate)), len(cut(reference))
    return min(one, two) / max(one, two) if one or two else 1.0


def analyse(prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The documented generation metrics, means over prompts; an undefined one is null with why.

    task_completion: share of samples that a program accepts. coherence: 1 - seq-rep-4 of a
    completion. diversity: distinct-2 over a prompt's completions, beside distinct_1 and self_bleu.
    instruction_following: ROUGE-L against the reference response. length_appropriateness: length
    ratio to it.
    """
    asked = list(zip(prompts, completions, strict=True))
    repeats = (repetition(text) for _, texts in asked for text in texts)
    compared = [(text, p.reference) for p, texts in asked if p.reference for text in texts]
    values: dict[str, tuple[Iterable[float | None], str]] = {
        "task_completion": (
            [float(passes(p, text)) for p, texts in asked if p.is_task for text in texts],
            "no checkable task given",
        ),
        "coherence": (
            [None if value is None else 1 - value for value in repeats],
            "no completion of four words",
        ),
        "diversity": ([distinct(texts, 2) for _, texts in asked], "no completion of two words"),
        "distinct_1": ([distinct(texts, 1) for _, texts in asked], "no completion of a word"),
        "self_bleu": (
            [self_bleu(texts) for _, texts in asked],
            "no completion of four words beside another one",
        ),
        "instruction_following": ([rouge_l(*pair) for pair in compared], "no reference"),
        "length_appropriateness": ([length_ratio(*pair) for pair in compared], "no reference"),
    }
    found: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for name, (given, why) in values.items():
        known = [value for value in given if value is not None]
        found[name] = sum(known) / len(known) if known else None
        if not known:
            reasons[name] = why
    sizes = {"num_prompts": len(prompts), "num_samples": sum(map(len, completions))}
    return found | sizes | {"reasons": reasons}
