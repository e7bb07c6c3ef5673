"""The row types that cross a stage's border, and the one text that a row becomes.

Nothing here knows a file format or a stage; every stage may import it.
"""

import hashlib
import unicodedata
from dataclasses import dataclass

import pyarrow as pa

ROW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "source", "instruction", "input", "response")]
)
"""What ingest writes: one canonical instruction-response pair a row, no nulls."""

CURATED_SCHEMA = pa.schema([*ROW_SCHEMA, ("hash", pa.string()), ("cluster", pa.string())])
"""What curate writes: the row, its content hash, and the hash that names its duplicate cluster."""

DIMENSIONS = ("clarity", "response_quality", "diversity", "complexity")

SCORE_SCHEMA = pa.schema(
    [("id", pa.string()), ("hash", pa.string()), ("source", pa.string()), ("score", pa.float64())]
    + [(name, pa.float64()) for name in DIMENSIONS]
    + [("num_tokens", pa.int64()), ("num_response_words", pa.int64())]
)
"""What score writes, in the order of the curated rows."""

ITEM_SCHEMA = pa.schema(
    [("id", pa.string()), ("source", pa.string()), ("quintile", pa.int8())]
    + [("loss", pa.float64()), ("num_tokens", pa.int64()), ("num_bytes", pa.int64())]
    + [("response_loss", pa.float64()), ("response_tokens", pa.int64())]
)
"""What evaluate writes per test row: summed losses in nats, and the counts they are summed over."""


@dataclass(frozen=True, slots=True)
class Row:
    """One instruction-response pair; `input` is the empty string where there is none."""

    id: str
    source: str
    instruction: str
    input: str
    response: str

    @property
    def question(self) -> str:
        """The instruction, with the input on the next line where there is one."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction

    @property
    def prompt(self) -> str:
        """What a model is given: the text up to where the response starts."""
        return f"### Instruction:\n{self.question}\n\n### Response:\n"

    @property
    def text(self) -> str:
        """What a model is trained on and judged by, without the end-of-text token."""
        return self.prompt + self.response


def content_hash(instruction: str, input: str, response: str) -> str:
    """Name a row by its content: 32 hex digits of the text in NFKC, lower case, single spaces.

    Rows that differ only by case, width or white space share one hash: it is the key of exact
    duplicates, of ties between equal scores and of every seeded draw, so that none of these
    depends on the order of rows.
    """
    parts = (unicodedata.normalize("NFKC", part).lower().split() for part in
             (instruction, input, response))  # fmt: skip
    text = "\x1f".join(" ".join(words) for words in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
