"""What crosses a stage's border: row types, the one text that a row becomes, and JSON contracts.

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

KEPT = "kept:"
"""What the names of columns of the corpus begin with that ingest keeps beside ROW_SCHEMA."""

REJECTED = f"{KEPT}rejected"
"""The column of another answer to the row's question, to which `response` was preferred; the empty
string where the row is no pair."""

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
"""What score writes, in the order of the curated rows; and a column for each scorer."""

CUTTING = (*DIMENSIONS, "num_tokens", "num_response_words")
"""Its numbers beside the score, by which a tier may be cut as well."""

ITEM_SCHEMA = pa.schema(
    [("id", pa.string()), ("source", pa.string()), ("quintile", pa.int8())]
    + [("loss", pa.float64()), ("num_tokens", pa.int64()), ("num_bytes", pa.int64())]
    + [("response_loss", pa.float64()), ("response_tokens", pa.int64())]
)
"""What evaluate writes per test row: summed losses in nats, and the counts they are summed over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """Losses over some test rows: a part of quality_analysis/strata.json."""

    loss: float
    """Nats a token."""
    perplexity: float
    bits_per_byte: float
    """Bits a byte of the text in UTF-8; unlike the others it compares tokenizers."""
    response_loss: float
    """Nats a token of the response and the end alone."""
    response_perplexity: float
    num_rows: int
    num_tokens: int
    num_bytes: int
    response_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TestLosses(Losses):
    """evaluation/metrics.json: losses over the whole test set."""

    baseline_loss: float
    """Nats a token of a model that knows only how often each token is in the training rows."""

    __test__ = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """generation_analysis/metrics.json: means over prompts, null where undefined."""

    task_completion: float | None
    """Share of samples that a program accepts."""
    coherence: float | None
    """1 - seq-rep-4 of a completion."""
    diversity: float | None
    """distinct-2 over a prompt's completions."""
    distinct_1: float | None
    self_bleu: float | None
    instruction_following: float | None
    """ROUGE-L against the reference response."""
    length_appropriateness: float | None
    """The shorter of completion and reference over the longer one, in words."""
    num_prompts: int
    num_samples: int
    """Over all prompts."""
    too_long: int
    """Prompts left out because they fill over half of the context."""
    unchecked: int
    """Tasks left out because no program here checks them."""
    reasons: dict[str, str]
    """Why a mean is undefined, by its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A line of generation_analysis/samples.jsonl."""

    prompt: str
    completion: str
    passed: bool | None
    """Whether the task is done; null of a prompt that is no task."""
    reference: str | None
    """The test row's response."""
    answer: str | None
    """What a program looks for: the answer, or the names of the instructions."""


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


def question_of(prompt: str) -> str:
    """The question in a `Row.prompt`."""
    return prompt.removeprefix("### Instruction:\n").removesuffix("\n\n### Response:\n")


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


def prose(rows: pa.RecordBatch) -> pa.Array:
    """What a judge of prose reads: the question, an empty line and the response of every row.

    Without the marks of `Row.text`, which such a judge never saw. Large strings.
    """
    return _joined(questions(rows), "\n\n", rows["response"])


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


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentConfig:
    """experiment_config.json: what was trained, on what and where."""

    experiment: str
    name: str
    seed: int
    tier_name: str
    tier: dict[str, Any]
    """The declared tier; `winnow.core.experiments.Tier` builds it."""
    draw: str
    """Of the tier: its name in statistics.json, and its place in artifacts/select."""
    level: str
    """The first word of the tier's name."""
    model_name: str
    model: dict[str, Any]
    """The declared model."""
    recipe_name: str | None
    """The recipe that the experiment's name holds; None where it is the tier's own."""
    recipe: dict[str, Any]
    """The declared recipe, with the model's scale in its learning rate."""
    budget_name: str | None
    budget: dict[str, Any] | None
    group: str
    """The model with the named recipe and budget: only arms that share it are compared."""
    init: str
    """The start: scratch, or the pretrained model."""
    num_rows: int
    num_tokens: int
    """Training targets of one epoch."""
    data_sha256: str
    """Of the tier's rows."""
    device: str
    precision: str
    git_commit: str | None
    run_id: str | None
    """The tracked run; None where it is not tracked."""
    command: str
    """What trains it again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A point of a training's curve."""

    step: int
    tokens: int
    """Training targets seen so far."""
    seconds: float
    train_loss: float
    """Loss per token since the point before, in nats."""
    validation_loss: float | None
    """Loss per token on the validation rows, in nats."""
    learning_rate: float
    grad_norm: float
    """Before it is clipped, of the last step."""


@dataclass(kw_only=True, slots=True)
class TrainResults:
    """train_results.json: what came of a training, beside what was estimated."""

    train_time: float
    """Seconds by the clock."""
    estimated_time: float
    estimated_memory_gb: float
    peak_memory_gb: float | None
    """None where the device tells none."""
    gradient_checkpointing: bool
    final_loss: float
    """Training loss per token of the last point, in nats."""
    validation_loss: float | None
    num_steps: int
    num_epochs: float
    tokens_seen: int
    tokens_per_second: float
    num_parameters: int
    flops: float
    """Floating-point operations of the whole training."""
    flops_per_second: float
    curve: list[Point]


@dataclass(frozen=True, kw_only=True, slots=True)
class TierStatistics:
    """What statistics.json says of the rows of a draw of a tier, and of their scores."""

    rule: str
    sha256: str
    """Of the rows' content hashes."""
    num_rows: int
    num_tokens: int
    share: float
    """Of the curated pool."""
    min: float
    max: float
    mean: float
    std: float
    sources: dict[str, int] | None = None
    """source and mixture only: rows by source."""
    components: dict[str, dict[str, Any]] | None = None
    """mixture only, by source: the weight that was asked for, the rows that it asks for, those that
    were taken, how many of them differ, and their tokens."""
    overlap_with_of: float | None
    """The share of its rows that the tier `of` has too, where there is one."""
