"""The section `score` of params.yaml."""

from collections.abc import Sequence
from dataclasses import dataclass

from winnow.core.errors import Refusal, at
from winnow.core.experiments import QUALITY
from winnow.core.params import PARAMS, Text
from winnow.score import scorers


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """Which scorers give every row a number; the formulas have no knobs."""

    scorers: tuple[Text, ...] = (QUALITY,)
    """quality, and any `package.module:name` of a user's own."""

    def check(self) -> None:
        """Refuse scorers that there are not, or two columns of one name."""
        if QUALITY not in self.scorers:
            raise Refusal(
                f"{PARAMS}: score.scorers: expected quality among them, found {[*self.scorers]}"
            )
        if len(self.scorers) > 1:
            _check_own(self.scorers)


def _check_own(paths: Sequence[str]) -> None:
    # Here, as it takes a second that the documented score need not wait for.
    from winnow.core.records import SCORE_SCHEMA

    columns = set(SCORE_SCHEMA.names)
    for place, path in enumerate(paths):
        name, key = scorers.name(path), f"{PARAMS}: score.scorers[{place}]"
        if name in columns:
            raise Refusal(f"{key}: there is a column {name} already: rename the scorer")
        columns.add(name)
        if path != QUALITY:
            with at(key):
                scorers.find(path)
