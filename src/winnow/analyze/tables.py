"""Every experiment's figures as plain tables: for analysis.json, `dvc plots`, `dvc metrics`."""

import csv
import math
from pathlib import Path
from typing import Any

from winnow.analyze import words
from winnow.analyze.answer import matched_control
from winnow.analyze.bootstrap import Bootstrap
from winnow.analyze.documented import as_json, with_reasons
from winnow.analyze.results import Arm, Study
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
TIERS = (
    "experiment",
    "model",
    "tier",
    "rule",
    "num_rows",
    "num_tokens",
    "share",
    "num_epochs",
    "tokens_seen",
    "loss",
    "loss_low",
    "loss_high",
    "perplexity",
    "margin_over_matched",
    "margin_low",
    "margin_high",
    "task_completion",
    "train_time",
)
Json = dict[str, Any]


def _receipts(arm: Arm) -> list[Json]:
    keys = ("seed", "data_sha256", "run_id", "git_commit", "device", "precision", "command")
    return [{key: run.config[key] for key in keys} for run in arm.runs]


def receipt(study: Study) -> Json:
    """What every figure and number of an analysis is made of, and the command that makes it again.

    The data is the fingerprint of all tiers' hashes; the runs are the trainings', where tracked.
    """
    runs = [run.config for arm in study.arms for run in arm.runs]
    commits = dict.fromkeys(config["git_commit"] for config in runs)
    return {
        "data": files.fingerprint(sorted({config["data_sha256"] for config in runs})),
        "runs": [config["run_id"] for config in runs],
        "commits": [commit for commit in commits if commit],
        "command": "winnow analyze",
    }


def receipt_line(found: Json) -> str:
    """A receipt as it stands under a figure: data, runs, commits and the command."""
    commits = words.listed([commit[:10] for commit in found["commits"]]) or "not in git"
    return (
        f"data {found['data'][:12]}, {words.plural(len(found['runs']), 'run')}, "
        f"commit {commits}: {found['command']}"
    )


def _experiment(arm: Arm, arms: tuple[Arm, ...], study: Study, losses: Bootstrap) -> Json:
    reasons, generation = {}, {}
    for key in GENERATION:
        generation[key], why = arm.generation(key)
        if generation[key] is None:
            reasons[key] = why
    control = matched_control(arm, arms)
    margin = as_json(losses.margin(arm.name, control.name)) if control else None
    if margin is None:
        reasons["margin_over_matched"] = f"no matched tier of {arm.tier_name} was run"
    loss = losses.loss(arm.name)
    values = {
        "model": arm.model_name,
        "tier": arm.tier_name,
        "rule": arm.rule,
        "of": arm.of,
        "data_size": arm.num_rows,
        "num_tokens": arm.num_tokens,
        "share": arm.share,
        "num_epochs": arm.train("num_epochs"),
        "num_steps": arm.train("num_steps"),
        "tokens_seen": arm.train("tokens_seen"),
        "tokens_per_second": arm.train("tokens_per_second"),
        "train_time": arm.train("train_time"),
        "final_loss": arm.train("final_loss"),
        "loss": as_json(loss),
        "loss_by_seed": study.seed_losses(arm),
        "eval_perplexity": math.exp(loss.value),
        "bits_per_byte": arm.metric("bits_per_byte"),
        "baseline_loss": arm.metric("baseline_loss"),
        "margin_over_matched": margin,
        "generation_quality": generation,
        "config": {"recipe": arm.runs[0].config["recipe"], "model": arm.runs[0].config["model"]},
        "receipts": _receipts(arm),
    }
    return with_reasons(values, reasons)


def experiments(study: Study, losses: Bootstrap) -> Json:
    """Every experiment by name, the largest model's first."""
    return {
        arm.name: _experiment(arm, arms, study, losses)
        for arms in study.models().values()
        for arm in arms
    }


def strata(study: Study) -> Json:
    """Test loss by stratum, the mean over seeds: kind -> stratum -> experiment -> loss."""
    found: Json = {}
    for arm in study.arms:
        for kind, groups in arm.runs[0].strata.items():
            for group, first in groups.items():
                cell = found.setdefault(kind, {}).setdefault(
                    group, {"num_rows": first["num_rows"], "loss": {}}
                )
                values = [run.strata[kind][group]["loss"] for run in arm.runs]
                defined = all(value is not None for value in values)
                cell["loss"][arm.name] = sum(values) / len(values) if defined else None
    return found


def _write(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    with files.atomic_file(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_curves(path: Path, study: Study) -> None:
    """Every logged validation loss: experiment, seed, step, tokens, validation_loss."""
    header = ("experiment", "seed", "step", "tokens", "validation_loss")
    rows = [
        (arm.name, run.seed, point["step"], point["tokens"], point["validation_loss"])
        for arm in study.arms
        for run in arm.runs
        for point in run.train["curve"]
        if point["validation_loss"] is not None
    ]
    _write(path, header, rows)


def write_tiers(path: Path, analysis: Json) -> None:
    """One line per experiment; what is undefined is an empty cell."""
    rows = []
    for name, found in analysis["experiments"].items():
        margin = found["margin_over_matched"] or {"value": None, "low": None, "high": None}
        flat = found | {
            "experiment": name,
            "num_rows": found["data_size"],
            "loss": found["loss"]["value"],
            "loss_low": found["loss"]["low"],
            "loss_high": found["loss"]["high"],
            "perplexity": found["eval_perplexity"],
            "margin_over_matched": margin["value"],
            "margin_low": margin["low"],
            "margin_high": margin["high"],
            "task_completion": found["generation_quality"]["task_completion"],
        }
        rows.append(tuple(flat[key] for key in TIERS))
    _write(path, TIERS, rows)


def figures(analysis: Json) -> Json:
    """A few figures per experiment, for the record."""
    found = {}
    for name, values in analysis["experiments"].items():
        margin = values["margin_over_matched"]
        found[name] = {
            "loss": values["loss"]["value"],
            "perplexity": values["eval_perplexity"],
            "task_completion": values["generation_quality"]["task_completion"],
            "margin_over_matched": margin["value"] if margin else None,
        }
    return found


def metrics(analysis: Json) -> Json:
    """What `dvc metrics show` and `dvc exp show` have a column for: the answer, what was best and
    what the score did for each model, and the loss of every experiment. Flat."""
    found: Json = {"answer": analysis["answer"]["text"]}
    for model, verdict in analysis["answer"]["models"].items():
        control = verdict["control"]
        found[f"{model}.best"] = verdict["best"]
        found[f"{model}.num_rows"] = verdict["num_rows"]
        found[f"{model}.score_margin"] = control["margin"]["value"] if control else None
    for name, values in analysis["experiments"].items():
        found[f"loss.{name}"] = values["loss"]["value"]
    return found
