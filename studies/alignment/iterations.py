"""What does self-play bring, round by round?

Asked as `studies.alignment.iterations:ask` beside the table, of what spin/rounds.sh left.
Iteration 0 is the grid's SFT, from which each seed's first round starts.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from studies.alignment.table import measured, percent, points, well_formed
from winnow.analyze.intervals import Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Study, read_study
from winnow.core.files import read_sealed
from winnow.core.layout import GENERATION_METRICS

START, CONTROL = "pairs_400_1M_sft", "pairs_400_1M_sft_225_seconds"
ROUND = "own_100pct_1M"
"""The one experiment of a round, whose params.yaml round.yaml is."""
DOCUMENTED = ("5.2", "5.8", "6.2", "6.4")
"""MT-Bench of the documented iterations, the first of which is SFT."""
HEADS = (
    *("iteration", "tasks completed", "more than iteration 0", "more than the one before"),
    *("well-formed", "pairs learned from", "FLOPs", "documented: MT-Bench"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Iteration:
    """What a round came to; shares are of the tasks, intervals over tasks and seeds."""

    tasks: Interval
    """The share completed."""
    more_than_start: Interval | None
    more_than_last: Interval | None
    """In pairs of the same tasks; None of the start itself."""
    well_formed: Interval
    num_pairs: float | None
    """Own answers that were not the row's, the mean over seeds; None of no round."""
    flops: float
    """Of all trainings and answers so far, iteration 0 being 1; the mean over seeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """A round of all seeds."""

    arm: Arm
    flops: float
    """Of its training and of the answers that it learned from, the mean over seeds."""


def _round(number: int, seeds: Sequence[int]) -> Round:
    runs, flops = [], 0.0
    for seed in seeds:
        with contextlib.chdir(Path("spin", str(seed), str(number))):
            (arm,) = read_study([ROUND], [seed]).arms
            said = read_sealed(GENERATION_METRICS, "winnow generate")["own"]
        (run,) = arm.runs
        answered = said["prompt_tokens"] + said["reply_tokens"]
        flops += run.train.flops + 2.0 * run.train.num_parameters * answered
        runs.append(run)
    named = replace(arm, name=f"iteration {number}", runs=tuple(runs))
    return Round(arm=named, flops=flops / len(seeds))


def iterations(
    study: Study, rounds: Sequence[Round], settings: AnalyzeConfig
) -> dict[str, Iteration]:
    """By name: the start, all rounds, and SFT for the FLOPs of about all of them."""
    arms = {arm.name: arm for arm in study.arms}
    start, control = arms[START], arms[CONTROL]
    unit = start.mean(lambda run: run.train.flops)
    costs = {START: unit}
    for one in rounds:
        costs[one.arm.name] = [*costs.values()][-1] + one.flops
    costs[CONTROL] = control.mean(lambda run: run.train.flops)
    judged = replace(study, arms=(start, *(one.arm for one in rounds), control))
    tasks = measured(judged, settings, lambda one: float(bool(one.passed)))
    forms = measured(judged, settings, well_formed())
    pairs = {one.arm.name: one.arm.mean(lambda run: run.config.num_rows) for one in rounds}
    found, last = {}, START
    for name, flops in costs.items():
        found[name] = Iteration(
            tasks=tasks.value(name),
            more_than_start=None if name == START else tasks.margin(name, START),
            more_than_last=tasks.margin(name, last) if name in pairs else None,
            well_formed=forms.value(name),
            num_pairs=pairs.get(name),
            flops=flops / unit,
        )
        last = name
    return found


def table(found: dict[str, Iteration]) -> str:
    """The iterations as a table of Markdown."""
    lines = [HEADS, ("---",) * len(HEADS)]
    for at, (name, one) in enumerate(found.items()):
        told = numbers.DASH if name == CONTROL else DOCUMENTED[at]
        pairs = numbers.DASH if one.num_pairs is None else numbers.decimal(one.num_pairs, 0)
        shown = {START: "0: SFT", CONTROL: "no round: SFT for that cost"}.get(name, name[-1])
        more = points(one.more_than_start), points(one.more_than_last)
        shares = percent(one.tasks), *more, percent(one.well_formed)
        lines.append((shown, *shares, pairs, numbers.decimal(one.flops, 2), told))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for SFT, three rounds after it, and SFT at their cost."""
    rounds = [_round(number, study.seeds) for number in range(1, len(DOCUMENTED))]
    found = iterations(study, rounds, settings)
    return Answer(
        values=found, sentence=table(found), asks="What does self-play bring, round by round?"
    )
