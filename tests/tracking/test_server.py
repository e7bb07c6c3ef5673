"""A team's MLflow as docker/compose.yaml starts it, with a real PostgreSQL behind it.

    pytest tests/tracking/test_server.py

The server runs twice: from this environment, and as the hardened container of compose.yaml.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tiny import ROOT, need

pytestmark = pytest.mark.slow

PASSWORD = "s3cret/with:@odd %characters"


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def run(*command: str, **options: Any) -> str:
    """Run a command to its end and return what it wrote; a failure shows it."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout.strip()


def postgres_program(name: str) -> str:
    """The path of one of PostgreSQL's programs; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else "")


@pytest.fixture(scope="module")
def postgres() -> Iterator[int]:
    """A new PostgreSQL with the user and the database `mlflow`; its port."""
    need(bool(postgres_program("initdb")), "PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="winnow-pg-"))
    port, password = free_port(), folder / "password"
    password.write_text(PASSWORD)
    user: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        user = ["runuser", "-u", "postgres", "--"]
        for path in (folder, password):
            shutil.chown(path, "postgres")
    data, log = str(folder / "data"), str(folder / "log")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    control = [*user, postgres_program("pg_ctl"), "-D", data]
    secret = [f"--pwfile={password}", "-A", "scram-sha-256"]
    try:
        run(*user, postgres_program("initdb"), "-D", data, "-U", "mlflow", *secret, cwd=folder)
        run(*control, "-o", options, "-l", log, "-w", "start", cwd=folder)
        address = ["-h", "127.0.0.1", "-p", str(port), "-U", "mlflow"]
        environment = os.environ | {"PGPASSWORD": PASSWORD}
        run(postgres_program("createdb"), *address, "mlflow", env=environment)
        yield port
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], cwd=folder, capture_output=True)
        shutil.rmtree(folder)


@dataclass
class Server:
    """A running tracking server."""

    url: str
    artifacts: list[str]
    """The command that lists the files of its artifact store."""


def described(port: int, database: int) -> tuple[dict[str, Any], list[str], dict[str, str]]:
    """The server of compose.yaml, with its command and environment for these two ports."""
    service = YAML(typ="safe").load(ROOT / "docker/compose.yaml")["services"]["server"]
    command = [
        part.replace("=0.0.0.0", "=127.0.0.1")
        .replace("--port=5000", f"--port={port}")
        .replace("@postgres/", f"@127.0.0.1:{database}/")
        .replace("${ARTIFACTS:-/artifacts}", "/artifacts")
        for part in service["command"]
    ]
    environment = {"PGPASSWORD": PASSWORD}
    environment["MLFLOW_SERVER_ALLOWED_HOSTS"] = (
        service["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].partition(":-")[2].rstrip("}")
    )
    return service, command, environment


def wait_for(url: str) -> None:
    """Wait until a server answers its health check."""
    end = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            return
        except OSError as error:
            assert time.monotonic() < end, f"{url} does not answer: {error}"
            time.sleep(0.5)


@pytest.fixture
def local_server(postgres: int, tmp_path: Path) -> Iterator[Server]:
    """The server, from this environment."""
    port = free_port()
    _, command, environment = described(port, postgres)
    store = tmp_path / "store"
    program = str(Path(sys.executable).parent / command[0])
    command = [program, *(part.replace("=/artifacts", f"={store}") for part in command[1:])]
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | environment, stdout=log, stderr=log
        )
    try:
        wait_for(f"http://127.0.0.1:{port}")
        yield Server(f"http://127.0.0.1:{port}", ["find", str(store), "-type", "f"])
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def container_server(postgres: int, engine: None) -> Iterator[Server]:
    """The server in its image, with every restriction that compose.yaml puts on it."""
    port = free_port()
    service, command, environment = described(port, postgres)
    run(
        "docker",
        "build",
        "-q",
        "--network=host",
        "-t",
        service["image"],
        "-f",
        service["build"]["dockerfile"],
        ".",
        cwd=ROOT,
    )
    name = f"winnow-server-{port}"
    flags = [f"--{key}={value}" for key, value in (("name", name), ("user", service["user"]))]
    flags += [f"--tmpfs={path}" for path in service["tmpfs"]]
    flags += [f"--cap-drop={item}" for item in service["cap_drop"]]
    flags += [f"--security-opt={item}" for item in service["security_opt"]]
    flags += [f"--pids-limit={service['pids_limit']}", "--network=host"]
    flags += ["--read-only"] * service["read_only"]
    flags += [f"--volume={name}:{item.partition(':')[2]}" for item in service["volumes"]]
    for key, value in environment.items():
        flags += ["--env", f"{key}={value}"]
    try:
        run("docker", "run", "--detach", *flags, service["image"], *command)
        wait_for(f"http://127.0.0.1:{port}")
        check = [part.replace(":5000", f":{port}") for part in service["healthcheck"]["test"][1:]]
        run("docker", "exec", name, *check)
        yield Server(
            f"http://127.0.0.1:{port}", ["docker", "exec", name, "find", "/artifacts", "-type", "f"]
        )
    finally:
        log = subprocess.run(["docker", "logs", name], capture_output=True, text=True)
        print(log.stdout[-2000:], log.stderr[-2000:])
        for command in (["rm", "--force", name], ["volume", "rm", "--force", name]):
            subprocess.run(["docker", *command], capture_output=True)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["local_server", "container_server"])
def test_a_run_comes_back_as_it_was_logged(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: Server = request.getfixturevalue(kind)
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts

    here = tmp_path / "client"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "report.html").write_text("<p>é</p>")
    client = MlflowClient(tracking_uri=server.url)
    experiment = client.create_experiment(f"winnow-{kind}")
    logged = client.create_run(experiment, run_name="train@high_2k_1M-0")
    for step in range(3):
        client.log_metric(logged.info.run_id, "loss", 3.5 - step, step=step)
    client.log_param(logged.info.run_id, "seed", 0)
    client.log_artifact(logged.info.run_id, "report.html")
    client.set_terminated(logged.info.run_id)

    again = MlflowClient(tracking_uri=server.url)
    (found,) = again.search_runs([experiment], "metrics.loss < 2")
    assert found.info.run_name == "train@high_2k_1M-0" and found.info.status == "FINISHED"
    assert found.data.params == {"seed": "0"}
    history = again.get_metric_history(found.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(0, 3.5), (1, 2.5), (2, 1.5)]
    assert found.info.artifact_uri.startswith("mlflow-artifacts:")
    copy = download_artifacts(
        f"{found.info.artifact_uri}/report.html",
        dst_path=str(tmp_path / "copy"),
        tracking_uri=server.url,
    )
    assert Path(copy).read_text() == "<p>é</p>"
    assert run(*server.artifacts).endswith("/report.html")
    assert [path.name for path in here.iterdir()] == ["report.html"]


@pytest.mark.timeout(300)
def test_a_page_of_another_site_is_refused(local_server: Server) -> None:
    request = urllib.request.Request(
        f"{local_server.url}/api/2.0/mlflow/experiments/search?max_results=1",
        headers={"Host": "evil.example.org"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 403


def test_a_pickled_model_of_the_registry_is_never_opened(tmp_path: Path) -> None:
    program = """
import mlflow, sys
from winnow.record import runs
class Evil(mlflow.pyfunc.PythonModel):
    def __setstate__(self, state): open(sys.argv[1] + "/ran", "w")
    def predict(self, context, model_input): return model_input
made = Evil()
made.state = 1
mlflow.pyfunc.save_model(sys.argv[1] + "/model", python_model=made, pip_requirements=[])
mlflow.pyfunc.load_model(sys.argv[1] + "/model")
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1 and "using pickle is disallowed" in ended.stderr
    assert (tmp_path / "model/MLmodel").exists() and not (tmp_path / "ran").exists()
