"""The opening of the report: the answer of all models in a sentence, why, and what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from winnow.analyze.report import numbers
from winnow.analyze.study import Study
from winnow.core.experiments import experiment_name

if TYPE_CHECKING:
    from winnow.analyze.questions.answer import Verdict

ENOUGH_SEEDS = 3
"""Fewer make no finding (design: DataDecide, arXiv 2504.11393, uses three)."""
LINES = 3
"""Of why, at most: the rest is further down the page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Next:
    """What to do now."""

    reason: str
    command: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """The opening of the report."""

    opening: str
    why: list[str]
    """The lines under it."""
    next: Next
    flag: str | None
    """What is no finding, and why."""
    text: str
    """The opening, what the scores did, and the flag."""


def _missing(judged: "list[Verdict]") -> str:
    """What to run where no arm of all rows was, so that nobody knows whether to filter at all."""
    names = [experiment_name("all_100pct", v.model_name) for v in judged if not v.has_all_rows]
    if not names:
        return ""
    return f" No arm of all rows was run: add {numbers.listed(names)} to experiments."


def _flag(num_seeds: int) -> str | None:
    if num_seeds >= ENOUGH_SEEDS:
        return None
    flag = f"Not a finding: {numbers.plural(num_seeds, 'seed')}; {ENOUGH_SEEDS} or more make one."
    if num_seeds == 1:
        flag += " The intervals know the test rows only, nothing of the seeds."
    return flag


def _tasks(verdict: "Verdict", study: Study) -> list[str]:
    """How many tasks the arm to keep completes, beside the best and the worst other arm."""
    arms = study.models()[verdict.model_name]
    shares = {arm: arm.generation("task_completion")[0] for arm in arms}
    known = {arm: share for arm, share in shares.items() if share is not None}
    shown = verdict.kept or verdict.best
    others = sorted((share, arm.name) for arm, share in known.items() if arm is not shown)
    if shown not in known or not others:
        return []
    rows = {arm.name: numbers.rows(arm, share=False) for arm in arms}
    low, high = (numbers.percent(share) for share, _ in (others[0], others[-1]))
    ends = low if low == high else f"{low} ({rows[others[0][1]]}) to {high} ({rows[others[-1][1]]})"
    return [
        f"With {rows[shown.name]} the model completes {numbers.percent(known[shown])} of the tasks "
        f"that a program checks; the others {ends}."
    ]


def _rival(verdict: "Verdict", unit: str) -> list[str]:
    """By how much the arm to keep is surely better than the nearest other one."""
    if verdict.kept is not verdict.best or not verdict.margins:
        return []
    name = min(verdict.margins, key=lambda other: verdict.margins[other].value)
    margin, controls = verdict.margins[name], [*filter(None, verdict.tested.values())]
    if name in [control.arm.name for control in controls]:
        return []  # said already, of the score
    return [
        f"The next best arm, {name}, is worse by {numbers.decimal(margin.value)} {unit} "
        f"({numbers.span(margin)})."
    ]


def _why(judged: "list[Verdict]", agreed: bool, study: Study, unit: str) -> list[str]:
    if len(judged) > 1:
        return [
            f"{v.model_name}: {v.score_sentence if agreed else f'{v.sentence} {v.score_sentence}'}"
            for v in judged
        ]
    (verdict,) = judged
    lines = [*verdict.score_sentences[:2], *_tasks(verdict, study), *_rival(verdict, unit)]
    return lines[:LINES]


def _next(judged: "list[Verdict]", study: Study) -> Next:
    for verdict in judged:
        if not verdict.has_all_rows:
            name = experiment_name("all_100pct", verdict.model_name)
            names = ",".join([*(arm.name for arm in study.arms), name])
            return Next(
                reason="run all rows too, or nobody knows whether to filter at all.",
                command=f"dvc exp run -S 'experiments=[{names}]'",
            )
    if any(verdict.kind == "nothing to compare" for verdict in judged):
        return Next(
            reason="run other numbers of rows: this says what they take and could see.",
            command="winnow plan",
        )
    if any(verdict.kept is None for verdict in judged):
        more = ",".join(str(seed) for seed in [*study.seeds, *_new(study.seeds)])
        return Next(
            reason="more seeds narrow what is too close; winnow analyze --power says by how much.",
            command=f"dvc exp run -S 'seeds=[{more}]'",
        )
    kept = judged[0].kept
    assert kept is not None
    return Next(
        reason=f"its rows are in artifacts/select/{kept.draws[0]}. To train on them:",
        command=f"winnow train {kept.name}",
    )


def _new(seeds: tuple[int, ...]) -> list[int]:
    """As many seeds again."""
    return [max(seeds) + 1 + number for number in range(len(seeds))]


def headline(verdicts: "Mapping[str, Verdict]", study: Study, unit: str) -> Headline:
    """The opening sentence, the lines under it, the next command, and what is no finding."""
    judged = list(verdicts.values())
    first = judged[0]
    agreed = all(v.kept is not None and v.sentence == first.sentence for v in judged)
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
    flag = _flag(len(study.seeds))
    return Headline(
        opening=opening,
        why=_why(judged, agreed, study, unit),
        next=_next(judged, study),
        flag=flag,
        text=" ".join([opening, *filter(None, details), *([flag] if flag else [])]),
    )
