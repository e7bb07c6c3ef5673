"""The run of a published folder: found or created, filled with what it lacks, ended."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from winnow.core.cards import CARD
from winnow.core.files import fingerprint, read_json
from winnow.core.layout import MODELS
from winnow.record import registry
from winnow.record.runs import Runs, reaching

IDENTITY = "winnow.card"
"""The tag that tells a folder's run from all others."""
QUESTIONS = (
    *("performance_vs_size", "efficiency_metrics", "hypothesis", "confounds", "power"),
    *("scaling", "proxy", "composite", "investments"),
)
"""Of analyze, whose numbers become metrics as they stand."""
Json = dict[str, Any]


def record(folder: Path, token: str) -> None:
    """Make the run of a folder whole; see `winnow.record.record`.

    Args:
        folder: what was published.
        token: of the run that was live while it was made, or empty.
    """
    runs = Runs()
    with reaching():
        stage = read_json(folder / CARD)["stage"]
        if stage in PARTS:
            PARTS[stage](runs, folder)
        else:
            _cell(runs, folder, token)


def _identity(stage: str, folder: str, files: Mapping[str, Any]) -> str:
    """A folder's content by its card's entries, with where it belongs."""
    return fingerprint([stage, folder, files])[:32]


def _published_at(folder: Path) -> int:
    """When a folder was published, in milliseconds."""
    return int(1000 * (folder / CARD).stat().st_mtime)


@contextlib.contextmanager
def _ending(runs: Runs, run_id: str, ended: int) -> Iterator[None]:
    """End a run: FINISHED at that time where the block makes it whole, else FAILED."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(MlflowException, OSError):
            runs.client.set_terminated(run_id, "FAILED")
        raise
    runs.client.set_terminated(run_id, "FINISHED", ended)


def _cell(runs: Runs, folder: Path, token: str) -> None:
    """A training or an evaluation."""
    card, description = read_json(folder / CARD), read_json(folder / "experiment_config.json")
    stage, ended = card["stage"], _published_at(folder)
    seconds = read_json(folder / "train_results.json")["train_time"] if stage == "train" else 0
    keys = {IDENTITY: _identity(stage, card["folder"], card["files"])}
    live = {"winnow.token": token} if token else {}
    began = ended - int(1000 * seconds)
    run_id = runs.cell(stage, description, keys | live, began)
    if runs.is_whole(run_id):
        return
    with _ending(runs, run_id, ended):
        runs.client.set_tag(run_id, IDENTITY, keys[IDENTITY])
        runs.describe(run_id, stage, description)
        if stage == "train":
            _training(runs, run_id, folder, ended, description)
        else:
            _evaluation(runs, run_id, folder, ended)
            # An evaluation and its training name each other. One nested in the other would hide
            # from every search of MLflow's pages, which fold children away.
            place = MODELS / description["experiment"] / str(description["seed"])
            judged = _identity("train", str(place), card["key"]["model"])
            if trained := runs.the_only(IDENTITY, judged):
                runs.client.set_tag(run_id, "train_run", trained)
                runs.client.set_tag(trained, "evaluate_run", run_id)


def _training(runs: Runs, run_id: str, folder: Path, ended: int, description: Json) -> None:
    """The points that were not sent while it ran; its figures, at step 0; its files; its model."""
    results = read_json(folder / "train_results.json")
    curve, sent = results.pop("curve"), runs.steps(run_id)
    points = [
        (ended - int(1000 * (results["train_time"] - point["seconds"])), point)
        for point in curve
        if point["step"] not in sent
    ]
    runs.log(run_id, points)
    for name in ("experiment_config.json", "train_results.json"):
        runs.client.log_artifact(run_id, str(folder / name))
    runs.client.log_figure(run_id, _drawn(curve, folder.parent.name), "figures/loss.png")
    model_id = registry.register(runs.client, run_id, folder, description)
    runs.log(run_id, [(ended, results | {"step": 0})], model_id)


def _drawn(curve: list[dict[str, float]], title: str) -> Any:
    """A curve's losses as a figure of matplotlib's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name in ("train_loss", "validation_loss"):
        axes.plot([p["tokens"] for p in curve], [p[name] for p in curve], "o-", label=name)
    axes.set(xlabel="training tokens", ylabel="loss, nats a token", title=title)
    axes.legend(frameon=False)
    return figure


