"""The record of a training, which waits for no server: what is to be sent is on disk first."""

import contextlib
import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from winnow.core import files
from winnow.core.errors import Refusal
from winnow.record import runs

# isort: split
# After tracking, which sets MLflow's switches before it imports it.
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.logging_utils import disable_logging, enable_logging

# That it starts and stops is no news.
logging.getLogger(SystemMetricsMonitor.__module__).setLevel(logging.WARNING)

PATIENCE = 20.0
"""Seconds that a training waits for the server before its first step and after its last."""
RETRY = 15.0
"""Seconds between two attempts to reach a server that is away."""


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
        self.id = runs.remembered(self._note)
        """Of the run; None as long as the server has not been reached."""
        self._token = _token(state / "token")
        self._points = _read_points(state / "points.jsonl")
        self._sent = 0
        self._client: MlflowClient | None = None
        self._machine: SystemMetricsMonitor | None = None
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
        if self._ended or isinstance(error, runs.Unrecorded):
            return
        if self._delivered() and self._client:
            with contextlib.suppress(MlflowException, OSError):
                self._client.set_terminated(self.id, _status(kind))

    def point(self, values: Mapping[str, Any]) -> None:
        """Record a point of the curve, once: a resumed run makes some of them again."""
        step = int(values["step"])
        if any(point["step"] == step for point in reversed(self._points)):
            return
        metrics = runs.finite({key: value for key, value in values.items() if key != "step"})
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
                self._away = runs.cause(error)
        raise runs.Unrecorded(
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
                self._lost(runs.cause(error))
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
        client, experiment = runs.connect()
        if self.id and not runs.exists(client, self.id):
            self.id = None
        place = files.fingerprint([socket.gethostname(), str(self._state.resolve())])[:16]
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
            about = ("train", self._cell, self._description, tags)
            self.id = runs.create(client, experiment, *about)
        else:
            client.update_run(self.id, "RUNNING")
        for run_id, token in left().items():
            if token != self._token:
                client.set_terminated(run_id, "KILLED")
            elif run_id != self.id:  # MLflow's client asked twice
                client.delete_run(run_id)
        with files.atomic_file(self._note, "w") as file:
            file.write(self.id)
        runs.describe(client, self.id, "train", self._description)
        # Of the machine there are points as long as the server answers: these are not kept.
        self._machine = SystemMetricsMonitor(self.id, resume_logging=True)
        self._machine.start()
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
        if self._away is None and self._machine:
            self._machine.finish()
        return self._away is None

    def _complete(self, folder: Path, results: Mapping[str, Any]) -> None:
        from transformers import AutoTokenizer

        from winnow.models import family

        assert self._client is not None
        name, seed = folder.parent.name, folder.name
        with mlflow.start_run(run_id=self.id):
            for file in ("experiment_config.json", "train_results.json"):
                mlflow.log_artifact(str(folder / file))
            mlflow.log_figure(_curve(results["curve"], name), "figures/loss.png")
            query = f"run_id='{self.id}'"
            if not self._client.search_model_versions(query):
                parts = {
                    "model": family.load(folder).network,
                    "tokenizer": AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
                }
                disable_logging()  # that a model and a version are registered is no news
                mlflow.transformers.log_model(
                    parts,
                    name="model",
                    task="text-generation",
                    pip_requirements=[f"{p}=={_version(p)}" for p in ("torch", "transformers")],
                    registered_model_name=name,
                    model_card=_model_card(name, self._description),
                )
                enable_logging()
            for version in self._client.search_model_versions(query):
                self._client.set_model_version_tag(name, version.version, "seed", seed)


def _status(kind: type[BaseException] | None) -> str:
    """MLflow's word for how a block ended."""
    if kind is None:
        return "FINISHED"
    return "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"


def _token(note: Path) -> str:
    """What tells this folder's run from all others, even where its id never arrived."""
    token = runs.remembered(note)
    if token is None:
        token = uuid.uuid4().hex
        with files.atomic_file(note, "w") as file:
            file.write(token)
    return token


def _read_points(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of points; what a kill or a full disk left after them is cut.

    Raises:
        Refusal: a line is no point.
    """
    data = path.read_bytes() if path.exists() else b""
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        os.truncate(path, len(whole))
    points: list[dict[str, Any]] = []
    for number, line in enumerate(whole.splitlines(), start=1):
        point: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            point = json.loads(line)
        if not _is_point(point):
            raise Refusal(f"{path}:{number} is no point of a curve: remove that line")
        points.append(point)
    return points


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(name), int) for name in ("step", "time"))
        and isinstance(value.get("metrics"), dict)
        and all(isinstance(number, float) for number in value["metrics"].values())
    )


def _model_card(name: str, description: Mapping[str, Any]) -> Any:
    """Without one MLflow asks the Hugging Face hub for it, by the name of our folder."""
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(license="unknown", library_name="transformers", tags=["winnow"])
    said = f"`{name}`, seed {description['seed']}: {description['num_rows']} rows of the tier "
    said += f"`{description['tier_name']}`, SHA-256 {description['data_sha256']}."
    return ModelCard(f"---\n{data}\n---\n\n{said}\n")


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
