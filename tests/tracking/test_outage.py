"""The tracking server is away, hangs, or dies between accepting and answering: work goes on, and
the record is whole in the end, with every point once.

    pytest tests/tracking/test_outage.py
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from tiny import make_until

from winnow.record.live import Live

pytestmark = pytest.mark.slow

DESCRIPTION = {
    "experiment": "high_40_tiny",
    "seed": 0,
    "tier_name": "high_40",
    "draw": "high_40",
    "data_sha256": "0" * 64,
    "tier": {"rule": "top", "count": 40},
    "device": "cpu",
    "recipe": {"learning_rate": 0.1},
}


class Server:
    """`mlflow server` on SQLite, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = int(sock.getsockname()[1])
        self.url, self.folder = f"http://127.0.0.1:{self.port}", folder
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        # Its tables are made before it is needed, so that a start is quick.
        mlflow.MlflowClient(f"sqlite:///{folder}/server.db").search_experiments()

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )
        end = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end
                time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL it with its worker."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def runs(self) -> list[Any]:
        """All runs but the grid's, deleted ones not."""
        client = mlflow.MlflowClient(f"sqlite:///{self.folder}/server.db")
        experiment = client.get_experiment_by_name("winnow").experiment_id
        return list(client.search_runs([experiment], "tags.stage != 'grid'"))

    def points(self) -> dict[int, int]:
        """How often each step is there in the only run."""
        (run,) = self.runs()
        client = mlflow.MlflowClient(f"sqlite:///{self.folder}/server.db")
        history = client.get_metric_history(run.info.run_id, "train_loss")
        return dict(Counter(metric.step for metric in history))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that is not started yet, named by MLFLOW_TRACKING_URI."""
    made = Server(tmp_path / "server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.url)
    (tmp_path / "state").mkdir()
    yield made
    made.kill()


def training(tmp_path: Path, **changes: Any) -> Live:
    """The run of a training in the test's state folder."""
    return Live(DESCRIPTION | changes, tmp_path / "state")


def point(step: int) -> dict[str, float]:
    """A point of a curve."""
    return {"step": step, "tokens": 10 * step, "train_loss": 5 - step / 10}


def wait_for(condition: Any) -> None:
    """Wait for at most half a minute."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_away_at_the_start_and_in_the_middle(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with training(tmp_path) as live:
        live.point(point(1))
        wait_for(lambda: "the training goes on" in capsys.readouterr().err)
        server.start()
        live.point(point(2))
        wait_for(lambda: live._sent == {1, 2})
        server.kill()
        live.point(point(3))
        live.point(point(4))
        server.start()
        live.point(point(5))
        wait_for(lambda: live._sent == {1, 2, 3, 4, 5})
        assert "answers again" in capsys.readouterr().err
        server.kill()
        live.point(point(6))
    server.start()
    assert server.points() == dict.fromkeys(range(1, 6), 1)
    with training(tmp_path) as live:
        for step in range(1, 8):  # a resumed run makes them again, in another time
            live.point(point(step))
        wait_for(lambda: 7 in live._sent)
    assert server.points() == dict.fromkeys(range(1, 8), 1)
    (run,) = server.runs()
    assert run.info.status == "RUNNING" and run.data.params["recipe.learning_rate"] == "0.1"
    assert run.inputs.dataset_inputs[0].dataset.name == "high_40"


def test_the_machine_is_watched_beside_the_points(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    server.start()
    with training(tmp_path) as live:
        live.point(point(1))
        wait_for(lambda: live._sent == {1})
        wait_for(lambda: "system/cpu_utilization_percentage" in server.runs()[0].data.metrics)
    assert server.points() == {1: 1}


class Deaf:
    """A way to a server that passes requests on and loses the answers as long as it is told to;
    without a server it accepts and never answers."""

    def __init__(self, port: int | None) -> None:
        self.port, self.lose, self.lost = port, True, 0
        self.open: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self.listener.accept()
            self.open.append(client)
            if self.port:
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        """One request and its answer."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1)
        lines = [line.partition(b":") for line in head.split(b"\r\n")]
        length = next((int(v) for k, _, v in lines if k.lower() == b"content-length"), 0)
        body = b""
        while len(body) < length:
            body += client.recv(length - len(body))
        head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        kept = (line for line in head.split(b"\r\n") if line.lower() != b"connection: keep-alive")
        with socket.create_connection(("127.0.0.1", self.port or 0)) as server:
            server.sendall(b"\r\n".join(kept) + body)
            answer = b""
            while part := server.recv(65536):
                answer += part
        path = head.split(b"\r\n")[0]
        if self.lose and path.startswith((b"POST", b"PATCH")) and b"search" not in path:
            self.lost += 1
        else:
            client.sendall(answer)
        client.close()


