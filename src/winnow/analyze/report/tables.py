"""What every experiment came to: for analysis.json, `dvc plots`, `dvc metrics`, the record."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Study, matched_control
from winnow.core import files

GENERATION = (
    "task_completion",
    "coherence",
    "diversity",
    "distinct_1",
    "self_bleu",
    "instruction_following",
    "length_appropriateness",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What an analysis is made of, and the command that makes it again."""

    data: str
    """The fingerprint of all tiers' hashes."""
    runs: Sequence[str | None]
    """The trainings', where tracked."""
    commits: Sequence[str]
    command: str

    def line(self) -> str:
        """The receipt as it stands under a figure."""
        commits = numbers.listed([commit[:10] for commit in self.commits]) or "not in git"
        return (
            f"data {self.data[:12]}, {numbers.plural(len(self.runs), 'run')}, "
            f"commit {commits}: {self.command}"
        )


def receipt(study: Study) -> Receipt:
    """The receipt of a study."""
    runs = [run.config for arm in study.arms for run in arm.runs]
    commits = dict.fromkeys(config.git_commit for config in runs)
    return Receipt(
        data=files.fingerprint(sorted({config.data_sha256 for config in runs})),
        runs=[config.run_id for config in runs],
        commits=[commit for commit in commits if commit],
        command="winnow analyze",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What an experiment came to: means over seeds."""

    model: str
    """With the budget."""
    tier: str
    rule: str
    of: str | None
    data_size: int
    """Rows."""
    num_tokens: int
    share: float
    num_epochs: float
    num_steps: float
    tokens_seen: float
    tokens_per_second: float
    train_time: float
    final_loss: float
    loss: Interval
    """Nats per token of the test rows."""
    loss_by_seed: Sequence[float]
    eval_perplexity: float
    bits_per_byte: float
    baseline_loss: float
    margin_over_matched: Interval | None
    generation_quality: Mapping[str, float | None]
    config: Mapping[str, object]
    receipts: Sequence[Mapping[str, object]]
    """Of each seed."""
    reasons: Mapping[str, str] = field(default_factory=dict)


def _receipts(arm: Arm) -> list[dict[str, object]]:
    keys = ("seed", "data_sha256", "run_id", "git_commit", "device", "precision", "command")
    return [{key: getattr(run.config, key) for key in keys} for run in arm.runs]


def _outcome(arm: Arm, arms: tuple[Arm, ...], study: Study, losses: Estimates) -> Outcome:
    reasons, generation = {}, {}
    for key in GENERATION:
        generation[key], why = arm.generation(key)
        if generation[key] is None:
            reasons[key] = why
    control = matched_control(arm, arms)
    if control is None:
        reasons["margin_over_matched"] = f"no matched tier of {arm.tier_name} was run"
    loss = losses.value(arm.name)
    config = arm.runs[0].config
    return Outcome(
        model=arm.model_name,
        tier=arm.tier_name,
        rule=arm.rule,
        of=arm.of,
        data_size=arm.num_rows,
        num_tokens=arm.num_tokens,
        share=arm.share,
        num_epochs=arm.mean(lambda run: run.train.num_epochs),
        num_steps=arm.mean(lambda run: run.train.num_steps),
        tokens_seen=arm.mean(lambda run: run.train.tokens_seen),
        tokens_per_second=arm.mean(lambda run: run.train.tokens_per_second),
        train_time=arm.mean(lambda run: run.train.train_time),
        final_loss=arm.mean(lambda run: run.train.final_loss),
        loss=loss,
        loss_by_seed=study.seed_losses(arm),
        eval_perplexity=math.exp(loss.value),
        bits_per_byte=arm.mean(lambda run: run.metrics.bits_per_byte),
        baseline_loss=arm.mean(lambda run: run.metrics.baseline_loss),
        margin_over_matched=losses.margin(arm.name, control.name) if control else None,
        generation_quality=generation,
        config={"recipe": config.recipe, "model": config.model},
        receipts=_receipts(arm),
        reasons=reasons,
    )


def experiments(study: Study, losses: Estimates) -> dict[str, Outcome]:
    """Every experiment by name, the largest model's first."""
    return {
        arm.name: _outcome(arm, arms, study, losses)
        for arms in study.models().values()
        for arm in arms
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Stratum:
    """A part of the test rows."""

    num_rows: int
    loss: dict[str, float]
    """Nats per token by experiment, the mean over seeds."""


def strata(study: Study) -> dict[str, dict[str, Stratum]]:
    """Test loss by kind of strata and stratum."""
    kinds: dict[str, dict[str, Stratum]] = {}
    for arm in study.arms:
        for kind, groups in arm.runs[0].strata.items():
            for group, first in groups.items():
                cell = kinds.setdefault(kind, {}).setdefault(
                    group, Stratum(num_rows=first.num_rows, loss={})
                )
                values = [run.strata[kind][group].loss for run in arm.runs]
                cell.loss[arm.name] = sum(values) / len(values)
    return kinds


def _write(path: Path, header: tuple[str, ...], rows: Iterable[Sequence[object]]) -> None:
    with files.atomic_file(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_curves(path: Path, study: Study) -> None:
    """Every logged validation loss: experiment, seed, step, tokens, validation_loss."""
    header = ("experiment", "seed", "step", "tokens", "validation_loss")
    rows = [
        (arm.name, run.seed, point.step, point.tokens, point.validation_loss)
        for arm in study.arms
        for run in arm.runs
        for point in run.train.curve
        if point.validation_loss is not None
    ]
    _write(path, header, rows)


def write_tiers(path: Path, outcomes: Mapping[str, Outcome]) -> None:
    """One line per experiment; what is undefined is an empty cell."""
    rows = []
    for name, outcome in outcomes.items():
        margin = outcome.margin_over_matched
        row = {
            "experiment": name,
            "model": outcome.model,
            "tier": outcome.tier,
            "rule": outcome.rule,
            "num_rows": outcome.data_size,
            "num_tokens": outcome.num_tokens,
            "share": outcome.share,
            "num_epochs": outcome.num_epochs,
            "tokens_seen": outcome.tokens_seen,
            "loss": outcome.loss.value,
            "loss_low": outcome.loss.low,
            "loss_high": outcome.loss.high,
            "perplexity": outcome.eval_perplexity,
            "margin_over_matched": margin and margin.value,
            "margin_low": margin and margin.low,
            "margin_high": margin and margin.high,
            "task_completion": outcome.generation_quality["task_completion"],
            "train_time": outcome.train_time,
        }
        rows.append(row)
    _write(path, tuple(rows[0]), [tuple(row.values()) for row in rows])


def metrics(analysis: Mapping[str, Any]) -> dict[str, object]:
    """What `dvc metrics show` and `dvc exp show` have a column for: the answer, what was best and
    what the score did for each model, and the loss of every experiment. Flat.

    Args:
        analysis: what analysis.json holds.
    """
    columns: dict[str, object] = {"answer": analysis["answer"]["text"]}
    for model, verdict in analysis["answer"]["models"].items():
        control = verdict["control"]
        columns[f"{model}.best"] = verdict["kept"] or verdict["best"]
        columns[f"{model}.num_rows"] = verdict["num_rows"]
        columns[f"{model}.score_margin"] = control["margin"]["value"] if control else None
    for name, outcome in analysis["experiments"].items():
        columns[f"loss.{name}"] = outcome["loss"]["value"]
    return columns
