"""A password in an address or in the environment is in nothing that is printed or recorded.

pytest tests/tracking/test_secrets.py
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_outage import Server
from tiny import ROOT, TINY, make_until, write_params

pytestmark = pytest.mark.slow

CANARY = "canary"
"""In every secret of these tests, and nowhere else."""
CELL = ("high_40_tiny", "--seed", "0")


@pytest.fixture
def secretive(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The project with its tiers cut, and an environment with secrets in every place."""
    write_params(project, TINY | {"seeds": [0]})
    make_until("select")
    home = tmp_path_factory.mktemp("home")
    (home / ".netrc").write_text(f"machine 127.0.0.1 login me password {CANARY}-netrc\n")
    remote = f"https://me:{CANARY}-git@example.org/x.git"
    for command in (
        "init -q",
        f"remote add origin {remote}",
        "-c user.name=t -c user.email=t@example.org commit -q --allow-empty -m one",
    ):
        subprocess.run(["git", *command.split()], check=True)
    return os.environ | {
        "HOME": str(home),
        "HTTP_PROXY": f"http://me:{CANARY}-proxy@127.0.0.1:9",
        "HTTPS_PROXY": f"me:{CANARY}-proxies@127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "HF_TOKEN": f"hf_{CANARY}",
        "AWS_SECRET_ACCESS_KEY": f"{CANARY}/aws",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    }


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment; what it says is clean."""
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run(
        [program, *command[1:]], env=environment, capture_output=True, text=True, timeout=300
    )
    for said in (done.stdout, done.stderr):
        assert CANARY not in said, said[-3000:]
    return done


def clean(*folders: Path) -> bool:
    """Whether no file below folders, but git's own configuration, holds a secret."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    found = [path for path in files if CANARY.encode() in path.read_bytes()]
    return {str(path.relative_to(Path.cwd())) for path in found} == {".git/config"}


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that answers."""
    made = Server(tmp_path_factory.mktemp("tracking") / "server")
    made.start()
    yield made
    made.kill()


@pytest.mark.timeout(900)
def test_a_server_that_answers_is_told_no_secret(
    project: Path, secretive: dict[str, str], server: Server
) -> None:
    address = server.url.replace("//", f"//me:{CANARY}-tracking@")
    secretive["MLFLOW_TRACKING_URI"] = address
    for command in (("train", "all"), ("evaluate", "all"), ("analyze",)):
        done = run(secretive, "winnow", *command)
        assert done.returncode == 0, done.stderr[-3000:]
    shutil.copy(ROOT / "MLproject", project)
    parameters = ("-P", f"exp={CELL[0]}", "-P", "seed=1")
    done = run(secretive, "mlflow", "run", ".", "-e", "train", *parameters, "-b", "host")
    assert done.returncode == 0, done.stderr[-3000:]
    stages = [run.data.tags.get("stage") for run in server.runs()]
    assert sorted(map(str, stages)) == ["analyze", *2 * ["evaluate"], *3 * ["train"]]
    assert clean(project, server.folder)
    with sqlite3.connect(server.folder / "server.db") as database:
        rows = database.execute("select distinct value from tags where key like '%repoURL'")
        assert rows.fetchall() == [("https://example.org/x.git",)]


def answering(status: int) -> ThreadingHTTPServer:
    """A server that answers every request with an error and repeats what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(f"{self.path} {self.headers}".encode())

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return made


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "address",
    [
        "http://me:{secret}@127.0.0.1:9",
        "http://127.0.0.1:9?token={secret}",
        "http://me:{secret}/odd@127.0.0.1:9",
        "postgresql://me:{secret}@127.0.0.1:9/db",
        "401",
        "500",
    ],
)
def test_a_server_that_is_away_or_refuses_is_named_without_the_secret(
    project: Path, secretive: dict[str, str], address: str
) -> None:
    if address.isdigit():
        port = answering(int(address)).server_address[1]
        address = f"http://me:{{secret}}@127.0.0.1:{port}?key={{secret}}"
    secretive["MLFLOW_TRACKING_URI"] = address.format(secret=f"{CANARY}-tracking")
    done = run(secretive, "winnow", "train", *CELL)
    assert done.returncode == 2 and "record is not complete" in done.stderr
    assert run(secretive, "winnow", "evaluate", *CELL).returncode == 2
    shutil.copy(ROOT / "MLproject", project)
    parameters = ("-P", f"exp={CELL[0]}", "-P", "seed=0")
    for more in (("-b", "host"), ("--experiment-name", "other")):
        done = run(secretive, "mlflow", "run", ".", "-e", "train", *parameters, *more)
        assert done.returncode == 1
    assert clean(project)
