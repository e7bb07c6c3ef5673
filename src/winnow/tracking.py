"""The record of runs: the only module that imports mlflow.

Runs go to MLFLOW_TRACKING_URI, or to mlflow.db and mlruns/ in the working folder. A run is named
by the address of its cell, `train@high_2k_1M-0`; a killed training is continued under its id.
"""

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
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
from mlflow.entities import DatasetInput, InputTag, Metric, Param
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
from mlflow.tracking.context.registry import resolve_tags

from winnow import publish

EXPERIMENT = "winnow"
PATIENCE = 20.0
"""Seconds that a training waits for the server before its first step and after its last."""
RETRY = 15.0
"""Seconds between two attempts to reach a server that is away."""


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
        raise ValueError(
            f"the tracking server {uri} cannot be reached: start it or unset MLFLOW_TRACKING_URI "
            f"({_cause(error)})"
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


class Unrecorded(ValueError):
    """Work is done and its record is not: the tracking server could not be reached."""


def _cause(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


class Run:
    """One run, open while its `with` block runs: FINISHED, KILLED or FAILED after it."""

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        mlflow.end_run(_status(kind))

    def metrics(self, values: Mapping[str, Any]) -> None:
        """Log final numbers; nested mappings become dotted names, undefined ones are left out."""
        mlflow.log_metrics(_finite(values))

    def files(self, paths: list[Path], folder: str | None = None) -> None:
        """Log files as artifacts."""
        for path in paths:
            mlflow.log_artifact(str(path), folder)


def _status(kind: type[BaseException] | None) -> str:
    if kind is None:
        return "FINISHED"
    return "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"


class Training:
    """The record of a training, which never waits for the server and loses nothing to it.

    A point is first a line of `points.jsonl` in the run's state folder, and sent from there by a
    thread. Where the server is away, the training goes on, and what is missing is sent when it
    answers again, by this process or by the next one that runs the same command. A point keeps
    the time of its line, so that one that is sent twice is the same row of the server's database
    and is there once.
    """

    def __init__(self, cell: str, description: Mapping[str, Any], state: Path) -> None:
        """Begin to record.

        Args:
            cell: `<experiment>-<seed>`.
            description: experiment_config.json; its plain values become params and tags.
            state: folder of the run's unfinished work; it remembers the run's id and its points.
        """
        self._cell, self._description = cell, description
        self._state, self._note = state, state / "run_id"
        self.id = self._note.read_text() if self._note.exists() else None
        """Of the run; None as long as the server has not been reached."""
        self._token = _token(state / "token")
        self._points = _read_points(state / "points.jsonl")
        self._sent = 0
        self._client: MlflowClient | None = None
        self._away: str | None = None
        self._ended = False
        self._wake, self._tried, self._last = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Training":
        self._thread.start()
        if not self._tried.wait(PATIENCE):
            self._lost("no answer yet")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A run whose record is not complete stays open: the same command goes on with it.
        if self._ended or isinstance(error, Unrecorded):
            return
        if self._delivered() and self._client:
            with contextlib.suppress(MlflowException, OSError):
                self._client.set_terminated(self.id, _status(kind))

    def point(self, values: Mapping[str, Any]) -> None:
        """Record a point of the curve, once: a resumed run makes some of them again."""
        step = int(values["step"])
        if any(point["step"] == step for point in reversed(self._points)):
            return
        metrics = _finite({key: value for key, value in values.items() if key != "step"})
        point = {"step": step, "time": time.time_ns() // 1_000_000, "metrics": metrics}
        with (self._state / "points.jsonl").open("a") as file:
            file.write(json.dumps(point) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._points.append(point)
        if not self._away:
            self._wake.set()

    def finish(self, folder: Path, results: Mapping[str, Any]) -> None:
        """Record what a training left in its folder, its figures at step 0; register the model.

        Raises:
            Unrecorded: the server is away; the same command completes the record.
        """
        self.point({"step": 0, **{key: results[key] for key in results if key != "curve"}})
        if self._delivered():
            try:
                self._complete(folder, results)
                self._ended = True
                return
            except (MlflowException, OSError) as error:
                self._away = _cause(error)
        raise Unrecorded(
            f"{folder} is trained, but its record is not complete ({self._away}): what is missing "
            f"is kept in {self._state}, run the same command when the tracking server answers"
        )

    def _work(self) -> None:
        """Send what there is to send, until told that there is no more."""
        while True:
            last = self._last.is_set()
            # Whatever is wrong with the record, the training is not to die of it.
            try:
                if self._client is None:
                    self._client = self._open()
                self._send(self._client)
                if self._away:
                    print("train: the tracking server answers again", file=sys.stderr)
                self._away = None
            except Exception as error:
                self._lost(_cause(error))
            self._tried.set()
            if last:
                return
            self._wake.wait(RETRY if self._away else None)
            self._wake.clear()

    def _lost(self, cause: str) -> None:
        if not self._away:
            print(
                f"train: the record waits in {self._state}, the training goes on: {cause}",
                file=sys.stderr,
            )
        self._away = cause

    def _open(self) -> MlflowClient:
        """Continue the run that this folder knows, or create one; end those that were killed."""
        client, experiment = _connect()
        if self.id and not _exists(client, self.id):
            self.id = None
        place = publish.fingerprint([socket.gethostname(), str(self._state.resolve())])[:16]
        tags = {"winnow.folder": place, "winnow.token": self._token}
        # No other process works in this folder: what still runs in its name was killed.
        running = f"tags.`winnow.folder` = '{place}' and attributes.status = 'RUNNING'"

        def left() -> dict[str, str]:
            """Token by id."""
            runs = client.search_runs([experiment], running)
            return {run.info.run_id: run.data.tags["winnow.token"] for run in runs}

        # One that was created and whose id never arrived here is this run.
        lost = (run_id for run_id, token in left().items() if token == self._token)
        self.id = self.id or next(lost, None)
        if self.id is None:
            self.id = _create(client, experiment, "train", self._cell, self._description, tags)
        else:
            client.update_run(self.id, "RUNNING")
        for run_id, token in left().items():
            if token != self._token:
                client.set_terminated(run_id, "KILLED")
            elif run_id != self.id:  # MLflow's client asked twice
                client.delete_run(run_id)
        with publish.atomic_file(self._note, "w") as file:
            file.write(self.id)
        _describe(client, self.id, "train", self._description)
        return client

    def _send(self, client: MlflowClient) -> None:
        while batch := self._points[self._sent : self._sent + 100]:
            metrics = [
                Metric(key, value, point["time"], point["step"])
                for point in batch
                for key, value in point["metrics"].items()
            ]
            client.log_batch(self.id, metrics, synchronous=True)
            self._sent += len(batch)

    def _delivered(self) -> bool:
        """Send the rest; whether all of it has arrived in time."""
        self._last.set()
        self._wake.set()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._away = "the tracking server does not answer"
        return self._away is None

    def _complete(self, folder: Path, results: Mapping[str, Any]) -> None:
        from transformers import AutoTokenizer, GPT2LMHeadModel

        assert self._client is not None
        name, seed = folder.parent.name, folder.name
        with mlflow.start_run(run_id=self.id):
            for file in ("experiment_config.json", "train_results.json"):
                mlflow.log_artifact(str(folder / file))
            mlflow.log_figure(_curve(results["curve"], name), "figures/loss.png")
            query = f"run_id='{self.id}'"
            if not self._client.search_model_versions(query):
                parts = {
                    "model": GPT2LMHeadModel.from_pretrained(folder, use_safetensors=True),
                    "tokenizer": AutoTokenizer.from_pretrained(folder),
                }
                mlflow.transformers.log_model(
                    parts,
                    name="model",
                    task="text-generation",
                    pip_requirements=[f"{p}=={_version(p)}" for p in ("torch", "transformers")],
                    registered_model_name=name,
                )
            for version in self._client.search_model_versions(query):
                self._client.set_model_version_tag(name, version.version, "seed", seed)


def _token(note: Path) -> str:
    """What tells this folder's run from all others, even where its id never arrived."""
    if not note.exists():
        with publish.atomic_file(note, "w") as file:
            file.write(uuid.uuid4().hex)
    return note.read_text()


def _read_points(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of points; what a kill or a full disk left after them is cut."""
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


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


def start(stage: str, cell: str, description: Mapping[str, Any]) -> Run:
    """Open the run of a cell.

    Args:
        stage: the verb.
        cell: `<experiment>-<seed>`.
        description: experiment_config.json; its plain values become params and tags.

    Raises:
        ValueError: the tracking server cannot be reached.
    """
    client, experiment = _connect()
    run_id = _create(client, experiment, stage, cell, description, {})
    mlflow.start_run(run_id=run_id)
    _describe(client, run_id, stage, description)
    return Run()


def _create(
    client: MlflowClient, experiment: str, stage: str, cell: str, description: Mapping[str, Any],
    tags: Mapping[str, str],
) -> str:  # fmt: skip
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


def _describe(
    client: MlflowClient, run_id: str, stage: str, description: Mapping[str, Any]
) -> None:
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
