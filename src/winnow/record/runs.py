"""The record of runs: only this module, spool.py and project.py import mlflow.

Runs go to MLFLOW_TRACKING_URI, or to mlflow.db and mlruns/ in the project's folder. A run is named
by the address of its cell, `train@high_2k_1M-0`.
"""

import contextlib
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, InputTag, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH
from sqlalchemy.exc import SQLAlchemyError

from winnow.core.errors import Refusal
from winnow.core.experiments import declared_seeds, experiment_names
from winnow.core.files import (
    bytes_hash,
    file_hash,
    fingerprint,
)
from winnow.core.layout import TEST_ROWS
from winnow.core.masking import mask

EXPERIMENT = "winnow"


class Unrecorded(Refusal):
    """Work is done and its record is not: the tracking server could not be reached."""


def connect() -> tuple[MlflowClient, str]:
    """The store and the id of the experiment in it, after proving that the store answers."""
    # DVC_ROOT is the project's folder where `dvc exp run --temp` works in a copy of it.
    folder = Path(os.environ.get("DVC_ROOT") or Path.cwd())
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _local(folder / "mlflow.db")
    mlflow.set_tracking_uri(uri)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    try:
        client = MlflowClient()
        if "MLFLOW_EXPERIMENT_ID" in os.environ:
            return client, client.get_experiment(os.environ["MLFLOW_EXPERIMENT_ID"]).experiment_id
        found = client.get_experiment_by_name(name)
        return client, found.experiment_id if found else client.create_experiment(name)
    # A database has errors of its own, and a driver that may not be installed.
    except (MlflowException, SQLAlchemyError, ImportError) as error:
        raise Unrecorded(
            f"the tracking server {mask(uri)} cannot be reached: start it or unset "
            f"MLFLOW_TRACKING_URI ({cause(error)})"
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


def _name(text: str) -> str:
    """A part of a metric's or param's name, made of any text, such as a source's in the corpus.

    MLflow takes letters, digits and `. _ - : /` and spaces. Every other character, a colon, a slash
    and a space at an end are written as a colon and two hex digits for each of their bytes (":26"
    is "&"), so that different texts have different names and each can be read back.
    """
    return re.sub(r"[^\w. -]|^ | $", _hex, text)


def _hex(found: re.Match[str]) -> str:
    return "".join(f":{byte:02X}" for byte in found[0].encode(errors="surrogatepass"))


def _cut(name: str) -> str:
    """A name of the length that MLflow takes; a longer one ends in its hash."""
    if len(name) <= MAX_ENTITY_KEY_LENGTH:
        return name
    return f"{name[:200]}:sha256-{bytes_hash(name.encode())[:16]}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, the keys joined by dots, as MLflow takes them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{_name(key)}.")
        elif value is not None:
            flat[_cut(f"{prefix}{_name(key)}")] = value
    return flat


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among the values, and how many others there were."""
    numbers = {k: float(v) for k, v in _flat(values).items() if isinstance(v, int | float)}
    found = {key: value for key, value in numbers.items() if math.isfinite(value)}
    lost = len(numbers) - len(found)
    return found | ({"nonfinite": float(lost)} if lost else {})


def cause(error: Exception) -> str:
    """An error of the server's in one line of bounded length."""
    return " ".join(mask(str(error)).split())[:160] or type(error).__name__


def metrics(values: Mapping[str, Any], timestamp: int | None = None) -> None:
    """Log final numbers to the open run; nested mappings become dotted names, undefined ones are
    left out. With the same timestamp (in ms) what is sent twice is there once."""
    mlflow.log_metrics(finite(values), timestamp=timestamp)


def artifacts(paths: list[Path], folder: str | None = None) -> None:
    """Log files to the open run as artifacts."""
    for path in paths:
        mlflow.log_artifact(str(path), folder)


def remembered(note: Path) -> str | None:
    """The id in a file of unfinished work; None where it holds none."""
    text = note.read_bytes().decode(errors="replace") if note.exists() else ""
    return text if re.fullmatch("[0-9a-f]{32}", text) else None


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
        run_id = remembered(note)
        if not run_id or not exists(client, run_id):
            run_id = create(client, experiment, stage, cell, description, {})
            note.write_text(run_id)
        with mlflow.start_run(run_id=run_id):
            describe(client, run_id, stage, description)
            yield
    except (MlflowException, OSError) as error:
        raise Unrecorded(f"the tracking server failed: {cause(error)}") from None


