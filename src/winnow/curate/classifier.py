"""Rows that a trained judge of quality gives a low score, such as FineWeb-Edu's classifier.

That one (Penedo et al. 2024, arXiv 2406.17557) is a regression on the educational value of a text
from 0 to 5, of which 3 and more were kept: HuggingFaceFW/fineweb-edu-classifier.
"""

from typing import Annotated

import pyarrow as pa

from winnow.core.errors import Refusal
from winnow.core.params import Range, Text
from winnow.curate.texts import plain
from winnow.curate.transformer import Classifier
from winnow.curate.verdict import Positions, Verdict


def classifier(
    table: pa.Table,
    rows: Positions,
    *,
    model: Text,
    revision: Text | None = None,
    minimum: Annotated[float, Range("[-1e9, 1e9]")] = 3.0,
    batch: Annotated[int, Range("[1, 10000]")] = 32,
) -> Verdict:
    """Drop rows that the model gives less than `minimum`.

    Args:
        table: has texts; the question and the response are judged together, as `texts.plain`.
        rows: the positions of those that are left.
        model: a folder or a hub id, of a model with one label.
        revision: of a hub id, the 40 hex digits of a commit.
        minimum: on the model's own scale.
        batch: texts at once: a matter of memory and time.

    Raises:
        Refusal: the model cannot be had, or has several labels.
    """
    judge = Classifier.load(model, revision, "classifier")
    if len(judge.labels) != 1:
        raise Refusal(
            f"params.yaml: curate.steps classifier.model: expected a model with one label, a "
            f"score, found {', '.join(judge.labels)} in {model}"
        )
    scores = judge.scores(plain(table, rows), batch)[:, 0]
    low = scores < minimum
    because = [f"{score:.2f}" for score in scores[low]]
    reasons = [f"classifier below {minimum:g}"] * len(because)
    return Verdict(rows[low], reasons, pa.array(because, pa.string()))
