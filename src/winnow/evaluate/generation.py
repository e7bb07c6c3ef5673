"""What sampled completions are like, and whether they do their task.

The qualities are plain counts with a source each, between 0 and 1; none asks a model.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from winnow.core.records import Generation
from winnow.core.rouge import rouge_l
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
    log_precision = 0.0
    for size in range(1, 5):
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= Counter(_grams(reference, size))
        grams = _grams(candidate, size)
        matches = (Counter(grams) & most).total()
        log_precision += math.log((matches or 0.1) / len(grams)) / 4
    lengths = (len(reference) for reference in references)
    length = min(lengths, key=lambda n: (abs(n - len(candidate)), n))
    return math.exp(log_precision + min(0.0, 1 - length / len(candidate)))


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


def length_ratio(candidate: str, reference: str) -> float:
    """The shorter of two texts over the longer one, in words: a definition of this project."""
    lengths = len(cut(candidate)), len(cut(reference))
    return min(lengths) / max(lengths) if any(lengths) else 1.0


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of the defined values; None where there is none."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


UNDEFINED = {
    "task_completion": "no checkable task given",
    "coherence": "no completion of four words",
    "diversity": "no completion of two words",
    "distinct_1": "no completion of a word",
    "self_bleu": "no completion of four words beside another one",
    "instruction_following": "no reference",
    "length_appropriateness": "no reference",
}
"""The means, and why there may be none."""


def analyse(
    prompts: Sequence[Prompt],
    completions: Sequence[Sequence[str]],
    too_long: int = 0,
    unchecked: int = 0,
) -> Generation:
    """The documented generation metrics of some prompts' completions.

    Args:
        prompts: what was completed.
        completions: of each prompt.
        too_long: prompts that were left out.
        unchecked: tasks that were left out.
    """
    samples = list(zip(prompts, completions, strict=True))
    repetitions = (repetition(text) for texts in completions for text in texts)
    compared = [(text, p.reference) for p, texts in samples if p.reference for text in texts]
    passed = (float(passes(p, text)) for p, texts in samples if p.is_task for text in texts)
    means = {
        "task_completion": _mean(passed),
        "coherence": _mean(None if value is None else 1 - value for value in repetitions),
        "diversity": _mean(distinct(texts, 2) for texts in completions),
        "distinct_1": _mean(distinct(texts, 1) for texts in completions),
        "self_bleu": _mean(self_bleu(texts) for texts in completions),
        "instruction_following": _mean(rouge_l(*pair) for pair in compared),
        "length_appropriateness": _mean(length_ratio(*pair) for pair in compared),
    }
    return Generation(
        **means,
        num_prompts=len(prompts),
        num_samples=sum(map(len, completions)),
        too_long=too_long,
        unchecked=unchecked,
        reasons={name: UNDEFINED[name] for name, mean in means.items() if mean is None},
    )
