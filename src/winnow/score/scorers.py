"""What a scorer is: a number for every row, by which a tier may be cut.

The documented score is `quality` (scorer.py), with the columns of its dimensions. Any other one is
a `Scorer` of a user's package, which params.yaml names as `package.module:name`; its column and
`by` of a tier have the part behind the colon for a name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from winnow.core import extensions
from winnow.core.errors import Refusal
from winnow.core.experiments import QUALITY

if TYPE_CHECKING:
    from winnow.core.records import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """A user's scorer."""

    score: Callable[[Sequence["Row"]], Sequence[float | str]]
    """Gives each of some rows a finite number, or the reason why it has none. What rows are handed
    over together decides nothing; on Ray it is called on other machines."""
    best: Literal["highest", "lowest"] = "highest"
    """Which scores the rule `top` takes."""


def name(path: str) -> str:
    """The name of a scorer's column."""
    return path.rpartition(":")[2]


def find(path: str) -> Scorer:
    """A user's scorer.

    Raises:
        Refusal: there is none.
    """
    if not extensions.is_path(path):
        raise Refusal(f"expected {QUALITY}, or package.module:name of your own, found {path!r}")
    return extensions.load(path, Scorer)
