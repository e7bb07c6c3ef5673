"""Rows that a trained judge of quality gives a low score, such as FineWeb-Edu's classifier.

That one (Penedo et al. 2024, arXiv 2406.17557) is a regression on the educational value of a text
from 0 to 5, of which 3 and more were kept: HuggingFaceFW/fineweb-edu-classifier.
"""

import pyarrow as pa

from winnow.core.errors import Refusal
from winnow.core.texts import plain
from winnow.curate.numbers import Classifier as Numbers
from winnow.curate.verdict import Positions, Verdict, step
from winnow.models.classifier import Classifier


@step
def classifier(table: pa.Table, rows: Positions, numbers: Numbers) -> Verdict:
    """Drop rows that the model gives less than `minimum`.

    Args:
        table: has texts; the question and the response are judged together, as `texts.plain`.
        rows: the positions of those that are left.
        numbers: see `Numbers`.

    Raises:
        Refusal: the model cannot be had, or has several labels.
    """
    judge = Classifier.load(numbers.model, numbers.revision)
    if len(judge.labels) != 1:
        raise Refusal(
            f"model: expected a model with one label, a score, found "
            f"{', '.join(judge.labels)} in {numbers.model}"
        )
    scores = judge.scores(plain(table, rows), numbers.batch)[:, 0]
    low = scores < numbers.minimum
    because = [f"{score:.2f}" for score in scores[low]]
    reasons = [f"classifier below {numbers.minimum:g}"] * len(because)
    return Verdict(rows[low], reasons, pa.array(because, pa.string()))
