"""What a trained sequence classifier says of a row, such as FineWeb-Edu's (arXiv 2406.17557).

Of a model with one label the score is its output as it is (FineWeb-Edu: 0 to 5); of one with
several the probability of `label`, by softmax. It reads question, empty line and response.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from winnow.core.errors import Refusal
from winnow.core.params import Range, Text
from winnow.score.scorers import Ready, Scores, Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.score.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier(Settings):
    """The model, and which of its labels counts."""

    model: Text
    """A folder in Hugging Face's format, or a hub id."""
    revision: Text | None = None
    """Of a hub id, the 40 hex digits of a commit."""
    label: Text | None = None
    """Of a model with several labels, by its own names."""
    batch: Annotated[int, Range("[1, 10000]")] = 32
    """Texts at once: for the memory; numbers differ by the rounding of a sum."""

    def files(self) -> Mapping[str, str]:
        return {} if self.revision else {"model": self.model}

    def prepare(self, corpus: "Corpus") -> Ready:
        return _Classifier(self)


class _Classifier(Ready):
    scores_dropped = False

    def __init__(self, settings: Classifier) -> None:
        """Load the model."""
        from winnow.models import classifier

        self.model = classifier.Classifier.load(settings.model, settings.revision)
        self.batch, labels = settings.batch, self.model.labels
        if (len(labels) > 1 or settings.label) and settings.label not in labels:
            raise Refusal(f"label: expected one of {', '.join(labels)}, found {settings.label!r}")
        self.label = None if len(labels) == 1 else labels.index(str(settings.label))
        parameters = self.model.model.parameters()
        self.num_parameters, self.flops = sum(p.numel() for p in parameters), 0.0

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        import numpy as np

        from winnow.core.records import prose

        texts = prose(rows)
        self.flops = (self.flops or 0.0) + 2.0 * self.num_parameters * self.model.num_tokens(texts)
        outputs = self.model.scores(texts, self.batch).astype(np.float64)
        if self.label is None:
            return list(outputs[:, 0].tolist())
        likely = np.exp(outputs - outputs.max(1, keepdims=True))
        return list((likely[:, self.label] / likely.sum(1)).tolist())

    def notes(self) -> Mapping[str, Any]:
        from winnow.core.files import versions

        return {"labels": self.model.labels, "versions": versions("torch", "transformers")}
