"""Rows that a judge of toxicity holds for toxic: a classifier, or Google's Perspective API.

What counts as toxic is what the model's makers' raters held for it; no such judge is neutral.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core.errors import Refusal
from winnow.core.texts import plain
from winnow.curate.numbers import Toxicity
from winnow.curate.perspective import Perspective, counted
from winnow.curate.verdict import NONE, Positions, Verdict, step
from winnow.models.classifier import Classifier


def _probabilities(judge: Classifier, logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """As transformers' pipeline has it: labels that exclude each other share a softmax."""
    exact, kind = logits.astype(np.float64), judge.model.config.problem_type
    if kind == "multi_label_classification" or len(judge.labels) == 1:
        return np.asarray(1 / (1 + np.exp(-exact)))
    powers = np.exp(exact - exact.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _by_classifier(
    texts: pa.Array, model: str, revision: str | None, labels: Sequence[str] | None, batch: int
) -> tuple[list[str], NDArray[np.float64]]:
    """The labels that count, and their probabilities as [texts, labels]."""
    judge = Classifier.load(model, revision)
    if judge.model.config.problem_type == "regression":
        raise Refusal(f"model: {model} is a regression: it gives no probabilities")
    chosen = list(labels or judge.labels)
    # All labels of a model may be anything: neutral, or who is spoken of.
    if (labels is None and len(judge.labels) > 1) or not set(chosen) <= set(judge.labels):
        raise Refusal(
            f"labels: expected some of {', '.join(judge.labels)}, as {model} has them, "
            f"found {labels!r}"
        )
    found = _probabilities(judge, judge.scores(texts, batch))
    return chosen, found[:, [judge.labels.index(label) for label in chosen]]


def _verdict(
    rows: Positions,
    labels: Sequence[str],
    found: NDArray[np.float64],
    missing: Sequence[str | None],
    maximum: float,
    strict: bool,
) -> Verdict:
    """Which rows go: above the maximum, and where it is strict those that nobody could judge."""
    gone, reasons, because = [], [], []
    for row, scores, why in zip(rows, found, missing, strict=True):
        if why is None and scores.max() > maximum:
            gone.append(row)
            reasons.append(f"toxicity above {maximum:g}")
            because.append(f"{labels[scores.argmax()]} {scores.max():.2f}")
        elif why is not None and strict:
            gone.append(row)
            reasons.append("toxicity not known")
            because.append(why)
    return Verdict(np.array(gone, np.int64), reasons, pa.array(because, pa.string()))


@step
def toxicity(table: pa.Table, rows: Positions, numbers: Toxicity) -> Verdict:
    """Drop rows of which one label is more probable than `maximum`.

    Args:
        table: has texts; the question and the response are judged together, as `texts.plain`.
        rows: the positions of those that are left.
        numbers: see `Toxicity`.

    Raises:
        Refusal: the model or the service cannot be had, or a label is unknown.
    """
    if numbers.labels is not None and not numbers.labels:
        raise Refusal("labels: expected a label or more")
    if (numbers.model is None) != numbers.perspective:
        raise Refusal("model: expected a model or perspective: true, one of them")
    if not len(rows):
        return NONE
    texts = plain(table, rows)
    warnings: tuple[str, ...] = ()
    if numbers.model is not None:
        names, found = _by_classifier(
            texts, numbers.model, numbers.revision, numbers.labels, numbers.batch
        )
        missing: list[str | None] = [None] * len(rows)
    else:
        names = list(numbers.labels or ["TOXICITY"])
        found, missing = Perspective(names, numbers.per_second).scores(texts)
        if any(missing):
            fate = "stay" if numbers.unscored == "keep" else "go"
            warnings = (f"rows without a score {fate}: {counted(missing)}",)
    verdict = _verdict(rows, names, found, missing, numbers.maximum, numbers.unscored == "drop")
    return replace(verdict, warnings=warnings)
