"""Rows that a judge of toxicity holds for toxic: a classifier, or Google's Perspective API.

What counts as toxic is what the model's makers' raters held for it; no such judge is neutral.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.core.errors import Refusal
from winnow.core.params import Probability, Range, Text
from winnow.curate.perspective import Perspective, counted
from winnow.curate.texts import plain
from winnow.curate.transformer import Classifier
from winnow.curate.verdict import NONE, Positions, Verdict

KEY = "params.yaml: curate.steps toxicity"


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
    judge = Classifier.load(model, revision, "toxicity")
    if judge.model.config.problem_type == "regression":
        raise Refusal(f"{KEY}.model: {model} is a regression: it gives no probabilities")
    chosen = list(labels or judge.labels)
    # All labels of a model may be anything: neutral, or who is spoken of.
    if (labels is None and len(judge.labels) > 1) or not set(chosen) <= set(judge.labels):
        raise Refusal(
            f"{KEY}.labels: expected some of {', '.join(judge.labels)}, as {model} has them, "
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


def toxicity(
    table: pa.Table,
    rows: Positions,
    *,
    model: Text | None = None,
    revision: Text | None = None,
    labels: Sequence[Text] | None = None,
    maximum: Probability = 0.5,
    batch: Annotated[int, Range("[1, 10000]")] = 32,
    perspective: bool = False,
    per_second: Annotated[float, Range("[0.001, 1000]")] = 1.0,
    unscored: Literal["keep", "drop"] = "keep",
) -> Verdict:
    """Drop rows of which one label is more probable than `maximum`.

    Args:
        table: has texts; the question and the response are judged together, as `texts.plain`.
        rows: the positions of those that are left.
        model: a folder or a hub id; or none, and `perspective`.
        revision: of a hub id, the 40 hex digits of a commit.
        labels: those that count, by the model's names; not needed of a model with one label. Of
            Perspective its attributes, by default TOXICITY.
        maximum: a probability.
        batch: texts at once: a matter of memory and time.
        perspective: ask Google's service: every text is sent to it. See perspective.py.
        per_second: requests that the service may be sent in a second.
        unscored: whether rows that the service cannot score (in a language that it does not know,
            too long) are to keep or to drop. By default they stay: that a text could not be judged
            is nothing against it.

    Raises:
        Refusal: the model or the service cannot be had, or a label is unknown.
    """
    if labels is not None and not labels:
        raise Refusal(f"{KEY}.labels: expected a label or more")
    if (model is None) != perspective:
        raise Refusal(f"{KEY}: expected a model or perspective: true, one of them")
    if not len(rows):
        return NONE
    texts = plain(table, rows)
    warnings: tuple[str, ...] = ()
    if model is not None:
        names, found = _by_classifier(texts, model, revision, labels, batch)
        missing: list[str | None] = [None] * len(rows)
    else:
        names = list(labels or ["TOXICITY"])
        found, missing = Perspective(names, per_second).scores(texts)
        if any(missing):
            fate = "stay" if unscored == "keep" else "go"
            warnings = (f"rows without a score {fate}: {counted(missing)}",)
    verdict = _verdict(rows, names, found, missing, maximum, unscored == "drop")
    return replace(verdict, warnings=warnings)
