"""The section `score` of params.yaml."""

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
        # Here, as it takes a moment that other sections need not wait for.
        from winnow.core.records import SCORE_SCHEMA

        names = [scorers.name(path) for path in self.scorers]
        if QUALITY not in names:
            raise Refusal(f"{PARAMS}: score.scorers: expected quality among them, found {names}")
        for place, (path, name) in enumerate(zip(self.scorers, names, strict=True)):
            if name in names[:place] or name in SCORE_SCHEMA.names:
                raise Refusal(
                    f"{PARAMS}: score.scorers[{place}]: there is a column {name} already: "
                    "rename the scorer"
                )
            if path != QUALITY:
                with at(f"{PARAMS}: score.scorers[{place}]"):
                    scorers.find(path)
