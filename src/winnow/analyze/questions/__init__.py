"""The questions that an analysis answers, each a module with a function `ask`.

`analyze.questions` in params.yaml lists them: one of winnow by its name, `dial` for dial.py here,
one of your own as `my_package.novelty:ask`. A question that needs another's result imports it;
what is costly is worked out once a study.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from winnow.core.drawing import Drawing


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What `ask(study, settings)` gives back."""

    values: object
    """A tree of dataclasses, mappings and sequences: analysis.json holds it under the question's
    name."""
    sentence: str = ""
    """The answer in words, or a table of Markdown; empty where the page alone puts the values into
    words."""
    asks: str = ""
    """The question in words."""
    opening: str = ""
    """What the report says first, with the first figure under it, where no question before this one
    in `analyze.questions` has an opening; the first of two sentences is the title."""
    figures: tuple[Drawing, ...] = ()
    """Their names are unique among all figures of the analysis."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Texts of tables that results/ holds beside the summary, by name."""


def openings(by_model: Mapping[str, str]) -> str:
    """What is said first of every model; named where there are several."""
    if len(by_model) == 1:
        return next(iter(by_model.values()))
    return " ".join(f"{model}: {text}" for model, text in by_model.items())


def by_chance(intervals: int, confidence: float) -> str:
    """How many of so many intervals miss what they are of, on average: what "surely" means where
    each is read by itself."""
    return f"Of {intervals} such intervals {intervals * (1 - confidence):.1f} miss by chance."