def _evaluation(runs: Runs, run_id: str, folder: Path, ended: int) -> None:
    numbers: Json = {
        "test": read_json(folder / "evaluation/metrics.json"),
        "generation": read_json(folder / "generation_analysis/metrics.json"),
    }
    for kind, parts in read_json(folder / "quality_analysis/strata.json").items():
        numbers[f"loss_{kind}"] = {name: part["loss"] for name, part in parts.items()}
    parts = ["evaluation", "generation_analysis"]
    if (folder / "benchmarks").exists():
        figures = read_json(folder / "benchmarks/metrics.json")
        numbers["benchmarks"] = {name: part | {"tasks": {}} for name, part in figures.items()}
        parts.append("benchmarks")
    runs.log(run_id, [(ended, numbers | {"step": 0})])
    for name in parts:
        runs.client.log_artifact(run_id, str(folder / name))


def _analysis(runs: Runs, folder: Path) -> None:
    """The figures and the pages; the answer is the grid's too, and tells which model is best."""
    analysis, card = read_json(folder / "analysis.json"), read_json(folder / CARD)
    answer, grid = analysis["answer"]["text"], runs.grid()
    tag = _identity("analyze", card["folder"], card["files"])
    tags = {IDENTITY: tag, "stage": "analyze", "answer": answer}
    tags |= {MLFLOW_PARENT_RUN_ID: grid, MLFLOW_RUN_NOTE: answer}
    run_id = runs.the_only(IDENTITY, tag) or runs.create("analyze", tags)
    ended = _published_at(folder)
    if not runs.is_whole(run_id):
        with _ending(runs, run_id, ended):
            runs.log(run_id, [(ended, _figures(analysis) | {"step": 0})])
            for name in ("report.html", "removed.html", "analysis.json", "figures"):
                runs.client.log_artifact(run_id, str(folder / name))
    runs.client.set_tag(grid, MLFLOW_RUN_NOTE, answer)
    runs.client.set_terminated(grid)
    for name, arm in analysis["experiments"].items():
        seeds = [receipt["seed"] for receipt in arm["receipts"]]
        registry.crown(runs.client, name, dict(zip(seeds, arm["loss_by_seed"], strict=True)))


def _generation(runs: Runs, folder: Path) -> None:
    """How unique each recipe's rows are, with the figures."""
    card, numbers = read_json(folder / CARD), Json()
    for name, recipe in read_json(folder / "report.json").items():
        numbers[name] = recipe["duplication"] | {
            "forecast": {
                match: said["estimates"][0] if said["estimates"] else {}
                for match, said in recipe["forecast"].items()
            }
        }
    tag = _identity("generate", card["folder"], card["files"])
    run_id = runs.the_only(IDENTITY, tag)
    run_id = run_id or runs.create("generate", {IDENTITY: tag, "stage": "generate"})
    ended = _published_at(folder)
    if not runs.is_whole(run_id):
        with _ending(runs, run_id, ended):
            runs.log(run_id, [(ended, numbers | {"step": 0})])
            for name in ("report.json", "figures"):
                runs.client.log_artifact(run_id, str(folder / name))


def _figures(analysis: Json) -> Json:
    """An analysis's numbers by the names of their metrics."""
    figures = {key: analysis[key] for key in QUESTIONS if key in analysis}
    for name, arm in analysis["experiments"].items():
        figures.setdefault("experiments", {})[name] = {
            "loss": arm["loss"]["value"],
            "perplexity": arm["eval_perplexity"],
            "task_completion": arm["generation_quality"]["task_completion"],
            "margin_over_matched": (arm["margin_over_matched"] or {}).get("value"),
        }
    figures["dial"] = {
        f"{row['model']} {3600 * row['hours']:.0f} s": row for row in analysis.get("dial", ())
    }
    figures["audit"] = analysis["score_audit"] | {"length": analysis["length_audit"]}
    figures["audit"]["scripts"] = analysis["script_audit"]
    files = analysis["source_files"]
    dropped = Counter[str]()
    for file in files["read"]:
        dropped.update(file["dropped"])
    counts = {name: len(files[name]) for name in ("read", "not_read")}
    counts["skipped"] = sum(files["skipped"].values())
    figures["ingest"] = {"files": counts, "rows_dropped": dropped}
    return figures


PARTS = {"analyze": _analysis, "generate": _generation}
"""The stages whose folder is no cell of a grid."""
