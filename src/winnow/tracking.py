"""The record of runs: the only module that imports mlflow.

Runs go to MLFLOW_TRACKING_URI, or to mlflow.db and mlruns/ in the working folder. A run is named
by the address of its cell, `train@high_2k_1M-0`; a killed one is continued under its id.
"""

import contextlib
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.projects import _wait_for
from mlflow.projects.backend.abstract_backend import AbstractBackend
from mlflow.projects.submitted_run import LocalSubmittedRun
from mlflow.projects.utils import (
    PROJECT_STORAGE_DIR,
    fetch_and_validate_project,
    get_entry_point_command,
    get_or_create_run,
    get_run_env_vars,
    load_project,
)

EXPERIMENT = "winnow"


def _connect() -> tuple[MlflowClient, str]:
    """The store and the id of the experiment in it, after proving that the store answers."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _local(Path.cwd() / "mlflow.db")
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    try:
        if "MLFLOW_EXPERIMENT_ID" in os.environ:
            return client, client.get_experiment(os.environ["MLFLOW_EXPERIMENT_ID"]).experiment_id
        found = client.get_experiment_by_name(name)
        return client, found.experiment_id if found else client.create_experiment(name)
    except MlflowException as error:
        cause = " ".join(str(error).split())[:160]
        raise ValueError(
            f"the tracking server {uri} cannot be reached: start it or unset MLFLOW_TRACKING_URI "
            f"({cause})"
        ) from None


def _local(path: Path) -> str:
    """The local database, made whole or not at all: MLflow can neither open nor repair one that a
    kill or a full disk left with half of its tables."""
    if not path.exists():
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            MlflowClient(f"sqlite:///{partial}").search_experiments()
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return f"sqlite:///{path}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, the keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among the values, and how many others there were."""
    numbers = {k: float(v) for k, v in _flat(values).items() if isinstance(v, int | float)}
    finite = {key: value for key, value in numbers.items() if math.isfinite(value)}
    lost = len(numbers) - len(finite)
    return finite | ({"nonfinite": float(lost)} if lost else {})


class Run:
    """One run, open while its `with` block runs: FINISHED, KILLED or FAILED after it."""

    def __init__(self, client: MlflowClient, run: Any) -> None:
        self.id: str = run.info.run_id
        self._client = client
        history = client.get_metric_history(self.id, "validation_loss")
        self._seen = {metric.step for metric in history}

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
        mlflow.end_run("FINISHED" if kind is None else "KILLED" if stopped else "FAILED")

    def point(self, values: Mapping[str, float]) -> None:
        """Log a point of the training curve, once: a resumed run replays what it had."""
        step = int(values["step"])
        if step not in self._seen:
            self._seen.add(step)
            mlflow.log_metrics(_finite({k: v for k, v in values.items() if k != "step"}), step=step)

    def metrics(self, values: Mapping[str, Any]) -> None:
        """Log final numbers; nested mappings become dotted names, undefined ones are left out."""
        mlflow.log_metrics(_finite(values))

    def files(self, paths: list[Path], folder: str | None = None) -> None:
        """Log files as artifacts."""
        for path in paths:
            mlflow.log_artifact(str(path), folder)

    def finish_training(self, folder: Path, results: Mapping[str, Any]) -> None:
        """Log what a training left in its folder, and register the model under its experiment."""
        from transformers import AutoTokenizer, GPT2LMHeadModel

        self.metrics({key: value for key, value in results.items() if key != "curve"})
        self.files([folder / "experiment_config.json", folder / "train_results.json"])
        curve = results["curve"]
        mlflow.log_figure(_curve(curve, folder.parent.name), "figures/loss.png")
        name, seed = folder.parent.name, folder.name
        parts = {
            "model": GPT2LMHeadModel.from_pretrained(folder),
            "tokenizer": AutoTokenizer.from_pretrained(folder),
        }
        mlflow.transformers.log_model(
            parts,
            name="model",
            task="text-generation",
            pip_requirements=[f"{item}=={_version(item)}" for item in ("torch", "transformers")],
            registered_model_name=name,
        )
        version = max(
            self._client.search_model_versions(f"run_id='{self.id}'"), key=lambda v: int(v.version)
        )
        self._client.set_model_version_tag(name, version.version, "seed", seed)


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package).partition("+")[0]


