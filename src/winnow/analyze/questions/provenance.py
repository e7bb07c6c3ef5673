"""Who wrote the rows: people, a model that answered people's questions, or one that reworded them?

A study asks it by `winnow.analyze.questions.provenance:ask` in `analyze.questions`, with one of
FIGURES as `analyze.metric`. Each model's arms are the tiers of one named source: A human, B
ai_contaminated, C synthetic_from_human. They are compared in pairs, over test rows and seeds.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer, openings
from winnow.analyze.questions.power import least_effect
from winnow.analyze.study import Arm, Study, estimates
from winnow.core.drawing import Drawing, Palette, panels
from winnow.core.errors import Refusal

ARMS = {"A": "human", "B": "ai_contaminated", "C": "synthetic_from_human"}
"""The letter of each arm, and the source of its rows."""
FIGURES = {"exact_match": "exact match", "f1": "F1", "rouge_l": "ROUGE-L"}
PAIRS = ("A-B", "C-B", "C-A")
"""Differences that are asked for: above zero, the first arm is better."""
Verdict = Literal["yes", "no", "not decided"]
TABLE = "metrics_table.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class Criterion:
    """A claim about two arms, and whether it holds."""

    claim: str
    difference: Interval
    verdict: Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The arms of one model."""

    arms: Mapping[str, str]
    """The experiment of each letter."""
    rows: Mapping[str, int]
    """Training rows of each letter."""
    seeds: int
    test_rows: int
    figures: Mapping[str, Mapping[str, Interval]]
    """By figure and letter."""
    differences: Mapping[str, Mapping[str, Interval]]
    """By figure and pair."""
    criteria: tuple[Criterion, ...]
    """By `analyze.metric`."""
    least_difference: float | None
    """Of that figure, which such a run would see in 80% of cases; None with one seed."""


def by_letter(arms: Sequence[Arm]) -> dict[str, Arm]:
    """The arms whose rows are of one source each, by letter."""
    found = {tuple(arm.tier.sources or ()): arm for arm in arms if arm.rule == "source"}
    return {letter: found[(name,)] for letter, name in ARMS.items() if (name,) in found}


def better(difference: Interval) -> Verdict:
    """Whether a difference is above zero; no, where all of its interval is not."""
    if difference.low > 0:
        return "yes"
    return "no" if difference.high <= 0 else "not decided"


def about(difference: Interval, margin: float) -> Verdict:
    """Whether a difference lies within a margin: all of its interval inside of it, or all outside
    (two one-sided tests; Schuirmann 1987)."""
    if -margin < difference.low and difference.high < margin:
        return "yes"
    is_outside = difference.low >= margin or difference.high <= -margin
    return "no" if is_outside else "not decided"


def _difference(found: Estimates, arms: Mapping[str, Arm], pair: str) -> Interval:
    first, second = pair.split("-")
    return found.margin(arms[first].name, arms[second].name)


def compare(study: Study, settings: AnalyzeConfig, arms: Mapping[str, Arm]) -> Comparison:
    """Compare the arms of one model by all figures."""
    found = {name: estimates(study, settings, name) for name in FIGURES}
    differences = {
        name: {pair: _difference(one, arms, pair) for pair in PAIRS} for name, one in found.items()
    }
    judged = differences[settings.metric]
    margin = f"{settings.margin:g}"
    criteria = (
        Criterion(claim="C > B", difference=judged["C-B"], verdict=better(judged["C-B"])),
        Criterion(
            claim=f"C about A, within {margin}",
            difference=judged["C-A"],
            verdict=about(judged["C-A"], settings.margin),
        ),
    )
    chosen = [found[settings.metric].index[arm.name] for arm in arms.values()]
    influence = found[settings.metric].influence[chosen]
    return Comparison(
        arms={letter: arm.name for letter, arm in arms.items()},
        rows={letter: arm.num_rows for letter, arm in arms.items()},
        seeds=len(study.seeds),
        test_rows=influence.shape[2],
        figures={
            name: {letter: one.value(arm.name) for letter, arm in arms.items()}
            for name, one in found.items()
        },
        differences=differences,
        criteria=criteria,
        least_difference=least_effect(found[settings.metric], chosen),
    )


