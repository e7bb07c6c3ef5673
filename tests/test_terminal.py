"""What the command line says, to whom it says it, and what it says where it cannot work.

pytest tests/test_terminal.py
"""

import os
import pty
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tiny import (
    ROOT,
    TINY,
    Winnow,
    change,
    corpus,
    make_until,
    wait_in_score,
    write_jsonl,
    write_params,
)

from winnow.core import cards, terminal

pytestmark = pytest.mark.slow

STAGES = ("ingest", "curate", "score", "select")


def closed(*descriptors: int) -> Callable[[], None]:
    """What a shell does for `>&-` and `2>&-`."""

    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    return close


def unread() -> int:
    """A pipe whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    return write


def hung_up() -> int:
    """A terminal whose other end has gone."""
    ours, theirs = pty.openpty()
    os.close(ours)
    return theirs


def full() -> int:
    """A file on a full disk."""
    return os.open("/dev/full", os.O_WRONLY)


def run(project: Path, *arguments: str, close: tuple[int, ...] = (), **streams: int) -> int:
    """Run a command to its end with these streams; its exit code."""
    command = [sys.executable, "-m", "winnow", *arguments]
    process = subprocess.Popen(command, cwd=project, preexec_fn=closed(*close), **streams)
    return process.wait(timeout=300)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the data stages publish where all that they say is read."""
    folder = tmp_path_factory.mktemp("read")
    write_params(folder, TINY)
    write_jsonl(folder / "data/a.jsonl", corpus())
    for stage in STAGES:
        assert run(folder, stage) == 0
    return {stage: (folder / "artifacts" / stage / "card.json").read_bytes() for stage in STAGES}


@pytest.mark.parametrize("close", [(1,), (2,), (0, 1, 2)], ids=str)
def test_streams_that_were_never_open_cost_no_work(
    close: tuple[int, ...], project: Path, undisturbed: dict[str, bytes]
) -> None:
    for stage in STAGES:
        assert run(project, stage, close=close) == 0
        folder = project / "artifacts" / stage
        assert (
            cards.is_complete(folder) and (folder / "card.json").read_bytes() == undisturbed[stage]
        )


@pytest.mark.parametrize("gone", [unread, hung_up])
def test_a_reader_that_goes_away_costs_no_work(
    gone: Callable[[], int], project: Path, undisturbed: dict[str, bytes]
) -> None:
    for stage in STAGES:
        assert run(project, stage, stdout=gone(), stderr=gone()) == 0
        assert (project / "artifacts" / stage / "card.json").read_bytes() == undisturbed[stage]


@pytest.mark.parametrize("reader", ["2>&1 | head -c 1", ">&- 2>&-"])
def test_a_training_and_its_evaluation_need_nobody_who_reads(reader: str, project: Path) -> None:
    change(project, "evaluate.tasks", None)
    make_until("select")
    for stage in ("train", "evaluate"):
        line = f"set -o pipefail; {sys.executable} -m winnow {stage} high_40_tiny --seed 0 {reader}"
        done = subprocess.run(["bash", "-c", line], cwd=project, capture_output=True, text=True)
        assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr
    assert cards.is_complete(project / "results/high_40_tiny/0")


def test_a_full_disk_for_its_words_is_one_line_after_the_work(project: Path) -> None:
    read, write = os.pipe()
    assert run(project, "ingest", stdout=full(), stderr=write) == 2
    os.close(write)
    said = os.read(read, 10_000).decode()
    assert said.splitlines()[-1].startswith("winnow ingest: No space left on device")
    assert "Traceback" not in said and cards.is_complete(project / "artifacts/ingest")
    assert run(project, "curate", stderr=full()) == 0


def test_no_error_has_more_than_500_characters(project: Path, winnow: Winnow) -> None:
    name = "high_" + "x" * 3000
    for arguments in (["train", name], ["select", name, "--what", name]):
        done = winnow(*arguments)
        line = done.stderr.splitlines()[-1]
        assert done.returncode == 2 and 200 < len(line) <= 500
    assert winnow("train", name).stderr.endswith(" all_100pct_1B_quick_3k_tokens\n")
    assert terminal.line("a\n b\tc\x1b[31m") == "a b c\\x1b[31m"
    assert terminal.line("begin" + "x" * 3000 + "advice") == f"begin{'x' * 244}…{'x' * 244}advice"


FOLDERS = (
    ".winnow",
    "artifacts",
    "artifacts/ingest",
    "artifacts/score",
    "models",
    "results",
    "analysis",
)


