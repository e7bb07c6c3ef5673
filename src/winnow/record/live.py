"""The points of a training while it runs, for whoever watches: no step and no result waits."""

import logging
import re
import socket
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any

from winnow.core import files


class Live:
    """The run of a training in progress; one that was killed goes on as the same run.

    A thread sends its points as long as the server takes them. What does not arrive is logged from
    what is published, by `record`, which finds the run by its token.
    """

    def __init__(self, description: Mapping[str, Any], state: Path) -> None:
        """Begin.

        Args:
            description: experiment_config.json; its plain values become params and tags.
            state: folder of the run's unfinished work; it remembers the token.
        """
        self._description, self._state = description, state
        self.token = _token(state / "token")
        """What tells this training's run from all others."""
        self._run_id = ""
        self._runs: Any = None
        self._machine: Any = None
        self._curve: list[tuple[int, Mapping[str, Any]]] = []
        self._sent: set[int] = set()
        self._is_away = self._is_closed = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Live":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # One that is published is ended by `record`.
        if self.close() and kind and not self._is_away:
            status = "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
            self._try(lambda: self._runs.client.set_terminated(self._run_id, status))

    def point(self, values: Mapping[str, Any]) -> None:
        """Send a point of the curve, some time."""
        self._curve.append((time.time_ns() // 1_000_000, values))
        self._wake.put(None)

    def close(self) -> str | None:
        """Send no more than what is under way; the run's id, None where no server told one."""
        self._is_closed = True
        self._wake.put(None)
        self._thread.join()
        return self._run_id or None

    def _work(self) -> None:
        self._try(self._open)
        while not self._is_closed:
            self._wake.get()
            self._try(self._send)
        if self._machine and not self._is_away:
            self._try(self._machine.finish)

    def _try(self, action: Callable[[], None]) -> None:
        """Whatever is wrong with the record, the training is not to die of it."""
        try:
            action()
        except Exception as error:
            is_missing = isinstance(error, ModuleNotFoundError)  # `record` says that
            if not self._is_away and not is_missing:
                cause = f"the record waits, the training goes on: {error}"
                print(f"train: {cause}", file=sys.stderr)
            self._is_away = True
        else:
            if self._is_away:
                print("train: the tracking server answers again", file=sys.stderr)
            self._is_away = False

    def _open(self) -> None:
        """Continue the run of this token, or create one; end those that were killed here."""
        from winnow.record.runs import Runs, reaching

        runs = Runs()
        with reaching():
            run_id = runs.cell("train", self._description, {"winnow.token": self.token})
            runs.client.update_run(run_id, "RUNNING")
            place = files.fingerprint([socket.gethostname(), str(self._state.resolve())])[:16]
            runs.client.set_tag(run_id, "winnow.folder", place)
            # No other process works in this folder: what else runs in its name was killed.
            here = f"tags.`winnow.folder` = '{place}' and attributes.status = 'RUNNING'"
            for other in runs.search(here):
                if other != run_id:
                    runs.client.set_terminated(other, "KILLED")
            runs.describe(run_id, "train", self._description)
            self._sent = runs.steps(run_id)
        self._runs, self._run_id = runs, run_id
        self._watch()

    def _watch(self) -> None:
        """Add the machine's load to the run, a point each 10 seconds."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        # That it starts, stops or cannot reach the server is no news.
        logging.getLogger(SystemMetricsMonitor.__module__).setLevel(logging.ERROR)
        self._machine = SystemMetricsMonitor(self._run_id, resume_logging=True)
        self._machine.start()

    def _send(self) -> None:
        """Send the points that the server does not have."""
        from winnow.record.runs import reaching

        if self._runs is None:
            self._open()
        missing = [point for point in self._curve if point[1]["step"] not in self._sent]
        with reaching():
            self._runs.log(self._run_id, missing)
        self._sent |= {point[1]["step"] for point in missing}


def _token(path: Path) -> str:
    """The token that a file remembers; a new one where it holds none."""
    text = path.read_bytes().decode(errors="replace") if path.exists() else ""
    if not re.fullmatch("[0-9a-f]{32}", text):
        text = uuid.uuid4().hex
        with files.atomic_file(path, "w") as file:
            file.write(text)
    return text