def said(found: Comparison, metric: str) -> str:
    """The answer in words."""
    figure = FIGURES[metric]
    arms = ", ".join(
        f"{ARMS[letter]} {one.value:.3f}" for letter, one in found.figures[metric].items()
    )
    claims = ". ".join(
        f"{one.claim}: {one.verdict} ({one.difference.value:+.3f}, {one.difference.low:+.3f} to "
        f"{one.difference.high:+.3f})"
        for one in found.criteria
    )
    least = found.least_difference
    seen = (
        f"The least difference that this run could see is {least:.3f}."
        if least is not None
        else "One seed says nothing of what other seeds would bring."
    )
    return f"{figure} on {found.test_rows} test rows: {arms}. {claims}. {seen}"


def opening(found: Comparison) -> str:
    """Both verdicts in two plain sentences."""
    first, second = (one.verdict for one in found.criteria)
    within = found.criteria[1].claim.partition(", ")[2]
    better_said = {
        "yes": "Reworded rows teach more than rows that a model answered",
        "no": "Reworded rows do not teach more than rows that a model answered",
        "not decided": "Whether reworded rows teach more than rows that a model answered is not "
        "decided",
    }[first]
    about_said = {
        "yes": f"They teach as much as people's own, {within}",
        "no": f"They do not teach as much as people's own, {within}",
        "not decided": f"Whether they teach as much as people's own, {within}, is not decided",
    }[second]
    return f"{better_said}. {about_said}."


def table(comparisons: Mapping[str, Comparison]) -> str:
    """The figures of every arm with their intervals, as CSV."""
    ends = [f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["model", "arm", "source", "train_rows", "test_rows", "seeds", *ends])
    for model, found in comparisons.items():
        for letter, name in ARMS.items():
            values = [found.figures[figure][letter] for figure in FIGURES]
            numbers = [f"{end:.6f}" for one in values for end in (one.value, one.low, one.high)]
            head = [model, letter, name, found.rows[letter], found.test_rows, found.seeds]
            rows.writerow([*head, *numbers])
    return text.getvalue()


def drawing(model: str, found: Comparison, margin: float, confidence: float) -> Drawing:
    """Every figure of every arm, and below it the differences in pairs."""

    def draw(palette: Palette) -> Figure:
        figure, axes = panels(palette, len(FIGURES), 3.4)
        lines = [*ARMS, *PAIRS]
        for place, (name, title) in enumerate(FIGURES.items()):
            values = found.figures[name] | found.differences[name]  # type: ignore[operator]
            axes[place].axvspan(-margin, margin, color=palette.line, lw=0)
            axes[place].axvline(0, color=palette.muted, lw=0.8)
            axes[place].axhline(len(ARMS) - 0.5, color=palette.line, lw=0.8)
            for at, line in enumerate(lines):
                one = values[line]
                axes[place].plot([one.low, one.high], [at, at], color=palette.ink)
                axes[place].plot([one.value], [at], "o", color=palette.ink, ms=5)
            axes[place].set_xlabel(title)
        axes[0].set_yticks(range(len(lines)), [*(f"{k} {v}" for k, v in ARMS.items()), *PAIRS])
        axes[0].invert_yaxis()
        return figure

    words = "; ".join(f"{one.claim}: {one.verdict}" for one in found.criteria)
    return Drawing(
        name=f"provenance_{model}",
        title=f"Who wrote the rows ({model}): {words}",
        caption=f"Means over seeds with {confidence:.0%} intervals; below the line the differences "
        f"in pairs, the band is what counts as equal ({margin:g}).",
        draw=draw,
    )


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every model that has all three arms.

    Raises:
        Refusal: the metric is none of FIGURES, or no model has all arms.
    """
    if settings.metric not in FIGURES:
        raise Refusal(
            f"params.yaml: analyze.metric: the question of provenance expects one of "
            f"{', '.join(FIGURES)}, found {settings.metric!r}"
        )
    by_model = {model: by_letter(arms) for model, arms in study.models().items()}
    found = {
        model: compare(study, settings, arms)
        for model, arms in by_model.items()
        if len(arms) == len(ARMS)
    }
    if not found:
        raise Refusal(
            "params.yaml: experiments: the question of provenance expects an arm of the rule "
            f"source for each of {', '.join(ARMS.values())}"
        )
    margin, confidence = settings.margin, settings.confidence
    return Answer(
        values=found,
        sentence=" ".join(f"{model}: {said(one, settings.metric)}" for model, one in found.items()),
        asks="Who should write the data: people, a model that answers, or one that rewords?",
        opening=openings({model: opening(one) for model, one in found.items()}),
        figures=tuple(drawing(model, one, margin, confidence) for model, one in found.items()),
        files={TABLE: table(found)},
    )
