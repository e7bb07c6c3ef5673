"""`mlflow run` of this project: which experiment it records to, and how it runs without Docker.

MLflow finds both classes by their entry points in pyproject.toml. It loads this module in the
middle of its own import, when most of it cannot be imported yet: that is done where it is used.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from mlflow.tracking.default_experiment.abstract_context import DefaultExperimentProvider

from winnow.core.masking import mask_output

if "run" in sys.argv[1:]:
    # The command line's own lines name the tracking server, and may come before it asks for more.
    mask_output()


class ProjectExperiment(DefaultExperimentProvider):  # type: ignore[misc]
    """The experiment of `mlflow run`, where neither option nor environment names another."""

    def in_context(self) -> bool:
        """Whether this process is the command `mlflow run` on this project."""
        return _project() is not None

    def get_experiment_id(self) -> str:
        """The experiment that every command of winnow records to.

        MLflow asks this before it creates the run, and what it finds wrong later leaves that run
        RUNNING for ever: so this is where a missing image is said.

        Raises:
            SystemExit: no engine answers, or it has no such image. MLflow passes over any other
                exception of a provider with a warning.
        """
        from winnow.record.runs import Runs

        project = _project()
        assert project is not None
        if click.get_current_context().params["backend"] in (None, "local"):
            _need_image(project.docker_env["image"])
        return Runs().experiment


def _project() -> Any:
    """The project of the running `mlflow run`, if it is this one."""
    from mlflow.projects.utils import load_project

    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "run" or not Path(context.params["uri"]).is_dir():
        return None
    project = load_project(context.params["uri"])
    return project if project.name == "winnow" else None


def _need_image(image: str) -> None:
    try:
        command = ["docker", "image", "inspect", image]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        reason = "docker is not installed"
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1]
    else:
        return
    raise SystemExit(
        f"mlflow run: no image {image} ({reason}): build it with `docker build -f "
        f"docker/Dockerfile -t {image} .`, or run without Docker: the same command with `-b host`"
    )


class HostBackend:
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
    ) -> Any:
        """Run the command with this interpreter's environment; a failed one is an exception."""
        from mlflow.projects import _wait_for, utils
        from mlflow.projects.submitted_run import LocalSubmittedRun

        folder = utils.fetch_and_validate_project(project_uri, version, entry_point, params)
        command = utils.get_entry_point_command(
            utils.load_project(folder),
            entry_point,
            params,
            backend_config[utils.PROJECT_STORAGE_DIR],
        )
        run_id = utils.get_or_create_run(
            None, project_uri, experiment_id, folder, version, entry_point, params
        ).info.run_id
        environment = os.environ | utils.get_run_env_vars(run_id, experiment_id)
        environment["MLFLOW_TRACKING_URI"] = tracking_uri
        environment["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
        process = subprocess.Popen(["bash", "-c", " ".join(command)], cwd=folder, env=environment)
        submitted = LocalSubmittedRun(run_id, process)
        _wait_for(submitted)
        return submitted