def _curve(curve: list[dict[str, float]], title: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name in ("train_loss", "validation_loss"):
        axes.plot([p["tokens"] for p in curve], [p[name] for p in curve], "o-", label=name)
    axes.set(xlabel="training tokens", ylabel="loss, nats a token", title=title)
    axes.legend(frameon=False)
    return figure


def start(stage: str, cell: str, description: Mapping[str, Any], state: Path | None = None) -> Run:
    """Open the run of a cell.

    Args:
        stage: the verb.
        cell: `<experiment>-<seed>`.
        description: experiment_config.json; its plain values become params and tags.
        state: folder that remembers the run's id, so that a killed run is continued.

    Raises:
        ValueError: the tracking server cannot be reached.
    """
    client, experiment = _connect()
    # A run that `mlflow run` opened becomes the parent: processes that share one collide.
    parent = os.environ.pop("MLFLOW_RUN_ID", None) or os.environ.get("WINNOW_PARENT_RUN")
    if parent:
        os.environ["WINNOW_PARENT_RUN"] = parent
    note = state / "run_id" if state else None
    known = note.read_text() if note and note.exists() else None
    if known and _exists(client, known):
        return Run(client, mlflow.start_run(run_id=known))
    named = {"stage": stage, "experiment": description["experiment"], "seed": description["seed"]}
    tags = named | {"tier": description["tier_name"], "rule": description["tier"]["rule"]}
    if description.get("git_commit"):
        tags["mlflow.source.git.commit"] = description["git_commit"]
    run = mlflow.start_run(
        experiment_id=experiment, run_name=f"{stage}@{cell}", parent_run_id=parent, tags=tags
    )
    if note:
        note.write_text(run.info.run_id)
    hidden = ("command", "git_commit", "name", "run_id")
    mlflow.log_params(_flat({k: v for k, v in description.items() if k not in hidden}))
    mlflow.log_input(_dataset(description), context=stage)
    return Run(client, run)


def _exists(client: MlflowClient, run_id: str) -> bool:
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise ValueError(f"the run {run_id} cannot be read: {error}") from None
        return False


def _dataset(description: Mapping[str, Any]) -> Any:
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset

    path = f"artifacts/select/{description['tier_name']}"
    digest = description["data_sha256"][:36]
    with warnings.catch_warnings(action="ignore"):  # of a local path there are two kinds
        source = resolve_dataset_source(path)
    return MetaDataset(source=source, name=description["tier_name"], digest=digest)


def record_analysis(
    summary: Mapping[str, Any], best: Mapping[str, int], figures: list[Path]
) -> None:
    """Log the analysis, and crown each experiment's best seed.

    Args:
        summary: numbers (nested) that become metrics.
        best: experiment to the seed of the lowest test loss; the registered model of that seed
            gets the alias `champion`.
        figures: files to keep with the run.
    """
    client, experiment = _connect()
    with mlflow.start_run(experiment_id=experiment, run_name="analyze", tags={"stage": "analyze"}):
        mlflow.log_metrics(_finite(summary))
        for path in figures:
            mlflow.log_artifact(str(path), "figures")
    for name, seed in best.items():
        found = [
            v
            for v in client.search_model_versions(f"name='{name}'")
            if v.tags.get("seed") == str(seed)
        ]
        if found:
            newest = max(found, key=lambda version: int(version.version))
            client.set_registered_model_alias(name, "champion", newest.version)


class HostBackend(AbstractBackend):  # type: ignore[misc]
    """`mlflow run . -e train -b host`: an entry point of MLproject on this machine, without Docker.

    MLflow has no switch that leaves out a project's docker_env, and its command line waits for its
    own backends only: so this one takes the entry point's command alone, waits, and closes the run.
    """

    def run(
        self,
        project_uri: str,
        entry_point: str,
        params: dict[str, Any],
        version: str | None,
        backend_config: dict[str, Any],
        tracking_uri: str,
        experiment_id: str,
    ) -> LocalSubmittedRun:
        """Run the command with this interpreter's environment; a failed one is an exception."""
        folder = fetch_and_validate_project(project_uri, version, entry_point, params)
        command = get_entry_point_command(
            load_project(folder), entry_point, params, backend_config[PROJECT_STORAGE_DIR]
        )
        run_id = get_or_create_run(
            None, project_uri, experiment_id, folder, version, entry_point, params
        ).info.run_id
        environment = os.environ | get_run_env_vars(run_id, experiment_id)
        environment["MLFLOW_TRACKING_URI"] = tracking_uri
        environment["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
        process = subprocess.Popen(["bash", "-c", " ".join(command)], cwd=folder, env=environment)
        submitted = LocalSubmittedRun(run_id, process)
        _wait_for(submitted)
        return submitted
