"""What does each method of alignment bring, and what does it cost, as one table?

Asked as `studies.alignment.table:ask`, with the judge `studies.alignment.table:better`, of arms of
one recipe a method on the tasks that rows.py wrote. Win rates are those of the question
`winnow.analyze.questions.preferences:ask`, against its baseline, which is also the unit of cost.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from corpora.form import is_well_formed
from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.judges import Answered, Pair
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer, by_chance, preferences
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Run, Study
from winnow.core.drawing import Drawing, Palette, panels
from winnow.core.experiments import experiment_names
from winnow.core.files import contract, read_json
from winnow.core.records import Row, Sample, TrainResults, question_of

TASKS = Path("tasks.jsonl")
DOCUMENTED = {
    "sft": ("5.2", "8%", "1"),
    "rlhf": ("6.8", "15%", "10"),
    "dpo": ("6.5", "14%", "2"),
    "simpo": ("6.7", "15%", "1.5"),
    "orpo": ("6.6", "14%", "1.2"),
}
"""MT-Bench, AlpacaEval and training time of the documented table, of Llama 2 7B, by recipe."""
HEADS = (
    *("method", "tasks completed", "more than {}", "well-formed", "words", "win rate against {}"),
    *("FLOPs", "seconds", "documented: MT-Bench", "AlpacaEval", "time"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """What a method came to; shares are of the tasks, intervals over tasks and seeds."""

    experiment: str
    tasks: Interval
    """The share completed."""
    more_tasks: Interval | None
    """Than the baseline completes, in pairs; None of the baseline itself."""
    well_formed: Interval
    """The share of answers in the form of a clean one, whatever they say."""
    words: Interval
    """Of an answer."""
    win_rate: Interval | None
    """Against the baseline, by a program; None of the baseline itself."""
    flops: float
    """Of the training, and of its reward model's where it has one, the baseline's being 1."""
    seconds: float
    """By the clock, likewise; of the fastest of the seeds, which was disturbed the least."""


def families() -> dict[str, str]:
    """The family that every task belongs to, by its question."""
    tasks = map(json.loads, TASKS.read_text(encoding="utf-8").splitlines())
    return {
        Row("", "", task["instruction"], task["input"], "").question: task["family"]
        for task in tasks
    }


def better(pairs: Sequence[Pair]) -> list[float | None]:
    """The judge: the answer that completes the task is the better one, and of two alike in that the
    well-formed one; a tie where they are alike in both."""
    family_of = families()

    def worth(question: str, one: Answered) -> tuple[float, bool]:
        assert one.checked is not None
        return one.checked, is_well_formed(family_of[question], one.text)

    found: list[float | None] = []
    for pair in pairs:
        if pair.first.checked is None or pair.second.checked is None:
            found.append(None)
            continue
        first, second = worth(pair.question, pair.first), worth(pair.question, pair.second)
        found.append(0.5 + (first > second) / 2 - (first < second) / 2)
    return found


def well_formed() -> Callable[[Sample], float]:
    """A figure of a sample: 1 where it has the form of a clean answer to its task, else 0."""
    family_of = families()
    return lambda one: float(is_well_formed(family_of[question_of(one.prompt)], one.completion))


def measured(study: Study, settings: AnalyzeConfig, figure: Callable[[Sample], float]) -> Estimates:
    """A figure of the samples of all tasks, as a mean over samples and tasks. All arms are one
    group: they learn the same draws of one tier with the same seeds, by other methods."""
    prompts = list(dict.fromkeys(one.prompt for one in study.arms[0].runs[0].samples))
    at = {prompt: place for place, prompt in enumerate(prompts)}
    shape = len(study.arms), len(study.seeds), len(prompts)
    sums, counts = np.zeros(shape), np.zeros(shape)
    for i, arm in enumerate(study.arms):
        for j, run in enumerate(arm.runs):
            for one in run.samples:
                sums[i, j, at[one.prompt]] += figure(one)
                counts[i, j, at[one.prompt]] += 1
    return Estimates.of(
        {arm.name: "" for arm in study.arms},
        sums / counts,
        np.ones(len(prompts)),
        resamples=settings.resamples,
        confidence=settings.confidence,
        seed=settings.seed,
        lower_is_better=False,
        unit="of the tasks",
    )


def _flops(run: Run) -> float:
    """Of a training, and of its reward model's."""
    objective = run.config.recipe["objective"]
    model = objective.get("model") if isinstance(objective, dict) else None
    if model is None:
        return float(run.train.flops)
    path = Path(model, "train_results.json")
    return float(run.train.flops + contract(TrainResults, read_json(path), path).flops)


def _seconds(arm: Arm) -> float:
    """Of an arm's fastest training, by the clock."""
    return float(min(run.train.train_time for run in arm.runs))


