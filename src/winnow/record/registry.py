"""Models in MLflow's registry: a version for each training, the best seed's called champion."""

import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model
from mlflow.utils.logging_utils import disable_logging, enable_logging


def register(
    client: MlflowClient, run_id: str, folder: Path, description: Mapping[str, Any]
) -> str:
    """Register the model of a training once, as a version of the model named like its experiment.

    Args:
        client: the store.
        run_id: the training's.
        folder: of the model and its tokenizer.
        description: experiment_config.json.

    Returns:
        The id of the run's logged model.
    """
    name, query = description["experiment"], f"run_id='{run_id}'"
    disable_logging()  # that a model and a version are registered is no news
    try:
        model_id = _logged(client, run_id, folder, description)
        if not client.search_model_versions(query):
            tags = {"seed": str(description["seed"])}
            mlflow.register_model(f"models:/{model_id}", name, tags=tags)
    finally:
        enable_logging()
    # Where the answer to a creation was lost, MLflow's client has asked for it again.
    _, *copies = sorted(client.search_model_versions(query), key=lambda v: int(v.version))
    for copy in copies:
        client.delete_model_version(name, copy.version)
    return model_id


def _logged(client: MlflowClient, run_id: str, folder: Path, description: Mapping[str, Any]) -> str:
    """The id of a run's logged model, which is made, or finished where a kill left a part of it."""
    run = client.get_run(run_id)
    place, query = run.info.experiment_id, f"source_run_id = '{run_id}'"
    if not client.search_logged_models([place], query):
        client.create_logged_model(place, "model", run_id, params=run.data.params)
    models = client.search_logged_models([place], query)
    model, *copies = sorted(models, key=lambda m: m.creation_timestamp)
    for copy in copies:
        client.delete_logged_model(copy.model_id)
    # What mlflow.transformers.log_model does, but for its second try, which MLflow refuses.
    if not run.outputs.model_outputs:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    if model.status != LoggedModelStatus.READY:
        from winnow.models.rewards import REPORT

        is_reward = (folder / REPORT).exists()
        with tempfile.TemporaryDirectory() as partial:
            path = f"{partial}/model"
            mlflow.transformers.save_model(
                _whole(folder, Path(partial, "whole")),
                path,
                task="text-classification" if is_reward else "text-generation",
                mlflow_model=Model(model.artifact_location, run_id, model_id=model.model_id),
                pip_requirements=[f"{p}=={_version(p)}" for p in ("torch", "transformers")],
                model_card=_card(description),
            )
            client.log_model_artifacts(model.model_id, path)
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def _whole(folder: Path, place: Path) -> str:
    """Where a model lies whole: an adapter is merged, at `place`, into the weights beside it, so
    that a version can be loaded wherever it is."""
    if (folder / "config.json").exists():
        return str(folder)
    from winnow.models import family

    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("adapter_*"))
    family.load(folder).network.save_pretrained(place)
    return str(place)


def _version(package: str) -> str:
    return version(package).partition("+")[0]


def _card(description: Mapping[str, Any]) -> Any:
    """Without one MLflow asks the Hugging Face hub for it, by the name of our folder."""
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(license="unknown", library_name="transformers", tags=["winnow"])
    text = "`{experiment}`, seed {seed}: {num_rows} rows of the tier `{tier_name}`, SHA-256 "
    text = (text + "{data_sha256}.").format(**description)
    return ModelCard(f"---\n{data}\n---\n\n{text}\n")


def crown(client: MlflowClient, name: str, losses: Mapping[int, float]) -> None:
    """Write its loss and the comparison on the newest version of each seed; alias the best.

    Args:
        client: the store.
        name: of the experiment.
        losses: test loss by seed, in nats per token.
    """
    best = min(losses, key=lambda seed: losses[seed])
    told = ", ".join(f"{loss:.4f} with seed {seed}" for seed, loss in losses.items())
    told = f"the test loss is {told} (nats per token). A lowest of seeds is luck in part."
    versions = client.search_model_versions(f"name='{name}'")
    newest = {v.tags.get("seed"): v for v in sorted(versions, key=lambda v: int(v.version))}
    for seed, loss in losses.items():
        if model := newest.get(str(seed)):
            title = "Champion" if seed == best else f"Not the champion, which is seed {best}"
            client.set_model_version_tag(name, model.version, "test.loss", str(loss))
            client.update_model_version(name, model.version, f"{title}: {told}")
            if seed == best:
                client.set_registered_model_alias(name, "champion", model.version)
