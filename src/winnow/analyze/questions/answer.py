"""How much is to be kept, for one model size at a time, or why can that not be said?

Every arm is a candidate: all rows, the top ones by score, and any other choice. The best has the
lowest mean test loss. It is the answer only where the paired interval of its difference to every
other candidate excludes zero. A tier of top rows that random rows of its number surely beat is no
candidate: where that is the best of them, the answer is not to filter by this score. What the score
did in the tiers that were run always stands beside the answer.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from winnow.analyze.intervals import Bootstrap, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.report import figures, numbers
from winnow.analyze.report.drawing import Drawing
from winnow.analyze.report.values import plain
from winnow.analyze.study import Arm, Study, bootstrap, matched_control
from winnow.core.experiments import experiment_name

ENOUGH_SEEDS = 3
"""Fewer make no finding (design: DataDecide, arXiv 2504.11393, uses three)."""

MUCH_SHARED = 0.3
"""A control that shares this much of its rows with its tier is called out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A tier of top rows, and the random arm that it is tested against."""

    tier: Arm
    arm: Arm
    margin: Interval
    """How much lower the loss of the tier is."""

    @property
    def kind(self) -> Literal["matched", "same size", "other size"]:
        """How far the random rows are like the tier's."""
        if self.arm.rule == "matched":
            return "matched"
        return "same size" if self.arm.num_rows == self.tier.num_rows else "other size"

    @property
    def wins(self) -> bool:
        """Whether random rows of the tier's number surely beat it."""
        return self.kind != "other size" and self.margin.high < 0

    @property
    def loses(self) -> bool:
        """Whether the tier surely beats random rows of its number."""
        return self.kind != "other size" and self.margin.above_zero


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The answer for one model size."""

    model_name: str
    kind: Literal["keep", "too close", "nothing to compare"]
    best: Arm
    """The arm with the lowest mean test loss."""
    tied: tuple[Arm, ...]
    """Candidates that the best one is not surely better than."""
    margins: dict[str, Interval]
    """How much lower the loss of the best is than that of each other arm."""
    control: Control | None
    """Of the tier of top rows with the lowest mean test loss."""
    is_score_refuted: bool
    """Whether random rows beat that tier, and no other tier of top rows is left to keep."""
    has_all_rows: bool
    """Whether an arm of all rows is among those that were compared."""
    sentence: str
    """What to keep."""
    score_sentence: str
    """What the score did."""
    notes: tuple[str, ...]
    """The range in which the answer holds."""

    @property
    def score_helped(self) -> bool | None:
        """Whether the best tier of top rows surely beats its control; None where none tells."""
        if self.control is None or self.control.kind == "other size":
            return None
        return self.control.loses

    def values(self) -> dict[str, object]:
        """The verdict as it is written."""
        control = self.control and {
            "tier": self.control.tier.name,
            "experiment": self.control.arm.name,
            "kind": self.control.kind,
            "margin": self.control.margin,
        }
        return {
            "verdict": self.kind,
            "sentence": self.sentence,
            "score_sentence": self.score_sentence,
            "best": self.best.name,
            "num_rows": self.best.num_rows,
            "share": self.best.share,
            "tied": [arm.name for arm in self.tied],
            "margins": self.margins,
            "control": control,
            "score_helped": self.score_helped,
            "score_refuted": self.is_score_refuted,
            "has_all_rows": self.has_all_rows,
            "notes": self.notes,
        }


def _control(tier: Arm, arms: Sequence[Arm], losses: Bootstrap) -> Control | None:
    """The random rows of a tier's number that surely beat it; else those of its lengths too; else
    the nearest random arm."""
    random = [arm for arm in arms if arm.rule == "random" and not arm.is_unfiltered]
    random.sort(key=lambda arm: abs(arm.num_rows - tier.num_rows))
    matched = matched_control(tier, arms)
    found = [
        Control(tier=tier, arm=arm, margin=losses.margin(tier.name, arm.name))
        for arm in [*([matched] if matched else []), *random[:1]]
    ]
    return next((control for control in found if control.wins), found[0] if found else None)


def controls(arms: Sequence[Arm], losses: Bootstrap) -> dict[Arm, Control | None]:
    """Every tier of top rows, the one with the lowest loss first, and its control."""
    tops = sorted((arm for arm in arms if arm.is_top), key=lambda arm: _order(arm, losses))
    return {arm: _control(arm, arms, losses) for arm in tops}


def _order(arm: Arm, losses: Bootstrap) -> tuple[float, int, str]:
    """The lower the loss, the better; of equal ones the smaller arm."""
    return losses.value(arm.name).value, arm.num_rows, arm.name


def _evidence(control: Control, losses: Bootstrap) -> str:
    return (
        f"margin {numbers.signed(control.margin.value)} nats per token, {losses.confidence:.0%} "
        f"interval {numbers.span(control.margin)}, {numbers.plural(len(control.tier.runs), 'seed')}"
    )


def _score_sentence(best: Arm, tested: Mapping[Arm, Control | None], losses: Bootstrap) -> str:
    """What the score did in its best tier, with the margin, and in how many tiers."""
    if not tested:
        return "No tier of top rows was run, so nothing is known about the score."
    tier, control = next(iter(tested.items()))
    if control is None:
        return (
            f"No random control was run beside {tier.tier_name}, so nothing is known about the "
            f"score itself: add a tier {{rule: matched, of: {tier.tier_name}}} to experiments."
        )
    evidence = _evidence(control, losses)
    if control.kind == "other size":
        return (
            f"The random tier nearest to {tier.tier_name} has "
            f"{numbers.count(control.arm.num_rows)} rows ({evidence}); as the sizes differ, it "
            "says nothing about the score itself: add a tier "
            f"{{rule: matched, of: {tier.tier_name}}} to experiments."
        )
    return f"{_outcome(best, control)} ({evidence}).{_tally(tested)}"


def _outcome(best: Arm, control: Control) -> str:
    """Whether a tier does better than its control."""
    lengths = (
        "of the same lengths" if control.kind == "matched" else "whose lengths are not matched"
    )
    drawn = f"as many random rows {lengths}"
    tier = f"the top {numbers.count(control.tier.num_rows)} rows"
    if control.wins:
        return f"T{tier[1:]} do worse than {drawn}"
    if not control.loses:
        return f"The score itself did not help: {tier} cannot be told from {drawn}"
    if control.tier is best:
        return f"The score earns it: {drawn} do worse"
    return f"Yet the score does better than chance: {drawn} as {tier} do worse"


def _tally(tested: Mapping[Arm, Control | None]) -> str:
    """In how many tiers the score surely helped or hurt, where there are several."""
    told = [control for control in tested.values() if control and control.kind != "other size"]
    if len(told) < 2:
        return ""
    return (
        f" Of the {len(told)} tiers that have such a control, the score surely helped in "
        f"{sum(control.loses for control in told)} and hurt in "
        f"{sum(control.wins for control in told)}."
    )


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


def _keep_sentence(best: Arm, tied: Sequence[Arm], arms: Sequence[Arm]) -> str:
    """What to keep, or between what that is too close to call."""
    if len({arm.num_rows for arm in arms}) == 1:
        return (
            f"Nothing to compare: only arms of {numbers.plural(best.num_rows, 'row')} were run, "
            "so how hard to filter cannot be said."
        )
    if tied:
        group = sorted((best, *tied), key=lambda arm: (arm.num_rows, arm.name))
        names = numbers.listed([numbers.rows(arm, whole="") for arm in group])
        return f"Too close to call between {names}."
    whole = "" if any(arm.is_unfiltered for arm in arms) else "of what was run, "
    sentence = f"{whole}keep {numbers.rows(best)}."
    return sentence[0].upper() + sentence[1:]


def judge(model_name: str, arms: Sequence[Arm], losses: Bootstrap) -> Verdict:
    """Answer for the arms of one model."""
    best = min(arms, key=lambda arm: _order(arm, losses))
    margins = {arm.name: losses.margin(best.name, arm.name) for arm in arms if arm is not best}
    tested = controls(arms, losses)
    beaten = {arm for arm, control in tested.items() if control and control.wins}
    tied = tuple(
        arm
        for arm in arms
        if arm is not best and not margins[arm.name].above_zero and arm not in beaten
    )
    control = next(iter(tested.values()), None)
    is_refuted = (
        control is not None and control.wins and not any(arm.is_top for arm in (best, *tied))
    )
    sentence = _keep_sentence(best, tied, arms)
    is_one_size = len({arm.num_rows for arm in arms}) == 1
    kind: Literal["keep", "too close", "nothing to compare"] = (
        "nothing to compare" if is_one_size else "too close" if tied else "keep"
    )
    if is_refuted:
        joined = f": {sentence[0].lower()}{sentence[1:]}" if kind == "keep" else f". {sentence}"
        sentence = f"Do not filter by this score{joined}"
    return Verdict(
        model_name=model_name,
        kind=kind,
        best=best,
        tied=tied,
        margins=margins,
        control=control,
        is_score_refuted=is_refuted,
        has_all_rows=any(arm.is_unfiltered for arm in arms),
        sentence=sentence,
        score_sentence=_score_sentence(best, tested, losses),
        notes=_notes(best, arms, control),
    )


def _missing(judged: Sequence[Verdict]) -> str:
    """What to run where no arm of all rows was, so that nobody knows whether to filter at all."""
    names = [experiment_name("all_100pct", v.model_name) for v in judged if not v.has_all_rows]
    if not names:
        return ""
    return f" No arm of all rows was run: add {numbers.listed(names)} to experiments."


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """The opening of the report."""

    opening: str
    details: list[str]
    """The sentences under it."""
    flag: str | None
    """What is no finding, and why."""
    text: str
    """All of that."""
    agreed: bool
    """Whether all models have one answer."""
    kept: list[str]
    """The models whose share is drawn."""


def headline(verdicts: Mapping[str, Verdict], num_seeds: int) -> Headline:
    """The opening sentence, the sentences under it, and the flag of what is no finding."""
    judged = list(verdicts.values())
    first = judged[0]
    agreed = all(v.kind == "keep" and v.sentence == first.sentence for v in judged)
    sizes = numbers.listed([verdict.model_name for verdict in judged])
    one, several = "model size", "model sizes"
    if any(verdict.best.budget for verdict in judged):
        one, several = "model and budget", "models and budgets"
    if len(judged) == 1:
        opening, details = first.sentence, [first.score_sentence]
    elif agreed:
        opening = f"At every {one}, {sizes}: {first.sentence[0].lower()}{first.sentence[1:]}"
        details = [f"{v.model_name}: {v.score_sentence}" for v in judged]
    else:
        opening = f"The {several} {sizes} do not share one answer."
        details = [f"{v.model_name}: {v.sentence} {v.score_sentence}".strip() for v in judged]
    opening += _missing(judged)
    flag = None
    if num_seeds < ENOUGH_SEEDS:
        flag = (
            f"Not a finding: {numbers.plural(num_seeds, 'seed')}; {ENOUGH_SEEDS} or more make one."
        )
        if num_seeds == 1:
            flag += " The intervals know the test rows only, nothing of the seeds."
    details = [detail for detail in details if detail]
    text = " ".join([opening, *details, *([flag] if flag else [])])
    kept = [v.model_name for v in judged if v.kind == "keep"]
    return Headline(
        opening=opening,
        details=details,
        flag=flag,
        text=text,
        agreed=agreed,
        kept=kept[:1] if agreed else kept,
    )


@functools.lru_cache(1)
def verdicts(study: Study, settings: AnalyzeConfig) -> dict[str, Verdict]:
    """The answer for every model."""
    losses = bootstrap(study, settings)
    return {name: judge(name, arms, losses) for name, arms in study.models().items()}


def _quality_vs_quantity(study: Study, losses: Bootstrap, verdict: Verdict) -> Drawing:
    perplexity = losses.value(verdict.best.name).map(math.exp).value
    title = f"{verdict.best.name} has the lowest perplexity, {numbers.significant(perplexity)}"
    return figures.quality_vs_quantity(
        study, losses, title + (", but not surely" if verdict.tied else "")
    )


def comparisons(
    study: Study, losses: Bootstrap, judged: Mapping[str, Verdict]
) -> list[tuple[str, str, Interval]]:
    """Kind, label and margin of every comparison that the answer rests on."""
    rows: list[tuple[str, str, Interval]] = []
    for name, arms in study.models().items():
        suffix = f"  [{name}]" if len(judged) > 1 else ""
        for arm in arms:
            control = matched_control(arm, arms) if arm.rule == "top" else None
            if control:
                label = f"{arm.tier_name} over {control.tier_name}{suffix}"
                rows.append(("matched", label, losses.margin(arm.name, control.name)))
        best = judged[name].best
        for other in arms:
            label = f"{best.tier_name} over {other.tier_name}{suffix}"
            if other is not best and all(label != shown for _, shown, _ in rows):
                rows.append(("top", label, judged[name].margins[other.name]))
    return rows


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """The headline, the verdicts under it, and the two figures that show them."""
    losses, judged = bootstrap(study, settings), verdicts(study, settings)
    said = headline(judged, len(study.seeds))
    rows = comparisons(study, losses, judged)
    drawn = [_quality_vs_quantity(study, losses, next(iter(judged.values())))]
    if rows:
        drawn.append(figures.margins(rows, losses.confidence))
    models = {name: verdict.values() for name, verdict in judged.items()}
    return Answer(values=plain(said) | {"models": models}, sentence=said.text, figures=tuple(drawn))