def test_a_server_that_dies_between_accepting_and_answering(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a run nor a point is there twice, and each is there."""
    server.start()
    way = Deaf(server.port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", way.url)
    with training(tmp_path) as live:
        live.point(point(1))
        wait_for(lambda: way.lost > 3)
        way.lose = False
        live.point(point(2))
        wait_for(lambda: live._sent == {1, 2})
        way.lose, lost = True, way.lost
        live.point(point(3))
        wait_for(lambda: way.lost > lost + 2)
        way.lose = False
        live.point(point(4))
        wait_for(lambda: live._sent == {1, 2, 3, 4})
    assert server.points() == {1: 1, 2: 1, 3: 1, 4: 1}
    (run,) = server.runs()
    assert len(run.inputs.dataset_inputs) == 1


def test_a_server_that_hangs_stalls_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", Deaf(None).url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "state").mkdir()
    began = time.monotonic()
    with training(tmp_path) as live:
        for step in range(50):
            before = time.monotonic()
            live.point(point(step))
            assert time.monotonic() - before < 0.5
    assert time.monotonic() - began < 10
    assert live.close() is None and "the training goes on" in capsys.readouterr().err


def test_a_killed_run_is_continued_and_an_abandoned_one_is_closed(
    tmp_path: Path, server: Server
) -> None:
    server.start()
    killed = training(tmp_path)
    killed.__enter__()  # and no exit, as after a SIGKILL
    killed.point(point(1))
    wait_for(lambda: killed._sent == {1})
    with training(tmp_path, device="another cpu") as live:  # a param of a run never changes
        live.point(point(1))
        live.point(point(2))
        wait_for(lambda: 2 in live._sent)
    first = live.close()
    assert server.points() == {1: 1, 2: 1}
    assert server.runs()[0].data.params["device"] == "cpu"
    for path in (tmp_path / "state").iterdir():  # removed to start anew
        path.unlink()
    with pytest.raises(KeyboardInterrupt), training(tmp_path) as live:
        raise KeyboardInterrupt
    assert live.close() != first
    with pytest.raises(ArithmeticError), training(tmp_path) as live:
        raise ArithmeticError
    states = {run.info.run_id: run.info.status for run in server.runs()}
    assert states == {first: "KILLED", live.close(): "FAILED"}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"../../x", b"not a token"])
def test_a_token_that_is_none_is_made_anew(tmp_path: Path, server: Server, content: bytes) -> None:
    server.start()
    (tmp_path / "state/token").write_bytes(content)
    with training(tmp_path) as live:
        live.point(point(1))
        wait_for(lambda: live._sent == {1})
    (run,) = server.runs()
    assert run.data.tags["winnow.token"] == (tmp_path / "state/token").read_text() == live.token


def test_a_training_whose_record_has_to_wait(project: Path, server: Server) -> None:
    """Real processes: one is killed, the next one ends while the server is away, the last two
    come while the server loses its answers and when it works."""
    make_until("select")
    command = [sys.executable, "-m", "winnow", "train", "high_40_tiny", "--seed", "0"]
    server.start()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = project / ".winnow/train/high_40_tiny-0"
    while not list(state.glob("step-*")):
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.wait()
    server.kill()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("winnow train: models/high_40_tiny/0 is published, but its record is")
    assert last.endswith("; the same command with --skip-existing completes it")
    folder = project / "models/high_40_tiny/0"
    published = (folder / "card.json").stat().st_mtime_ns
    assert not state.exists()
    server.start()
    way = Deaf(server.port)
    lossy = os.environ | {"MLFLOW_TRACKING_URI": way.url}
    lost = subprocess.run(command, capture_output=True, text=True, env=lossy)
    assert lost.returncode == 2 and way.lost
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / "card.json").stat().st_mtime_ns == published
    curve = json.loads((folder / "train_results.json").read_text())["curve"]
    steps = {int(entry["step"]): 1 for entry in curve}
    assert server.points() == steps and len(steps) >= 10
    (run,) = server.runs()
    client = mlflow.MlflowClient(server.url)
    assert len(client.get_metric_history(run.info.run_id, "final_loss")) == 1
    assert run.info.status == "FINISHED" and not list((project / ".winnow/record").iterdir())
    (version,) = client.search_model_versions("name='high_40_tiny'")
    assert version.run_id == run.info.run_id and version.tags["seed"] == "0"


def test_an_evaluation_goes_on_without_the_server_and_is_recorded_once(
    project: Path, server: Server
) -> None:
    def run(stage: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "winnow", stage, "high_40_tiny", "--seed", "0"]
        return subprocess.run([*command, "--skip-existing"], capture_output=True, text=True)

    server.start()
    make_until("select")
    assert run("train").returncode == 0
    server.kill()
    away = run("evaluate")
    assert away.returncode == 2 and away.stderr.splitlines()[-1].startswith(
        "winnow evaluate: results/high_40_tiny/0 is published, but its record is not complete"
    )
    results = Path("results/high_40_tiny/0")
    published = (results / "card.json").stat().st_mtime_ns
    server.start()
    for _ in range(2):
        there = run("evaluate")
        assert there.returncode == 0 and "done and unchanged" in there.stdout
    assert (results / "card.json").stat().st_mtime_ns == published
    (judged,) = (run for run in server.runs() if run.data.tags["stage"] == "evaluate")
    assert judged.info.status == "FINISHED"
    loss = json.loads((results / "evaluation/metrics.json").read_text())["loss"]
    assert judged.data.metrics["test.loss"] == loss