@pytest.mark.parametrize("path", FOLDERS)
def test_a_file_in_the_place_of_a_folder_is_named_first(
    path: str, project: Path, winnow: Winnow
) -> None:
    (project / path).parent.mkdir(exist_ok=True)
    (project / path).write_text("mine")
    done = winnow("ingest")
    said = f"winnow ingest: {path}: a file is in the place of a folder: move it away\n"
    assert done.returncode == 2 and done.stderr == said
    assert (project / path).read_text() == "mine"


def test_a_folder_is_never_put_in_the_place_of_a_file(project: Path) -> None:
    (project / "mine").write_text("mine")
    with pytest.raises(NotADirectoryError), cards.publish_folder(Path("mine"), {}):
        raise AssertionError("it began to work")
    assert (project / "mine").read_text() == "mine"


@pytest.mark.parametrize("gigabytes", [0.4, 1.3, 2.5])
def test_a_low_limit_of_addresses_is_one_line_in_every_stage(
    gigabytes: float, project: Path
) -> None:
    make_until("select")
    limit = int(gigabytes * 1e9)
    for stage in ("ingest", "curate", "score", "select", "train", "evaluate", "analyze"):
        names = ["high_40_tiny"] if stage in ("train", "evaluate") else []
        done = subprocess.run(
            [sys.executable, "-m", "winnow", stage, *names],
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        last = done.stderr.splitlines()[-1]
        assert done.returncode == 0 or (
            done.returncode == 2 and last.startswith(f"winnow {stage}: ")
        ), done.stderr[-3000:]


def score_on_ray(project: Path) -> subprocess.Popen[str]:
    """A score on a Ray of its own, which has begun and has work for minutes."""
    make_until("curate")
    environment = wait_in_score(project, "ray")
    process = subprocess.Popen(
        [sys.executable, "-m", "winnow", "score"],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (project / "begun").exists():
        assert process.poll() is None
        time.sleep(0.1)
    return process


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """A process and those that it started."""
    one = psutil.Process(process.pid)
    return [one, *one.children(recursive=True)]


def listening(processes: list[psutil.Process]) -> list[str]:
    """The addresses at which processes listen."""
    sockets = [socket for one in processes for socket in one.net_connections("inet")]
    return [one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN]


def test_ray_listens_on_loopback_and_a_part_of_it_that_is_killed_is_one_line(project: Path) -> None:
    process = score_on_ray(project)
    processes = family(process)
    addresses = listening(processes)
    assert len(addresses) > 4
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}
    (raylet,) = (one for one in processes if one.name() == "raylet")
    raylet.kill()
    _, said = process.communicate(timeout=100)
    # Ray ends the process by an exit of its own (1), or by what can be caught (2).
    assert process.returncode in (1, 2) and "Traceback" not in said
    assert said.count("engine: ray: a process of Ray was killed, which ends this one") == 1
    psutil.wait_procs(processes, timeout=10)
    for left in processes:
        if left.is_running():
            left.kill()
    write_params(project, TINY)
    assert run(project, "score") == 0


def test_mlflow_listens_on_loopback_alone(tmp_path: Path) -> None:
    command = ["make", "-s", "-f", str(ROOT / "Makefile"), "-o", ".venv", "ui", "PORT=0"]
    command.insert(1, f"BIN={Path(sys.executable).parent}")
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    try:
        addresses: list[str] = []
        end = time.monotonic() + 100
        while not addresses and time.monotonic() < end:
            time.sleep(0.5)
            addresses = listening(family(process))
        assert set(addresses) == {"127.0.0.1"}
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def test_dvc_keeps_its_pickles_where_no_other_user_writes(checkout: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["cp", "-r", checkout, clone], check=True)
    command = ["make", "-s", f"BIN={Path(sys.executable).parent}", "-o", ".venv/project"]
    subprocess.run([*command, ".dvc/tmp/site"], cwd=clone, check=True)
    (clone / "dvc.yaml").write_text(
        "stages: {a: {cmd: dvc config core.site_cache_dir > a.txt, outs: [a.txt]}}"
    )
    assert (clone / ".dvc/tmp/site").stat().st_mode & 0o777 == 0o700
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "commit", "-qam", "one stage"], cwd=clone, check=True)
    for command in (["dvc", "repro"], ["dvc", "exp", "run", "--temp", "-f"]):
        subprocess.run(command, cwd=clone, capture_output=True, check=True)
    assert (clone / "a.txt").read_text() == f"{clone}/.dvc/tmp/site\n"
    # One of the project, one of the experiment's copy of it.
    assert len(list((clone / ".dvc/tmp/site/repo").iterdir())) == 2
    ignored = subprocess.run(
        ["git", "status", "--porcelain", "-uno"], cwd=clone, capture_output=True
    )
    assert b".dvc/config" not in ignored.stdout
