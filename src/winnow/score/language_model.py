"""A language model as scorers use it: its settings, its losses of responses, and their cost."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from winnow.core.errors import Refusal, at
from winnow.core.params import Range, Text
from winnow.score.scorers import Ready, Settings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch
    from numpy.typing import NDArray

    from winnow.models.judged import Judged


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings(Settings):
    """Which language model, and how much of a row it reads."""

    model: Text
    """A folder in Hugging Face's format, org/name@<40 hex digits> of the hub, or a folder
    models/<experiment>/<seed> of winnow's own, which then says its family and context itself."""
    family: Literal["causal", "seq2seq"] = "causal"
    """A decoder such as Llama, or an encoder and a decoder such as T5."""
    context: Annotated[int, Range("[2, 1000000]")] = 1024
    """Tokens of a row that are read, at most; no more than the model has positions."""
    batch: Annotated[int, Range("[1, 10000]")] = 8
    """Rows at once: for the memory; numbers differ by the rounding of a sum."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Of its products: bf16 is faster where the hardware has it, and moves numbers in their third
    digit."""

    def __post_init__(self) -> None:
        """Refuse a model that is no folder and no pinned hub id, before any stage works."""
        is_hub_id = re.fullmatch(r"[\w.-]+(/[\w.-]+)?@[0-9a-f]{40}", self.model)
        if not is_hub_id and not Path(self.model).is_dir():
            raise Refusal(
                "model: expected a folder, or a hub id with its commit (org/name@<40 hex digits>), "
                f"found {self.model!r}"
            )

    def open(self) -> "Judged":
        """The model.

        Raises:
            Refusal: it cannot be had, or is not to be trusted.
        """
        from winnow.models import judged

        with at("model"):
            return judged.find(self.model, self.family, self.context)


class ModelScorer(Ready):
    """A scorer that asks a language model, on this machine and its GPU if there is one."""

    scores_dropped = False

    def __init__(self, settings: ModelSettings) -> None:
        """Load the model."""
        self.settings, self.judged, self.flops = settings, settings.open(), 0.0

    def losses(
        self, rows: "pa.RecordBatch", is_alone: bool = False
    ) -> "tuple[NDArray[np.float64], NDArray[np.int64]]":
        """Of each row the summed loss of its response's tokens in nats, and their number.

        Args:
            rows: ROW_SCHEMA.
            is_alone: whether the question is not shown.
        """
        import pyarrow as pa

        from winnow.core.records import ROW_SCHEMA

        table = pa.Table.from_batches([rows.select(ROW_SCHEMA.names)])
        windows = self.judged.response_windows(table, is_alone)
        self.flops = (self.flops or 0.0) + self.judged.flops(windows)
        with self.in_precision():
            found = self.judged.window_losses(windows, len(rows), self.settings.batch)
        return found.response_loss, found.response_tokens

    def in_precision(self) -> "torch.autocast":
        """Where the model works in its precision."""
        import torch

        device, is_bf16 = self.judged.network.device.type, self.settings.precision == "bf16"
        return torch.autocast(device, torch.bfloat16, enabled=is_bf16)

    def notes(self) -> Mapping[str, Any]:
        """Which weights these were, and which libraries read them."""
        from winnow.core.files import versions
        from winnow.models import pretrained

        return {
            "weights": pretrained.identity(self.settings.model),
            "context": self.judged.context,
            "versions": versions("torch", "transformers"),
        }
