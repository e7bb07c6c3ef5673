"""A sequence classifier of Hugging Face's format: weights from safetensors only, no code but ours.

A text's scores are a matter of the text: in which order texts come, and which others they come
with, changes nothing beyond the rounding of a sum (fp32; less than 1e-5).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.core.errors import Refusal, at, loading
from winnow.core.progress import progress
from winnow.models import pretrained

TOKENS = 512
"""The longest text of a model that names no limit of its own."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model and its tokenizer, on the GPU where there is one."""

    name: str
    model: Any
    tokenizer: Any
    max_tokens: int

    @classmethod
    def load(cls, name: str, revision: str | None) -> "Classifier":
        """Load a model.

        Args:
            name: a folder, or a hub id.
            revision: of a hub id the 40 hex digits of a commit; None for a folder.

        Raises:
            Refusal: there is no such model, it has no safetensors, it needs code of its own, or
                its weights hold no classifier.
        """
        with at("model"):
            folder = pretrained.folder(name, revision)
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        with loading(f"model: {name} cannot be loaded"):
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model, loaded = AutoModelForSequenceClassification.from_pretrained(
                folder,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        if loaded["missing_keys"]:
            raise Refusal(
                f"model: {name} is no trained classifier: it has no weights for "
                f"{', '.join(sorted(loaded['missing_keys']))}"
            )
        limit = getattr(model.config, "max_position_embeddings", None) or TOKENS
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(name, model.eval().to(device), tokenizer, min(tokenizer.model_max_length, limit))

    @property
    def labels(self) -> list[str]:
        """The names of the columns of `scores`."""
        return [str(name) for _, name in sorted(self.model.config.id2label.items())]

    def num_tokens(self, texts: pa.Array) -> int:
        """Tokens of some texts that the model reads."""
        ids = self.tokenizer(texts.to_pylist(), truncation=True, max_length=self.max_tokens)
        return sum(map(len, ids["input_ids"]))

    def scores(self, texts: pa.Array, batch: int) -> NDArray[np.float32]:
        """What the model's last layer says of every text, as [texts, labels].

        Texts longer than the model can take are judged by their beginning. They are worked on in
        the order of their lengths, so that hardly anything is padding: the longest first, so that
        what does not fit into memory shows at once.
        """
        import torch

        lengths = pc.binary_length(texts)
        keys = pa.table({"length": lengths, "text": texts})
        order = pc.sort_indices(keys, [("length", "descending"), ("text", "ascending")])
        found = np.empty((len(texts), len(self.labels)), np.float32)
        with torch.inference_mode(), progress(None, self.name, "rows", len(texts)) as bar:
            for start in range(0, len(texts), batch):
                chosen = order.slice(start, batch)
                tokens = self.tokenizer(
                    texts.take(chosen).to_pylist(),
                    padding=True,
                    truncation=True,
                    max_length=self.max_tokens,
                    return_tensors="pt",
                ).to(self.model.device)
                found[chosen.to_numpy()] = self.model(**tokens).logits.float().cpu().numpy()
                bar.update(len(chosen))
        if not np.isfinite(found).all():
            raise Refusal(f"the model {self.name} gives scores that are no numbers")
        return found