def create(
    client: MlflowClient,
    experiment: str,
    stage: str,
    cell: str,
    description: Mapping[str, Any],
    tags: Mapping[str, str],
) -> str:
    """Create a run and return its id."""
    if above := _parent(client, experiment, description):
        tags = {**tags, MLFLOW_PARENT_RUN_ID: above}
    named = {"stage": stage, "experiment": description["experiment"], "seed": description["seed"]}
    named |= {"tier": description["tier_name"], "rule": description["tier"]["rule"]}
    if description.get("git_commit"):
        named["mlflow.source.git.commit"] = description["git_commit"]
    named = {key: str(value) for key, value in named.items()}
    # An evaluation and its training name each other. One nested in the other would hide from every
    # search of MLflow's pages, which fold children away.
    trained = description.get("run_id")
    linked = stage == "evaluate" and trained and exists(client, trained)
    named |= {"train_run": trained} if linked else {}
    tags = _tags({**named, **tags})
    run_id = client.create_run(experiment, tags=tags, run_name=f"{stage}@{cell}").info.run_id
    if linked:
        client.set_tag(trained, "evaluate_run", run_id)
    return str(run_id)


def _tags(given: Mapping[str, str]) -> dict[str, str]:
    """A run's own tags and those that MLflow finds, such as git's remote."""
    return {key: mask(value) for key, value in resolve_tags(dict(given)).items()}


def _parent(client: MlflowClient, experiment: str, description: Mapping[str, Any]) -> str | None:
    """The run to nest a cell's under: that of the grid, with what `mlflow run` opened between."""
    # Processes that record to one run collide, so nobody takes it for its own.
    if project := os.environ.pop("MLFLOW_RUN_ID", None):
        os.environ["WINNOW_PARENT_RUN"] = project
    project = os.environ.get("WINNOW_PARENT_RUN")
    grid = None
    names, seeds = experiment_names(), declared_seeds()
    if description["experiment"] in names and description["seed"] in seeds:
        grid = _grid(client, experiment)
    if project and grid:
        client.set_tag(project, MLFLOW_PARENT_RUN_ID, grid)
    return project or grid


def _grid(client: MlflowClient, experiment: str) -> str:
    """The run of the grid in params.yaml on these rows, made by the first process that needs it."""
    names, seeds = experiment_names(), declared_seeds()
    identity = fingerprint([names, seeds, file_hash(TEST_ROWS)])[:16]

    def runs() -> list[str]:
        same = f"tags.stage = 'grid' and tags.grid = '{identity}'"
        order = ["attributes.start_time", "attributes.run_id"]
        return [run.info.run_id for run in client.search_runs([experiment], same, order_by=order)]

    if not runs():
        tags = _tags({"stage": "grid", "grid": identity, MLFLOW_RUN_NOTE: ", ".join(names)})
        title = f"grid of {len(names)} experiments, {len(seeds)} seeds"
        made = client.create_run(experiment, tags=tags, run_name=title).info.run_id
        client.set_terminated(made)
        # Another process may have been as quick: the older run is the grid's.
        if runs()[0] != made:
            client.delete_run(made)
    return runs()[0]


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
    summary: Mapping[str, Any], losses: Mapping[str, Mapping[int, float]], answer: str, folder: Path
) -> None:
    """Log the analysis, and crown each experiment's best seed.

    Args:
        summary: numbers (nested) that become metrics.
        losses: the test loss, nats a token, by experiment and seed; the registered model of the
            lowest gets the alias `champion`.
        answer: the run's and the grid's description.
        folder: what was published; its pages and figures are kept with the run.

    Raises:
        Unrecorded: the tracking server is away, or goes away.
    """
    client, experiment = connect()
    try:
        grid = _grid(client, experiment)
        tags = _tags({"stage": "analyze", "answer": answer, MLFLOW_PARENT_RUN_ID: grid})
        with mlflow.start_run(
            experiment_id=experiment, run_name="analyze", tags=tags, description=answer
        ):
            metrics(summary)
            artifacts([folder / name for name in ("report.html", "removed.html", "analysis.json")])
            artifacts([folder / "figures"])
        client.set_tag(grid, MLFLOW_RUN_NOTE, answer)
        client.set_terminated(grid)
        for name, by_seed in losses.items():
            crown(client, name, by_seed)
    except (MlflowException, OSError) as error:
        raise Unrecorded(f"the tracking server failed: {cause(error)}") from None


def crown(client: MlflowClient, name: str, losses: Mapping[int, float]) -> None:
    """Write its loss and the comparison on the newest version of each seed; alias the best."""
    best = min(losses, key=lambda seed: losses[seed])
    told = ", ".join(f"{loss:.4f} with seed {seed}" for seed, loss in losses.items())
    told = f"the test loss is {told} (nats per token). A lowest of seeds is luck in part."
    newest = {
        version.tags["seed"]: version
        for version in sorted(
            client.search_model_versions(f"name='{name}'"), key=lambda found: int(found.version)
        )
        if "seed" in version.tags
    }
    for seed, loss in losses.items():
        if version := newest.get(str(seed)):
            crowned = "Champion" if seed == best else f"Not the champion, which is seed {best}"
            client.set_model_version_tag(name, version.version, "test.loss", str(loss))
            client.update_model_version(name, version.version, f"{crowned}: {told}")
            if seed == best:
                client.set_registered_model_alias(name, "champion", version.version)
