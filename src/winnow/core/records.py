"""The row types that cross a stage's border, and the one text that a row becomes.

Nothing here knows a file format or a stage; every stage may import it.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

ROW_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "source", "instruction", "input", "response")]
)
"""What ingest writes: one canonical instruction-response pair a row, no nulls."""

CURATED_SCHEMA = pa.schema([*ROW_SCHEMA, ("hash", pa.string()), ("cluster", pa.string())])
"""What curate writes: the row, its content hash, and the hash that names its duplicate cluster."""

DROPPED_SCHEMA = pa.schema(
    [*ROW_SCHEMA, ("hash", pa.string())]
    + [("step", pa.int32()), ("reason", pa.string()), ("because", pa.string())]
)
"""What curate dropped: the row, the place of the step in the recipe, why, and what it collided
with: the id of the row that stays instead, an item of a benchmark, the language found."""

WEIGHTS = {"clarity": 0.25, "response_quality": 0.35, "diversity": 0.2, "complexity": 0.2}
"""Of the dimensions in the score."""

DIMENSIONS = tuple(WEIGHTS)

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


def _joined(*parts: Any) -> pa.Array:
    large = pa.large_string()
    scalars = [
        pa.scalar(part, large) if isinstance(part, str) else part.cast(large) for part in parts
    ]
    return pc.binary_join_element_wise(*scalars, pa.scalar("", large))


def questions(rows: pa.RecordBatch) -> pa.Array:
    """`Row.question` of every row, as large strings."""
    line = pc.if_else(pc.equal(rows["input"], ""), "", "\n")
    return _joined(rows["instruction"], line, rows["input"])


def texts(rows: pa.RecordBatch) -> pa.Array:
    """`Row.text` of every row, as large strings."""
    return _joined("### Instruction:\n", questions(rows), "\n\n### Response:\n", rows["response"])


INVISIBLE = re.compile("[\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
"""Characters that only a program sees: soft hyphens, zero-width spaces, byte order marks, word
joiners, the marks of direction."""

JOINERS = "\u200c\u200d"
"""The zero-width joiner and non-joiner, which emoji, Persian and Indic scripts need."""

_IDLE_JOINERS = re.compile(rf"(?<![^\0-\x7f])[{JOINERS}]+(?![^\0-\x7f])")


def _visible(text: str) -> str:
    return text if text.isascii() else _IDLE_JOINERS.sub("", INVISIBLE.sub("", text))


def normalise(instruction: str, input: str, response: str) -> str:
    """The text by which rows are compared: what is visible of it, in NFKC, lower case and single
    spaces, its parts joined by U+001F."""
    visible = map(_visible, (instruction, input, response))
    parts = (unicodedata.normalize("NFKC", part) for part in visible)
    return "\x1f".join(" ".join(part.lower().split()) for part in parts)


def content_hash(instruction: str, input: str, response: str) -> str:
    """Name a row by its content: 32 hex digits of a hash of its normalised text.

    Rows that differ only by case, width, white space or what is invisible share one hash: it is the
    key of exact duplicates, of ties between equal scores and of every seeded draw, so that none of
    these depends on the order of rows.
    """
    text = normalise(instruction, input, response)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
