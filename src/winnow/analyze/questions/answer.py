"""How much is to be kept, by which score, or none; for one model size at a time.

Every arm is a candidate: all rows, the top ones by a score, and any other choice. A tier of top
rows that random rows of its number surely beat is none: where no other tier is left, the answer is
not to filter by that score. Then (Hsu 1984; Bechhofer's indifference zone):

1. The arm with the best metric is kept where its paired interval to every other candidate excludes
   zero. That is an intersection of tests, each at the stated confidence: it asks no correction.
2. Else, where nothing is better than some candidates by more than `analyze.margin`, at the upper
   end of the interval, the cheapest of them is kept.
3. Else it is too close to call, with the arm by which the least may be given away.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from winnow.analyze import controls
from winnow.analyze.controls import Control
from winnow.analyze.cost import total_seconds
from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.questions.headline import headline
from winnow.analyze.report import figures, numbers
from winnow.analyze.report.values import plain
from winnow.analyze.study import Arm, Study, estimates
from winnow.core.drawing import Drawing

MUCH_SHARED = 0.3
"""A control that shares this much of its rows with its tier is called out."""
SAME_COST = 1.05
"""Arms whose costs differ by less cost the same: then the better one is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The answer for one model size."""

    model_name: str
    kind: Literal["keep", "too close", "nothing to compare"]
    best: Arm
    """The arm with the best metric."""
    kept: Arm | None
    """The arm to keep; None where that cannot be said."""
    is_sure: bool
    """Whether it surely beats all other candidates, and is not just the cheapest that nothing beats
    by more than the margin."""
    tied: tuple[Arm, ...]
    """Candidates that the best one is not surely better than."""
    margins: dict[str, Interval]
    """How much better the best is than each other arm."""
    regrets: dict[str, float]
    """By candidate: how much better another arm is, at most: the upper end of its interval."""
    control: Control | None
    """Of the best tier of top rows."""
    tested: Mapping[Arm, Control | None]
    """Of all tiers of top rows, the best first."""
    is_score_refuted: bool
    """Whether random rows beat the best tier of every score, and no tier of top rows is left."""
    has_all_rows: bool
    """Whether an arm of all rows is among those that were compared."""
    sentence: str
    """What to keep."""
    score_sentences: tuple[str, ...]
    """What every score did, the one with the best tier first."""
    notes: tuple[str, ...]
    """The range in which the answer holds."""

    @property
    def score_sentence(self) -> str:
        """What the scores did."""
        return " ".join(self.score_sentences)

    @property
    def score_helped(self) -> bool | None:
        """Whether the best tier of top rows surely beats its control; None where none tells."""
        if self.control is None or self.control.kind == "other size":
            return None
        return self.control.loses

    def values(self) -> dict[str, object]:
        """The verdict as it is written."""
        shown = self.kept or self.best
        return {
            "verdict": self.kind,
            "sentence": self.sentence,
            "score_sentence": self.score_sentence,
            "best": self.best.name,
            "kept": self.kept and self.kept.name,
            "is_sure": self.is_sure,
            "num_rows": shown.num_rows,
            "share": shown.share,
            "tied": [arm.name for arm in self.tied],
            "margins": self.margins,
            "regrets": self.regrets,
            "control": self.control and self.control.values(),
            "score_helped": self.score_helped,
            "score_refuted": self.is_score_refuted,
            "has_all_rows": self.has_all_rows,
            "notes": self.notes,
        }


def _notes(best: Arm, arms: Sequence[Arm], control: Control | None) -> tuple[str, ...]:
    """Where the answer stops: at the edges of what was run, and where compute was not equal."""
    notes = []
    overlap = control.arm.overlap if control else None
    if control and overlap is not None and overlap >= MUCH_SHARED:
        notes.append(
            f"{control.arm.tier_name} shares {numbers.percent(overlap)} of its rows with "
            f"{control.tier.tier_name}, which makes the margin between them smaller than the "
            "score's worth."
        )
    sizes = {arm.num_rows for arm in arms}
    if len(sizes) > 1 and best.num_rows == min(sizes):
        notes.append(f"{best.tier_name} is the hardest filter that was tried.")
    if len(sizes) > 1 and best.num_rows == max(sizes) and not best.is_unfiltered:
        notes.append(f"{best.tier_name} is the mildest filter that was tried.")
    seen = [arm.mean(lambda run: run.train.tokens_seen) for arm in arms]
    if best.budget is None and max(seen) > 1.1 * min(seen):
        notes.append(
            f"The arms were trained on {numbers.short(min(seen))} to {numbers.short(max(seen))} "
            "tokens each: the comparison is under their own recipes, not at equal compute."
        )
    epochs = best.mean(lambda run: run.train.num_epochs)
    if epochs > 4:
        notes.append(
            f"{best.tier_name} was repeated for {epochs:.3g} epochs; beyond four, a repeated row "
            "is worth clearly less than a fresh one (arXiv 2305.16264)."
        )
    return tuple(notes)


def _named(arms: Sequence[Arm]) -> str:
    """Arms from the smallest, by what they keep; those that read alike by their tiers too."""
    ordered = sorted(arms, key=lambda arm: (arm.num_rows, arm.name))
    names = [numbers.rows(arm, whole="") for arm in ordered]
    return numbers.listed(
        [
            f"{name} [{arm.tier_name}]" if names.count(name) > 1 else name
            for arm, name in zip(ordered, names, strict=True)
        ]
    )


def _is_one_choice(arms: Sequence[Arm]) -> bool:
    """Whether only one number of rows by one score was run, and random rows beside it."""
    return len({arm.num_rows for arm in arms}) == 1 and sum(arm.is_top for arm in arms) < 2


def _cheapest(arms: Sequence[Arm], cost: Callable[[Arm], float | None]) -> Arm:
    """Of the arms with the least cost, the first."""
    costs = {arm: found for arm in arms if (found := cost(arm)) is not None}
    least = min(costs.values(), default=math.inf)
    return next((arm for arm in arms if costs.get(arm, math.inf) <= SAME_COST * least), arms[0])


def _sentence(verdict: "Verdict", arms: Sequence[Arm], losses: Estimates, margin: float) -> str:
    """What to keep, or between what that is too close to call."""
    best, kept = verdict.best, verdict.kept
    if verdict.kind == "nothing to compare":
        return (
            f"Nothing to compare: only arms of {numbers.plural(best.num_rows, 'row')} were run, "
            "so how hard to filter cannot be said."
        )
    if kept is None:
        least = min(verdict.regrets, key=lambda name: verdict.regrets[name])
        (spared,) = (arm for arm in arms if arm.name == least)
        return (
            f"Too close to call between {_named((best, *verdict.tied))}. With "
            f"{_named([spared])} at most {numbers.decimal(verdict.regrets[least])} "
            f"{losses.unit} are given away."
        )
    whole = "" if any(arm.is_unfiltered for arm in arms) else "of what was run, "
    sentence = f"{whole}keep {numbers.rows(kept)}"
    if not verdict.is_sure:
        sentence += f". No other choice is better by more than {margin:g} {losses.unit}"
        sentence += "" if kept is best else ", and this one costs least"
    return f"{sentence[0].upper()}{sentence[1:]}."


def _refuted(tested: Mapping[Arm, Control | None], left: Sequence[Arm]) -> str:
    """The scores whose best tier random rows beat, in words; empty where a tier of top rows is
    left to keep or some score is not refuted."""
    first: dict[str, Control | None] = {}
    for tier, control in tested.items():
        first.setdefault(controls.score_name(tier), control)
    if not first or any(arm.is_top for arm in left):
        return ""
    if not all(control and control.wins for control in first.values()):
        return ""
    names = [*first]
    return "by this score" if names == ["the score"] else f"by {numbers.listed(names, 'or')}"


def _score_sentences(
    kept: Arm | None, tested: Mapping[Arm, Control | None], losses: Estimates
) -> tuple[str, ...]:
    """What every score did, the one with the best tier first."""
    if not tested:
        return ("No tier of top rows was run, so nothing is known about the score.",)
    by_score: dict[str, dict[Arm, Control | None]] = {}
    for tier, control in tested.items():
        by_score.setdefault(tier.tier.scorer, {})[tier] = control
    return tuple(controls.sentence(kept, own, losses) for own in by_score.values())


def judge(
    model_name: str,
    arms: Sequence[Arm],
    losses: Estimates,
    *,
    margin: float,
    cost: Callable[[Arm], float | None],
) -> Verdict:
    """Answer for the arms of one model.

    Args:
        model_name: with the budget.
        arms: that are compared.
        losses: of the metric, whatever it is.
        margin: what may be given away, in the metric's unit.
        cost: seconds of scoring and training an arm; None where they were not measured.
    """
    best = min(arms, key=lambda arm: controls.order(arm, losses))
    margins = {arm.name: losses.margin(best.name, arm.name) for arm in arms if arm is not best}
    tested = controls.controls(arms, losses)
    beaten = {arm for arm, control in tested.items() if control and control.wins}
    candidates = sorted(set(arms) - beaten, key=lambda arm: controls.order(arm, losses))
    tied = tuple(arm for arm in candidates if arm is not best and not margins[arm.name].above_zero)
    regrets = {
        arm.name: max(
            (losses.margin(other.name, arm.name).high for other in arms if other is not arm),
            default=0.0,
        )
        for arm in candidates
    }
    within = [arm for arm in candidates if regrets[arm.name] <= margin]
    kept = best if not tied else _cheapest(within, cost) if within else None
    kind: Literal["keep", "too close", "nothing to compare"] = "keep" if kept else "too close"
    if _is_one_choice(arms):
        kind, kept = "nothing to compare", None
    refuted = _refuted(tested, [kept] if kept else [best, *tied])
    verdict = Verdict(
        model_name=model_name,
        kind=kind,
        best=best,
        kept=kept,
        is_sure=not tied,
        tied=tied,
        margins=margins,
        regrets=regrets,
        control=next(iter(tested.values()), None),
        tested=tested,
        is_score_refuted=bool(refuted),
        has_all_rows=any(arm.is_unfiltered for arm in arms),
        sentence="",
        score_sentences=_score_sentences(kept, tested, losses),
        notes=_notes(kept or best, arms, next(iter(tested.values()), None)),
    )
    sentence = _sentence(verdict, arms, losses, margin)
    if refuted:
        joined = f": {sentence[0].lower()}{sentence[1:]}" if kept else f". {sentence}"
        sentence = f"Do not filter {refuted}{joined}"
    return replace(verdict, sentence=sentence)


@functools.lru_cache(1)
def verdicts(study: Study, settings: AnalyzeConfig) -> dict[str, Verdict]:
    """The answer for every model."""
    judged = partial(
        judge,
        losses=estimates(study, settings, settings.metric),
        margin=settings.margin,
        cost=partial(total_seconds, study=study),
    )
    return {name: judged(name, arms) for name, arms in study.models().items()}


def _quality_vs_quantity(study: Study, found: Estimates, metric: str, verdict: Verdict) -> Drawing:
    name, of = figures.shown(metric)
    end = "lowest" if found.lower_is_better else "highest"
    value = numbers.significant(of(found.value(verdict.best.name).value))
    title = f"{verdict.best.name} has the {end} {name}, {value}"
    return figures.quality_vs_quantity(
        study, found, metric, title + (", but not surely" if verdict.tied else "")
    )


def comparisons(study: Study, judged: Mapping[str, Verdict]) -> list[tuple[str, str, Interval]]:
    """Kind, label and margin of every comparison that the answer rests on."""
    rows: list[tuple[str, str, Interval]] = []
    for name, verdict in judged.items():
        suffix = f"  [{name}]" if len(judged) > 1 else ""
        for tier, control in verdict.tested.items():
            if control and control.kind != "other size":
                label = f"{tier.tier_name} over {control.arm.tier_name}{suffix}"
                rows.append(("matched", label, control.margin))
        for other in study.models()[name]:
            label = f"{verdict.best.tier_name} over {other.tier_name}{suffix}"
            if other is not verdict.best and all(label != shown for _, shown, _ in rows):
                rows.append(("top", label, verdict.margins[other.name]))
    return rows


def _choices(study: Study, judged: Mapping[str, Verdict]) -> Mapping[str, Verdict]:
    """The verdicts that the headline speaks of, what is said of several models alike once."""
    # Arms whose weights are drawn explore mixtures: none of them is a choice to be kept.
    kept = {
        name: verdict
        for name, verdict in judged.items()
        if any(arm.tier.draw is None for arm in study.models()[name])
    } or judged
    silent = {
        v.sentence: name
        for name, v in reversed(list(kept.items()))
        if v.kind == "nothing to compare"
    }
    return {n: v for n, v in kept.items() if silent.get(v.sentence, n) == n}


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """The headline, the verdicts under it, and the two figures that show them."""
    losses, judged = estimates(study, settings, settings.metric), verdicts(study, settings)
    choices = _choices(study, judged)
    said = headline(choices, study, losses.unit)
    rows = comparisons(study, choices)
    first = next(iter(choices.values()))
    drawn = [_quality_vs_quantity(study, losses, settings.metric, first)]
    if rows:
        drawn.append(figures.margins(rows, losses.confidence, losses.unit))
    models = {name: verdict.values() for name, verdict in judged.items()}
    return Answer(
        values=plain(said) | {"models": models},
        sentence=said.text,
        asks="How hard should I filter this instruction data, and by which score?",
        opening=said.opening,
        figures=tuple(drawn),
    )