def methods(study: Study, settings: AnalyzeConfig, names: Sequence[str]) -> dict[str, Method]:
    """By recipe, budget and, of several, model, in the order of params.yaml."""
    judged = preferences.ask(study, settings).values
    assert isinstance(judged, preferences.Judged)
    tasks = measured(study, settings, lambda one: float(bool(one.passed)))
    forms = measured(study, settings, well_formed())
    words = measured(study, settings, lambda one: float(len(one.completion.split())))
    arms = {arm.name: arm for arm in study.arms}
    unit = arms[judged.baseline["name"]]
    flops = unit.mean(_flops)
    several = len({arm.model for arm in study.arms}) > 1
    found = {}
    for arm in sorted(arms.values(), key=lambda one: names.index(one.name)):
        is_unit = arm is unit
        parts = arm.recipe or arm.tier.recipe, arm.budget, arm.model if several else None
        name = "_".join(filter(None, parts))
        found[name] = Method(
            experiment=arm.name,
            tasks=tasks.value(arm.name),
            more_tasks=None if is_unit else tasks.margin(arm.name, unit.name),
            well_formed=forms.value(arm.name),
            words=words.value(arm.name),
            win_rate=None if is_unit else judged.arms[arm.name].win_rate,
            flops=arm.mean(_flops) / flops,
            seconds=_seconds(arm) / _seconds(unit),
        )
    return found


def percent(one: Interval | None) -> str:
    """A share."""
    if one is None:
        return numbers.DASH
    value, low, high = (numbers.decimal(100 * each, 1) for each in (one.value, one.low, one.high))
    return f"{value}% ({low} to {high})"


def points(one: Interval | None) -> str:
    """A difference of shares."""
    if one is None:
        return numbers.DASH
    value, low, high = (numbers.decimal(100 * each, 1) for each in (one.value, one.low, one.high))
    return f"{'+' if one.value > 0 else ''}{value} ({low} to {high})"


def _plain(one: Interval) -> str:
    value, low, high = (numbers.decimal(each, 1) for each in (one.value, one.low, one.high))
    return f"{value} ({low} to {high})"


def table(found: Mapping[str, Method], baseline: str) -> str:
    """The methods as a table of Markdown."""
    heads = [head.format(baseline) for head in HEADS]
    lines = [heads, ["---"] * len(heads)]
    for name, one in found.items():
        told = DOCUMENTED.get(name, (numbers.DASH,) * 3)
        lines.append(
            [
                name,
                percent(one.tasks),
                points(one.more_tasks),
                percent(one.well_formed),
                _plain(one.words),
                percent(one.win_rate),
                numbers.decimal(one.flops, 2),
                numbers.decimal(one.seconds, 1),
                *told,
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _draw(found: Mapping[str, Method], baseline: str, palette: Palette) -> Figure:
    others = {name: one for name, one in found.items() if one.more_tasks}
    figure, (gains, costs) = panels(palette, 2, 1.1 + 0.3 * len(others))
    for y, one in enumerate(reversed(others.values())):
        assert one.more_tasks is not None
        low, value, high = (
            100 * each for each in (one.more_tasks.low, one.more_tasks.value, one.more_tasks.high)
        )
        gains.plot([low, high], [y, y], color=palette.ink)
        gains.plot([value], [y], "o", color=palette.ink)
        costs.plot([one.flops], [y], "o", color=palette.muted)
    gains.axvline(0, color=palette.ink, linewidth=0.8)
    costs.axvline(1, color=palette.ink, linewidth=0.8)
    costs.set_xscale("log")
    costs.xaxis.set_major_formatter(FuncFormatter(lambda flops, _: f"{flops:g}"))
    costs.xaxis.set_minor_formatter(NullFormatter())
    gains.set_yticks(range(len(others)), [*reversed(others)])
    gains.set_xlabel(f"tasks completed, points more than {baseline}")
    costs.set_xlabel(f"FLOPs, {baseline} being 1")
    return figure


def opening(found: Mapping[str, Method], baseline: str) -> str:
    """Which methods surely complete more or fewer tasks than the baseline."""
    margins = {name: one.more_tasks for name, one in found.items() if one.more_tasks}
    more = [name for name, one in margins.items() if one.above_zero]
    less = [name for name, one in margins.items() if one.high < 0]
    verb = "complete" if more[1:] else "completes"
    text = f"{numbers.listed(more) or 'No method'} surely {verb} more tasks than {baseline}"
    return f"{text}. {numbers.listed(less) or 'None'} surely fewer."


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every arm."""
    found = methods(study, settings, experiment_names())
    assert settings.preferences is not None
    baseline = next(
        name for name, one in found.items() if one.experiment == settings.preferences.baseline
    )
    return Answer(
        values=found,
        sentence=table(found, baseline),
        asks="Which alignment is worth its cost?",
        opening=f"{opening(found, baseline)} {by_chance(len(found) - 1, settings.confidence)}",
        figures=(
            Drawing(
                "alignment",
                "What each method brings, and what it takes",
                f"Beside {baseline}. Lines are intervals over tasks and seeds, in pairs.",
                partial(_draw, found, baseline),
            ),
        ),
    )
