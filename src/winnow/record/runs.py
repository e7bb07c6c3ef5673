"""Runs: where they go, how one is found again, what each of them says of itself.

They go to MLFLOW_TRACKING_URI, or to mlflow.db and mlruns/ in the project's folder. A run is named
by the address of its cell, `train@high_2k_1M-0`.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE
from sqlalchemy.exc import SQLAlchemyError

from winnow.core.experiments import declared_seeds, experiment_names
from winnow.core.files import file_hash, fingerprint
from winnow.core.layout import SELECTED, TEST_ROWS
from winnow.core.masking import mask
from winnow.record import Unrecorded, names

EXPERIMENT = "winnow"
Json = Mapping[str, Any]
Point = tuple[int, Json]
"""A time in milliseconds, and values with their `step`."""


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


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """Turn what MLflow raises where the server fails in the block into Unrecorded."""
    try:
        yield
    except (MlflowException, OSError) as error:
        raise Unrecorded(f"the tracking server failed: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    """An error of the server's in one line of bounded length."""
    return " ".join(mask(str(error)).split())[:160] or type(error).__name__


class Runs:
    """The runs of an experiment of MLflow's, in a store that has just answered."""

    def __init__(self) -> None:
        """Connect.

        Raises:
            Unrecorded: the store does not answer.
        """
        # DVC_ROOT is the project's folder where `dvc exp run --temp` works in a copy of it.
        folder = Path(os.environ.get("DVC_ROOT") or Path.cwd())
        uri = os.environ.get("MLFLOW_TRACKING_URI") or _local(folder / "mlflow.db")
        mlflow.set_tracking_uri(uri)
        try:
            self.client = MlflowClient()
            self.experiment = self._experiment()
        # A database has errors of its own, and a driver that may not be installed.
        except (MlflowException, SQLAlchemyError, ImportError) as error:
            raise Unrecorded(
                f"the tracking server {mask(uri)} cannot be reached: start it or unset "
                f"MLFLOW_TRACKING_URI ({_cause(error)})"
            ) from None

    def _experiment(self) -> str:
        if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return str(self.client.get_experiment(given).experiment_id)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = self.client.get_experiment_by_name(name)
        return str(experiment.experiment_id if experiment else self.client.create_experiment(name))

    def search(self, condition: str) -> list[str]:
        """The ids of the runs that meet a condition of MLflow's, the oldest first."""
        order = ["attributes.start_time", "attributes.run_id"]
        found = self.client.search_runs([self.experiment], condition, order_by=order)
        return [run.info.run_id for run in found]

    def the_only(self, tag: str, value: str) -> str | None:
        """The oldest run with a tag's value, if there is one.

        MLflow's client asks again for a creation whose answer is lost: the copies are removed.
        """
        ids = self.search(f"tags.`{tag}` = '{value}'")
        for copy in ids[1:]:
            self.client.delete_run(copy)
        return ids[0] if ids else None

    def create(self, name: str, tags: Mapping[str, str], began: int | None = None) -> str:
        """Create a run, once, and return its id.

        Args:
            name: of the run.
            tags: its own; the first of them tells it from all others.
            began: in milliseconds; None is now.
        """
        made = self._create(name, tags, began)
        return self.the_only(*next(iter(tags.items()))) or made

    def _create(self, name: str, tags: Mapping[str, str], began: int | None = None) -> str:
        # MLflow finds more tags, such as git's remote.
        every = {key: mask(value) for key, value in resolve_tags(dict(tags)).items()}
        return str(self.client.create_run(self.experiment, began, every, name).info.run_id)

    def cell(
        self, stage: str, description: Json, keys: Mapping[str, str], began: int | None = None
    ) -> str:
        """Find the run of a cell, or create it under that of its grid; returns its id.

        Args:
            stage: the verb.
            description: experiment_config.json.
            keys: tags of which each tells the run from all others.
            began: of a new one, in milliseconds; None is now.
        """
        for tag, value in keys.items():
            if run_id := self.the_only(tag, value):
                return run_id
        tags = {"stage": stage} | {key: str(description[key]) for key in ("experiment", "seed")}
        tags |= {"tier": description["tier_name"], "rule": description["tier"]["rule"]}
        if description.get("git_commit"):
            tags["mlflow.source.git.commit"] = description["git_commit"]
        if above := self._parent(description):
            tags[MLFLOW_PARENT_RUN_ID] = above
        name = f"{stage}@{description['experiment']}-{description['seed']}"
        return self.create(name, {**keys, **tags}, began)

    def _parent(self, description: Json) -> str | None:
        """The run to nest a cell's under: the grid's, with what `mlflow run` opened between."""
        # Processes that record to one run collide, so nobody takes it for its own.
        if project := os.environ.pop("MLFLOW_RUN_ID", None):
            os.environ["WINNOW_PARENT_RUN"] = project
        project, above = os.environ.get("WINNOW_PARENT_RUN"), None
        arms, seeds = experiment_names(), declared_seeds()
        if description["experiment"] in arms and description["seed"] in seeds:
            above = self.grid()
        if project and above:
            self.client.set_tag(project, MLFLOW_PARENT_RUN_ID, above)
        return project or above

    def grid(self) -> str:
        """The run of the grid in params.yaml on these rows, made by the first that needs it."""
        arms, seeds = experiment_names(), declared_seeds()
        identity = fingerprint([arms, seeds, file_hash(TEST_ROWS)])[:16]
        same = f"tags.stage = 'grid' and tags.grid = '{identity}'"
        if not (found := self.search(same)):
            tags = {"stage": "grid", "grid": identity, MLFLOW_RUN_NOTE: ", ".join(arms)}
            made = self._create(f"grid of {len(arms)} experiments, {len(seeds)} seeds", tags)
            # Another process may have been as quick: the older run is the grid's.
            found = self.search(same)
            if found[0] != made:
                self.client.delete_run(made)
        # The process that made it may have been killed before this.
        if not self.is_whole(found[0]):
            self.client.set_terminated(found[0])
        return found[0]

    def describe(self, run_id: str, stage: str, description: Json) -> None:
        """Give a run the params and the input that it does not have yet."""
        run = self.client.get_run(run_id)
        hidden = ("command", "git_commit", "name", "run_id")
        params = names.flat({k: value for k, value in description.items() if k not in hidden})
        missing = [Param(k, str(v)) for k, v in params.items() if k not in run.data.params]
        self.client.log_batch(run_id, params=missing, synchronous=True)
        if not run.inputs.dataset_inputs:
            place = json.dumps({"uri": f"{SELECTED / description['draw']}"})
            digest = description["data_sha256"][:36]
            tier = Dataset(description["tier_name"], digest, "local", place)
            tags = [InputTag("mlflow.data.context", stage)]
            self.client.log_inputs(run_id, [DatasetInput(tier, tags)])

    def is_whole(self, run_id: str) -> bool:
        """Whether a run's record is complete."""
        return bool(self.client.get_run(run_id).info.status == "FINISHED")

    def steps(self, run_id: str) -> set[int]:
        """The steps of the points that a training's run has."""
        return {point.step for point in self.client.get_metric_history(run_id, "train_loss")}

    def log(self, run_id: str, points: Sequence[Point], model_id: str | None = None) -> None:
        """Log the numbers of some points to a run, and to its model: of each point all or none.

        With the same times, what is logged twice is there once.
        """
        for start in range(0, len(points), 50):
            entries = [
                Metric(key, value, time, int(values["step"]), model_id=model_id)
                for time, values in points[start : start + 50]
                for key, value in names.finite({**values, "step": None}).items()
            ]
            self.client.log_batch(run_id, entries, synchronous=True)
