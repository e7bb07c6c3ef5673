"""What a scorer is: a number for every row, by which a tier may be cut.

A kind of scorer is a file here with a class of `Settings`, and a line in KINDS of score/params.py.
A user's own is a `Scorer` of another package, which params.yaml names as `package.module:name`.
Nothing here takes long to import, as params.yaml is checked against the settings.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.score.corpus import Corpus

Scores = Sequence[float | str]
"""Of each of some rows a finite number, or the reason why it has none."""


class Ready(abc.ABC):
    """A scorer that has learned or loaded what it needs."""

    is_parallel: ClassVar[bool] = False
    """Whether the engine scores its batches, on all cores or a cluster, to which it is sent whole;
    else they are scored here one after the other."""
    reads_scores: ClassVar[bool] = False
    """Whether a batch is to hold the columns that were scored before, which lie here alone."""
    scores_dropped: ClassVar[bool] = True
    """Whether rows that curation dropped are scored as well; they are not where a row is dear."""
    flops: float | None = None
    """Floating-point operations of models so far; None where no model runs."""

    @abc.abstractmethod
    def __call__(self, rows: "pa.RecordBatch") -> Scores:
        """Score rows (ROW_SCHEMA and their hash); how they are cut into batches decides nothing."""

    def notes(self) -> Mapping[str, Any]:
        """What the card says of it beside its settings, once all rows are scored."""
        return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(abc.ABC):
    """What params.yaml says of a scorer, beside its name and its column."""

    best: Literal["highest", "lowest"] = "highest"
    """Which scores the rule `top` takes."""

    @abc.abstractmethod
    def prepare(self, corpus: "Corpus") -> Ready:
        """Load or learn what the scores need.

        Raises:
            Refusal: that cannot be; the message begins with the key.
        """

    def files(self) -> Mapping[str, str]:
        """The user's files and folders that it reads, by key: the card holds their hashes."""
        return {}

    def kept_column(self) -> str | None:
        """The column of the corpus that it reads beside the rows, where it does."""
        return None

    def columns(self) -> Sequence[str]:
        """The columns that it is made of, whose cost is its own as well."""
        return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """A user's scorer."""

    score: Callable[..., Scores]
    """Gives each of some `Row`s a finite number, or the reason why it has none. What rows are
    handed over together decides nothing; on Ray it is called on other machines."""
    settings: type | None = None
    """A dataclass of its own keys in params.yaml, which `score` takes behind the rows."""
    best: Literal["highest", "lowest"] = "highest"
    """Which scores the rule `top` takes, where params.yaml does not say it."""
