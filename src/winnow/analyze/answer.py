"""The headline: how much to keep, for one model size at a time, or why that cannot be said.

The candidates are the arms that keep the top rows by score. The best has the lowest mean test loss.
It is the answer only where the paired interval of its difference to every other candidate excludes
zero. Its margin over random rows of the same lengths always stands beside it: without that margin,
what helped was the number of rows, not the score.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from winnow.analyze import words
from winnow.analyze.bootstrap import Bootstrap, Interval
from winnow.analyze.documented import as_json
from winnow.analyze.results import Arm

ENOUGH_SEEDS = 3
"""Fewer make no finding (design: DataDecide, arXiv 2504.11393, uses three)."""

MUCH_SHARED = 0.3
"""A control that shares this much of its rows with its tier is called out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """The random arm that the best one is held against."""

    arm: Arm
    kind: Literal["matched", "same size", "other size"]
    margin: Interval
    """How much lower the loss of the best arm is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The answer for one model size."""

    model_name: str
    kind: Literal["keep", "too close", "nothing to compare"]
    best: Arm | None
    """The candidate with the lowest mean test loss."""
    tied: tuple[Arm, ...]
    """Candidates that the best one is not surely better than."""
    margins: dict[str, Interval]
    """How much lower the loss of the best is than that of each other candidate."""
    control: Control | None
    sentence: str
    """What to keep."""
    score_sentence: str
    """Whether the score itself helped."""
    notes: tuple[str, ...]
    """The range in which the answer holds."""

    @property
    def score_helped(self) -> bool | None:
        """Whether the best arm surely beats its random control; None where none tells."""
        if self.control is None or self.control.kind == "other size":
            return None
        return self.control.margin.above_zero

    def to_json(self) -> dict[str, Any]:
        """The verdict as it is written."""
        control = self.control and {
            "experiment": self.control.arm.name,
            "kind": self.control.kind,
            "margin": as_json(self.control.margin),
        }
        return {
            "verdict": self.kind,
            "sentence": self.sentence,
            "score_sentence": self.score_sentence,
            "best": self.best.name if self.best else None,
            "num_rows": self.best.num_rows if self.best else None,
            "share": self.best.share if self.best else None,
            "tied": [arm.name for arm in self.tied],
            "margins": {name: as_json(margin) for name, margin in self.margins.items()},
            "control": control,
            "score_helped": self.score_helped,
            "notes": list(self.notes),
        }


def matched_control(best: Arm, arms: tuple[Arm, ...]) -> Arm | None:
    """The arm of random rows with the sizes and lengths of an arm's tier."""
    found = (arm for arm in arms if arm.rule == "matched" and arm.of == best.tier_name)
    return next(found, None)


def _control(best: Arm, arms: tuple[Arm, ...], losses: Bootstrap) -> Control | None:
    """The matched arm of the best tier; without it, the random arm of the nearest size.

    All rows have none: as many random ones are the same.
    """
    if best.share >= 1:
        return None
    matched = matched_control(best, arms)
    if matched:
        margin = losses.margin(best.name, matched.name)
        return Control(arm=matched, kind="matched", margin=margin)
    random = [arm for arm in arms if arm.rule == "random"]
    if not random:
        return None
    near = min(random, key=lambda arm: abs(arm.num_rows - best.num_rows))
    kind: Literal["same size", "other size"] = (
        "same size" if near.num_rows == best.num_rows else "other size"
    )
    return Control(arm=near, kind=kind, margin=losses.margin(best.name, near.name))


def _score_sentence(
    best: Arm, control: Control | None, kind: str, losses: Bootstrap, num_seeds: int
) -> str:
    """Whether the score helped, with the margin, its interval and the number of seeds."""
    if best.share >= 1:
        return "Of all rows the score chooses none, so this says nothing about it."
    if control is None:
        return (
            f"No random control was run beside {best.tier_name}, so nothing is known about the "
            f"score itself: add a tier {{rule: matched, of: {best.tier_name}}} to experiments."
        )
    margin = control.margin
    evidence = (
        f"{words.signed(margin.value)} nats per token, {losses.confidence:.0%} interval "
        f"{words.span(margin)}, {words.plural(num_seeds, 'seed')}"
    )
    missing = "" if control.kind == "matched" else "Its length-matched control was not run. "
    if control.kind == "other size":
        return (
            f"{missing}The margin over the nearest random tier, {control.arm.tier_name} with "
            f"{words.count(control.arm.num_rows)} rows, is {evidence}; as the sizes differ, "
            "it says nothing about the score itself."
        )
    drawn = (
        "as many random rows of the same lengths" if control.kind == "matched"
        else "as many random rows, their lengths not matched,"
    )  # fmt: skip
    if margin.above_zero:
        return f"{missing}The score earns it: {drawn} do worse (margin {evidence})."
    instead = " (size did)" if kind == "keep" else ""
    does = "do as well, as far as this run can tell" if margin.holds_zero else "do better"
    return f"{missing}The score itself did not help{instead}: {drawn} {does} (margin {evidence})."


