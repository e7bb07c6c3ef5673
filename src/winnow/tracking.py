"""The record of runs: only this module, spool.py and project.py import mlflow.

Runs go to MLFLOW_TRACKING_URI, or to mlflow.db and mlruns/ in the project's folder. A run is named
by the address of its cell, `train@high_2k_1M-0`.
"""

import contextlib
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, InputTag, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags

from winnow.errors import Refusal

EXPERIMENT = "winnow"


class Unrecorded(Refusal):
    """Work is done and its record is not: the tracking server could not be reached."""


def connect() -> tuple[MlflowClient, str]:
    """The store and the id of the experiment in it, after proving that the store answers."""
    # DVC_ROOT is the project's folder where `dvc exp run --temp` works in a copy of it.
    folder = Path(os.environ.get("DVC_ROOT") or Path.cwd())
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _local(folder / "mlflow.db")
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    try:
        if "MLFLOW_EXPERIMENT_ID" in os.environ:
            return client, client.get_experiment(os.environ["MLFLOW_EXPERIMENT_ID"]).experiment_id
        found = client.get_experiment_by_name(name)
        return client, found.experiment_id if found else client.create_experiment(name)
    except MlflowException as error:
        raise Unrecorded(
            f"the tracking server {uri} cannot be reached: start it or unset MLFLOW_TRACKING_URI "
            f"({cause(error)})"
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


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among the values, and how many others there were."""
    numbers = {k: float(v) for k, v in _flat(values).items() if isinstance(v, int | float)}
    found = {key: value for key, value in numbers.items() if math.isfinite(value)}
    lost = len(numbers) - len(found)
    return found | ({"nonfinite": float(lost)} if lost else {})


def cause(error: Exception) -> str:
    """An error of the server's in one line of bounded length."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def metrics(values: Mapping[str, Any], timestamp: int | None = None) -> None:
    """Log final numbers to the open run; nested mappings become dotted names, undefined ones are
    left out. With the same timestamp (in ms) what is sent twice is there once."""
    mlflow.log_metrics(finite(values), timestamp=timestamp)


def files(paths: list[Path], folder: str | None = None) -> None:
    """Log files to the open run as artifacts."""
    for path in paths:
        mlflow.log_artifact(str(path), folder)


@contextlib.contextmanager
def start(stage: str, cell: str, description: Mapping[str, Any], note: Path) -> Iterator[None]:
    """The run of a cell, open during the block and FINISHED after it.

    Args:
        stage: the verb.
        cell: `<experiment>-<seed>`.
        description: experiment_config.json; its plain values become params and tags.
        note: a file that remembers the run's id, so that a record that was cut short is completed.

    Raises:
        Unrecorded: the tracking server is away, or goes away.
    """
    client, experiment = connect()
    try:
        run_id = note.read_text()
        if not run_id or not exists(client, run_id):
            run_id = create(client, experiment, stage, cell, description, {})
            note.write_text(run_id)
        with mlflow.start_run(run_id=run_id):
            describe(client, run_id, stage, description)
            yield
    except (MlflowException, OSError) as error:
        raise Unrecorded(f"the tracking server failed: {cause(error)}") from None


def create(
    client: MlflowClient, experiment: str, stage: str, cell: str, description: Mapping[str, Any],
    tags: Mapping[str, str],
) -> str:  # fmt: skip
    """Create a run and return its id."""
    # A run that `mlflow run` opened becomes the parent: processes that share one collide.
    parent = os.environ.pop("MLFLOW_RUN_ID", None) or os.environ.get("WINNOW_PARENT_RUN")
    if parent:
        os.environ["WINNOW_PARENT_RUN"] = parent
        tags = {**tags, "mlflow.parentRunId": parent}
    named = {"stage": stage, "experiment": description["experiment"], "seed": description["seed"]}
    named |= {"tier": description["tier_name"], "rule": description["tier"]["rule"]}
    if description.get("git_commit"):
        named["mlflow.source.git.commit"] = description["git_commit"]
    named = {key: str(value) for key, value in named.items()}
    tags = resolve_tags({**named, **tags})
    run = client.create_run(experiment, tags=tags, run_name=f"{stage}@{cell}")
    return str(run.info.run_id)


def describe(client: MlflowClient, run_id: str, stage: str, description: Mapping[str, Any]) -> None:
    """Give a run the params and the input that it does not have yet."""
    run = client.get_run(run_id)
    hidden = ("command", "git_commit", "name", "run_id")
    params = _flat({key: value for key, value in description.items() if key not in hidden})
    missing = [Param(k, str(v)) for k, v in params.items() if k not in run.data.params]
    client.log_batch(run_id, params=missing, synchronous=True)
    if not run.inputs.dataset_inputs:
        entity = _dataset(description)._to_mlflow_entity()
        context = InputTag("mlflow.data.context", stage)
        client.log_inputs(run_id, [DatasetInput(entity, [context])])


def exists(client: MlflowClient, run_id: str) -> bool:
    """Whether the store knows a run that is not deleted."""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise Unrecorded(f"the run {run_id} cannot be read: {cause(error)}") from None
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
    client, experiment = connect()
    with mlflow.start_run(experiment_id=experiment, run_name="analyze", tags={"stage": "analyze"}):
        metrics(summary)
        files(figures, "figures")
    for name, seed in best.items():
        found = [
            v
            for v in client.search_model_versions(f"name='{name}'")
            if v.tags.get("seed") == str(seed)
        ]
        if found:
            newest = max(found, key=lambda version: int(version.version))
            client.set_registered_model_alias(name, "champion", newest.version)
