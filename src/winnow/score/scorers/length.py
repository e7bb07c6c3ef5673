"""The tokens of a response: the baseline that many scores do not beat.

Zhao et al. 2024 (Long is more for alignment, PMLR 235) choose the longest thousand responses; at a
million rows token length is a stable filter (Xia et al. 2024, arXiv 2410.09335).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.core.threads import once
from winnow.score.scorers import Ready, Scores, Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.models.tokenizer import Encode
    from winnow.score.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Length(Settings):
    """It has no numbers."""

    def prepare(self, corpus: "Corpus") -> Ready:
        return _Length(corpus.tokenizer)


@dataclass(frozen=True, slots=True)
class _Length(Ready):
    is_parallel = True
    tokenizer: Path

    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        import pyarrow as pa

        _, offsets = _encoder(self.tokenizer)(rows["response"].cast(pa.large_string()))
        lengths: list[float] = (offsets[1:] - offsets[:-1]).tolist()
        return lengths


@once
def _encoder(tokenizer: Path) -> "Encode":
    """Once in every process."""
    from tokenizers import Tokenizer

    from winnow.models.tokenizer import encoder

    return encoder(Tokenizer.from_file(str(tokenizer / "tokenizer.json")))
