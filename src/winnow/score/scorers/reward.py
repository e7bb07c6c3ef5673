"""What a reward model of winnow's own says of a row (objective `reward`; Ouyang et al. 2022, arXiv
2203.02155): the higher, the better the response to its question. Rewards have no unit.

A model that does not surely rank held-out pairs better than `min_accuracy` is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from winnow.core.errors import at
from winnow.core.params import Range, Text
from winnow.score.scorers import Ready, Scores, Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.score.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward(Settings):
    """The model, and how sure its rank has to be."""

    model: Text
    """A folder models/<experiment>/<seed> that a training with the objective reward published."""
    min_accuracy: Annotated[float, Range("[0, 1)")] = 0.5
    """The share of held-out pairs that it has to rank right: the lower end of the 95% interval is
    to be above it. At 0.5 it ranks as well as a coin."""
    batch: Annotated[int, Range("[1, 10000]")] = 8
    """Rows at once: for the memory; numbers differ by the rounding of a sum."""

    def files(self) -> Mapping[str, str]:
        return {"model": self.model}

    def prepare(self, corpus: "Corpus") -> Ready:
        with at("model"):
            return _Reward(self)


class _Reward(Ready):
    scores_dropped = False

    def __init__(self, settings: Reward) -> None:
        """Load the model."""
        from winnow.models.rewards import RewardModel

        self.model = RewardModel(Path(settings.model), settings.min_accuracy)
        self.batch, parameters = settings.batch, self.model.module.parameters()
        self.num_parameters, self.flops = sum(p.numel() for p in parameters), 0.0

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        import pyarrow as pa

        from winnow.core.records import ROW_SCHEMA

        table = pa.Table.from_batches([rows.select(ROW_SCHEMA.names)])
        documents = self.model.documents(table)
        tokens = sum(len(one.ids) for one in documents)
        self.flops = (self.flops or 0.0) + 2.0 * self.num_parameters * tokens
        found = self.model(documents, self.batch)
        return ["no response within the context" if one is None else one for one in found]

    def notes(self) -> Mapping[str, Any]:
        from winnow.core.files import versions

        return {"held_out": self.model.report, "versions": versions("torch", "transformers")}