def _notes(best: Arm, candidates: list[Arm], control: Control | None) -> tuple[str, ...]:
    """Where the answer stops: at the edges of what was run, and where compute was not equal."""
    notes = []
    overlap = control.arm.overlap if control else None
    if control and overlap is not None and overlap >= MUCH_SHARED:
        notes.append(
            f"{control.arm.tier_name} shares {words.percent(overlap)} of its rows with "
            f"{best.tier_name}, which makes the margin between them smaller than the score's worth."
        )
    sizes = [arm.num_rows for arm in candidates]
    if len(sizes) > 1 and best.num_rows == min(sizes):
        notes.append(f"{best.tier_name} is the hardest filter that was tried.")
    if len(sizes) > 1 and best.num_rows == max(sizes) and best.share < 1:
        notes.append(f"{best.tier_name} is the mildest filter that was tried.")
    seen = [arm.train("tokens_seen") for arm in candidates]
    if best.budget is None and max(seen) > 1.1 * min(seen):
        notes.append(
            f"The tiers were trained on {words.short(min(seen))} to {words.short(max(seen))} "
            "tokens each: the comparison is under their own recipes, not at equal compute."
        )
    epochs = best.train("num_epochs")
    if epochs > 4:
        notes.append(
            f"{best.tier_name} was repeated for {epochs:g} epochs; beyond four, a repeated row is "
            "worth clearly less than a fresh one (arXiv 2305.16264)."
        )
    return tuple(notes)


def _keep_sentence(best: Arm, tied: tuple[Arm, ...]) -> str:
    if tied:
        group = sorted((best, *tied), key=lambda arm: (arm.num_rows, arm.name))
        names = words.listed([words.rows(arm, whole="") for arm in group])
        return f"Too close to call between {names}."
    end = "; every harder filter did worse" if best.share >= 1 else ""
    return f"Keep {words.rows(best)}{end}."


def judge(model_name: str, arms: tuple[Arm, ...], losses: Bootstrap) -> Verdict:
    """Answer for the arms of one model."""
    candidates = [arm for arm in arms if arm.rule == "top"]
    if not candidates:
        return Verdict(
            model_name=model_name, kind="nothing to compare", best=None, tied=(), margins={},
            control=None, score_sentence="", notes=(),
            sentence="Nothing to compare: no experiment keeps the top rows by score.",
        )  # fmt: skip
    best = min(candidates, key=lambda arm: (losses.loss(arm.name).value, arm.num_rows, arm.name))
    others = [arm for arm in candidates if arm is not best]
    margins = {arm.name: losses.margin(best.name, arm.name) for arm in others}
    tied = tuple(arm for arm in others if not margins[arm.name].above_zero)
    control = _control(best, arms, losses)
    kind: Literal["keep", "too close", "nothing to compare"] = (
        "nothing to compare" if not others else "too close" if tied else "keep"
    )
    sentence = _keep_sentence(best, tied) if others else (
        f"Nothing to compare: {best.tier_name} is the only tier of top rows that was run, "
        "so how hard to filter cannot be said."
    )  # fmt: skip
    return Verdict(
        model_name=model_name,
        kind=kind,
        best=best,
        tied=tied,
        margins=margins,
        control=control,
        sentence=sentence,
        score_sentence=_score_sentence(best, control, kind, losses, len(best.runs)),
        notes=_notes(best, candidates, control),
    )


def headline(verdicts: Mapping[str, Verdict], num_seeds: int) -> dict[str, Any]:
    """The opening sentence, the sentences under it, and the flag of what is no finding."""
    judged = list(verdicts.values())
    first = judged[0]
    agreed = all(v.kind == "keep" and v.best and first.best
                 and v.best.tier_name == first.best.tier_name for v in judged)  # fmt: skip
    sizes = words.listed([verdict.model_name for verdict in judged])
    one, several = "model size", "model sizes"
    if any(verdict.best and verdict.best.budget for verdict in judged):
        one, several = "model and budget", "models and budgets"
    if len(judged) == 1:
        opening, details = first.sentence, [first.score_sentence]
    elif agreed:
        opening = f"At every {one}, {sizes}: {first.sentence[0].lower()}{first.sentence[1:]}"
        details = [f"{v.model_name}: {v.score_sentence}" for v in judged]
    else:
        opening = f"The {several} {sizes} do not share one answer."
        details = [f"{v.model_name}: {v.sentence} {v.score_sentence}".strip() for v in judged]
    flag = None
    if num_seeds < ENOUGH_SEEDS:
        flag = f"Not a finding: {words.plural(num_seeds, 'seed')}; {ENOUGH_SEEDS} or more make one."
        if num_seeds == 1:
            flag += " The intervals know the test rows only, nothing of the seeds."
    details = [detail for detail in details if detail]
    text = " ".join([opening, *details, *([flag] if flag else [])])
    kept = [v.model_name for v in judged if v.kind == "keep"]
    return {"opening": opening, "details": details, "flag": flag, "text": text,
            "agreed": agreed, "kept": kept[:1] if agreed else kept}  # fmt: skip
