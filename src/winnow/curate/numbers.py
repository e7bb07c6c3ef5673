"""The numbers of every curation step, as params.yaml gives them.

Apart from the steps, as to import what they work with would take seconds.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from winnow.core.params import Count, Probability, Range, Seed, Share, Text


@dataclass(frozen=True, kw_only=True, slots=True)
class NoNumbers:
    """Of a step that takes none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extract:
    """Numbers of `extract`."""

    engine: Literal["trafilatura", "resiliparse"] = "trafilatura"
    """See `extract.to_text`."""


PARTITION_MB = 256
"""See `params.CurateConfig.partition_mb`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exact:
    """Numbers of `exact`."""

    partition_mb: Count = PARTITION_MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Near:
    """Numbers of `near`."""

    threshold: Share
    """Of the Jaccard similarity."""
    permutations: Annotated[int, Range("[1, 1024]")] = 128
    """The length of a MinHash signature."""
    ngram: Annotated[int, Range("[1, 1000]")] = 3
    """Words in a shingle."""
    keep: Literal["one", "all"] = "one"
    """one: all but one row of a cluster go. all: clusters are only marked, which keeps them on one
    side of the hold-out."""
    partition_mb: Count = PARTITION_MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Decontaminate:
    """Numbers of `decontaminate`."""

    benchmarks: tuple[Text, ...]
    """Files, or folders of them: JSON (lines), CSV, plain text, Parquet; .gz or .zst."""
    ngram: Annotated[int, Range("[1, 1000]")] = 12
    """Words in a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """Numbers of `language`."""

    keep: tuple[Text, ...] = ("en",)
    """Codes of languages as the model spells them: en, de, zh."""
    threshold: Probability = 0.0
    """The least probability of a language that is kept."""
    model: Text | None = None
    """See `language.detect`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier:
    """Numbers of `classifier`."""

    model: Text
    """A folder or a hub id, of a model with one label."""
    revision: Text | None = None
    """Of a hub id, the 40 hex digits of a commit."""
    minimum: Annotated[float, Range("[-1e9, 1e9]")] = 3.0
    """The least score of a row that stays, on the model's own scale."""
    batch: Annotated[int, Range("[1, 10000]")] = 32
    """Texts at once: a matter of memory and time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """Numbers of `linear`."""

    labelled: Text
    """JSON lines or Parquet with instruction, response, maybe input, and label."""
    minimum: Probability = 0.5
    """The least probability of a row that stays, where the labels' shares in that file are those in
    the corpus."""
    seed: Seed = 0
    """Of the order in which the fit goes through the labelled rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Toxicity:
    """Numbers of `toxicity`."""

    model: Text | None = None
    """A folder or a hub id; or none, and `perspective`."""
    revision: Text | None = None
    """Of a hub id, the 40 hex digits of a commit."""
    labels: tuple[Text, ...] | None = None
    """Those that count, by the model's names; not needed of a model with one label. Of Perspective
    its attributes, by default TOXICITY."""
    maximum: Probability = 0.5
    """The largest probability of a row that stays."""
    batch: Annotated[int, Range("[1, 10000]")] = 32
    """Texts at once: a matter of memory and time."""
    perspective: bool = False
    """Ask Google's service: every text is sent to it. See perspective.py."""
    per_second: Annotated[float, Range("[0.001, 1000]")] = 1.0
    """Requests that the service may be sent in a second."""
    unscored: Literal["keep", "drop"] = "keep"
    """What becomes of rows that the service cannot score (in a language that it does not know, too
    long). By default they stay: that a text could not be judged is nothing against it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Semantic:
    """Numbers of `semantic`."""

    threshold: Share = 0.95
    """Of the cosine."""
    buckets: Annotated[int, Range("[1, 10000]")] | None = None
    """Their number; null makes one for every 5,000 rows."""
    model: Text | None = None
    """A sentence-transformers folder or hub id; null compares words, not meanings."""
    revision: Text | None = None
    """Of a hub id, the 40 hex digits of a commit."""
    seed: Seed = 0
    """Of the k-means and its sample."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Topics:
    """Numbers of `curate.topics`."""

    clusters: Annotated[int, Range("[2, 1000]")]
    """Topics, at most."""
    model: Text | None = None
    """A sentence-transformers folder or hub id; null compares words, not meanings."""
    revision: Text | None = None
    """Of a hub id, the 40 hex digits of a commit."""
    seed: Seed = 0
    """Of the k-means and its sample."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Numbers of `pairs`."""

    threshold: Share
    """Of the Jaccard similarity of both answers."""
    ngram: Annotated[int, Range("[1, 1000]")] = 3
    """Words in a shingle."""
    scores: tuple[Text, ...] = ()
    """Two columns that ingest kept: the scores of the chosen and of the rejected answer."""
