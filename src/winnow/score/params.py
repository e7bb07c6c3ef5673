"""The section `score` of params.yaml, and the kinds of scorers in it."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.core import extensions, params
from winnow.core.errors import Refusal, at
from winnow.core.experiments import DOCUMENTED
from winnow.core.params import PARAMS, Name
from winnow.score.scorers import Settings

KINDS = (
    "length",
    "column",
    "perplexity",
    "ifd",
    "dsir",
    "linear",
    "composite",
    "rds",
    "classifier",
    "judge",
    "reward",
)
"""The kinds beside the documented one: modules of winnow.score.scorers, each with a class of
settings that has its name."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the list: one column of the score table."""

    column: str
    name: str
    """The kind, or `package.module:name`."""
    settings: Settings
    place: str
    """In params.yaml, before which a message is put."""


def settings_of(kind: str) -> type[Settings]:
    """The class of a kind's settings."""
    found: type[Settings] = getattr(
        importlib.import_module(f"winnow.score.scorers.{kind}"), kind.capitalize()
    )
    return found


def _settings(name: str, given: dict[str, Any], place: str) -> Settings:
    """The settings of a kind, or of a user's own scorer."""
    if extensions.is_path(name):
        from winnow.score.scorers import own

        with at(f"{PARAMS}: {place}"):
            return own.settings(name, given, place)
    if name not in KINDS:
        raise Refusal(
            f"{PARAMS}: {place}: unknown scorer {name!r}; known are {DOCUMENTED}, "
            f"{', '.join(KINDS)}, and package.module:name of your own"
        )
    settings: Settings = params.build(settings_of(name), given, f"{place} {name}")
    return settings


def item(value: Any, place: str) -> Item | None:
    """One item; None stands for the documented scorer, which has a place of its own.

    Raises:
        Refusal: there is no such scorer, or its keys are wrong.
    """
    given: dict[str, Any] = dict(params.build(dict[str, Any], value, place))
    name = str(given.pop("name", None))
    if name == DOCUMENTED:
        if given:
            raise Refusal(f"{PARAMS}: {place} {name}: expected no other key, found {[*given][0]}")
        return None
    column = params.build(Name, given.pop("as", name.rpartition(":")[2]), f"{place}.as")
    return Item(column, name, _settings(name, given, place), f"{PARAMS}: {place} {name}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """Which scorers give every row a number; the documented one always does."""

    scorers: tuple[Any, ...] = ()
    """Each is a name, the keys of its kind, and maybe `as`, the name of its column."""

    def items(self) -> list[Item]:
        """The scorers beside the documented one, in their order.

        Raises:
            Refusal: there is no such scorer, its keys are wrong, or two columns have one name.
        """
        found = [item(value, f"score.scorers[{i}]") for i, value in enumerate(self.scorers)]
        items = [one for one in found if one]
        if items:
            _check_columns(items)
        return items

    def check(self) -> None:
        """Refuse scorers that there are not, or their keys, and files that are missing."""
        for item in self.items():
            with at(item.place):
                for key, file in item.settings.files().items():
                    if not Path(file).exists():
                        raise Refusal(f"{key}: no file or folder {file!r}")

    def columns(self) -> list[str]:
        """The columns of the score table by which a tier may be cut."""
        # Here, as it takes a second that the documented score need not wait for.
        from winnow.core.records import CUTTING

        return [DOCUMENTED, *CUTTING, *(item.column for item in self.items())]

    def kept_columns(self) -> list[tuple[str, str]]:
        """The columns of the corpus that ingest must keep for a scorer, each with its place."""
        items = ((item.settings.kept_column(), item.place) for item in self.items())
        return [(column, place) for column, place in items if column is not None]


def _check_columns(items: Sequence[Item]) -> None:
    # Here, as it takes a second that the documented score need not wait for.
    from winnow.core.records import SCORE_SCHEMA

    taken = {*SCORE_SCHEMA.names, DOCUMENTED}
    for item in items:
        if item.column in taken:
            raise Refusal(
                f"{item.place}: there is a column {item.column} already: name another one by `as`"
            )
        for name in item.settings.columns():
            if name not in taken:
                raise Refusal(
                    f"{item.place}: no scorer before it makes a column {name!r}, but "
                    f"{', '.join(sorted(taken - {'id', 'hash', 'source'}))}"
                )
        taken.add(item.column)
