"""What a linear model learned from labels of the user's would say of every row.

Hashed words, signs and pairs of them; logistic regression where all labels are true or false (the
score is a probability), else ridge regression (the score is on the labels' scale). Only rows of
the pool are learned from. What it is worth is for the held-out part of the labels to say, which the
card holds: five models, each judged on the fifth that it did not see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from winnow.core.errors import Refusal
from winnow.core.params import Range, Seed, Text
from winnow.score.scorers import Ready, Scores, Settings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from winnow.score.corpus import Corpus

FOLDS, ROWS = 5, 4096
BOOLEANS = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear(Settings):
    """The labels, and how they are learned."""

    labels: Text
    """CSV, JSON lines or Parquet; what it says of rows out of the pool is left out and counted."""
    by: Literal["id", "hash"] = "id"
    """The file's column that says which row a label is of."""
    label: Text = "label"
    """The file's column of labels: numbers, or true and false."""
    penalty: Annotated[float, Range("(0, 1e9]")] = 1.0
    """Of ridge regression, on the squared weights."""
    seed: Seed = 0
    """Of logistic regression's order."""

    def files(self) -> Mapping[str, str]:
        return {"labels": self.labels}

    def prepare(self, corpus: "Corpus") -> Ready:
        labels = _read(self)
        texts, values, hashes = _labelled(corpus, labels, self.by)
        if len(set(values)) < 2:
            raise Refusal(
                f"labels: expected different labels of rows of the pool, found {len(values)} of "
                f"them with {len(set(values))} values"
            )
        return _Linear(self, texts, values, hashes, len(labels) - len(values))


def _read(settings: Linear) -> dict[str, float]:
    """The labels by row."""
    from winnow.score import tables

    found: dict[str, float] = {}
    for place, record in tables.records("labels", settings.labels):
        at = f"labels: {settings.labels}, at {place}"
        for name in (settings.by, settings.label):
            if name not in record:
                raise Refusal(f"{at}: no column {name!r}, but {', '.join(record)}")
        cell = record[settings.label]
        label = BOOLEANS.get(str(cell).strip().lower(), tables.number(cell))
        if isinstance(label, str):
            raise Refusal(f"{at}: expected a number, true or false, found {cell!r}")
        key = str(record[settings.by])
        if found.setdefault(key, label) != label:
            raise Refusal(f"{at}: another label of {key!r} than before: keep one")
    return found


def _labelled(
    corpus: "Corpus", labels: Mapping[str, float], by: str
) -> tuple[list[str], list[float], list[str]]:
    """The texts, labels and content hashes of the rows of the pool that have a label, by hash."""
    from winnow.core.records import prose

    found = []
    for batch in corpus.batches("train", ROWS):
        keys, hashes = batch[by].to_pylist(), batch["hash"].to_pylist()
        places = [place for place, key in enumerate(keys) if key in labels]
        texts = prose(batch.take(places)).to_pylist() if places else []
        found += [
            (hashes[place], keys[place], text, labels[keys[place]])
            for place, text in zip(places, texts, strict=True)
        ]
    found.sort()
    return [row[2] for row in found], [row[3] for row in found], [row[0] for row in found]


class _Linear(Ready):
    is_parallel = True

    def __init__(
        self,
        settings: Linear,
        texts: list[str],
        labels: list[float],
        hashes: list[str],
        num_unused: int,
    ) -> None:
        """Fit the model, and five others to see what it is worth."""
        import numpy as np

        from winnow.core import ngrams

        features, values = ngrams.unit_vectors(texts), np.array(labels)
        self.settings, self.num_unused = settings, num_unused
        self.is_logistic = {*labels} <= {0.0, 1.0}
        self.held_out = self._held_out(features, values, hashes)
        self.model = self._fit(features, values)
        self.num_labels = len(labels)

    def _fit(self, features: Any, labels: "NDArray[np.float64]") -> Any:
        from sklearn.linear_model import Ridge, SGDClassifier

        if self.is_logistic:
            return SGDClassifier(loss="log_loss", random_state=self.settings.seed).fit(
                features, labels
            )
        return Ridge(alpha=self.settings.penalty, solver="sparse_cg").fit(features, labels)

    def _predict(self, model: Any, features: Any) -> "NDArray[np.float64]":
        found: NDArray[np.float64]
        found = model.predict_proba(features)[:, 1] if self.is_logistic else model.predict(features)
        return found

    def _held_out(
        self, features: Any, labels: "NDArray[np.float64]", hashes: list[str]
    ) -> dict[str, Any]:
        """How well labels are told that a model did not see: AUC, or Spearman's correlation."""
        import numpy as np
        from scipy.stats import spearmanr
        from sklearn.metrics import roc_auc_score

        folds = np.array([int(one[:8], 16) % FOLDS for one in hashes])
        found, measure = np.empty(len(labels)), "auc" if self.is_logistic else "rank_correlation"
        for fold in range(FOLDS):
            held, seen = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            if len(np.unique(labels[seen])) < 2:
                return {measure: None, "reason": "too few labels to hold a fifth of them out"}
            if len(held):
                found[held] = self._predict(self._fit(features[seen], labels[seen]), features[held])
        if self.is_logistic:
            return {measure: float(roc_auc_score(labels, found))}
        if np.ptp(found) == 0:
            return {measure: None, "reason": "all predictions are the same"}
        return {measure: float(spearmanr(found, labels).statistic)}

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        from winnow.core import ngrams
        from winnow.core.records import prose

        found = self._predict(self.model, ngrams.unit_vectors(prose(rows).to_pylist()))
        scores: list[float] = found.tolist()
        return scores

    def notes(self) -> Mapping[str, Any]:
        return {
            "labels": self.num_labels,
            "labels_of_no_pool_row": self.num_unused,
            "held_out": self.held_out,
        }
