"""What code that a model wrote tries in the sandbox, and that none of it gets anywhere."""

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny import ROOT, need

from winnow.evaluate import sandbox

GOOD = "def f(x):\n    return x + 1\n"
TESTS = "def check(f):\n    assert f(1) == 2\n    assert f(5) == 6\n"


@pytest.fixture(autouse=True)
def bubblewrap() -> None:
    """Skip or fail where bwrap is not installed."""
    need(shutil.which("bwrap") is not None, "bubblewrap is not installed")


@pytest.fixture
def no_process_left() -> Iterator[None]:
    """All that a test started is gone soon after it."""
    before = set(psutil.Process().children(recursive=True))
    yield
    started = set(psutil.Process().children(recursive=True)) - before
    assert not psutil.wait_procs(started, timeout=5)[1]


def plain_run(attack: str) -> Any:
    """What the attack finds without a sandbox: proof that it would find something."""
    names: dict[str, Any] = {}
    exec(attack, names)
    return names["f"]()


def contained(attack: str) -> bool:
    """Whether `f` of an attack comes back from the sandbox with nothing in its hands."""
    return sandbox.passes(attack, "def check(f):\n    assert f() == []\n", "f")


def test_right_and_wrong_solutions() -> None:
    sandbox.demand()
    assert sandbox.passes(GOOD, TESTS, "f")
    assert not sandbox.passes(GOOD.replace("1", "2"), TESTS, "f")
    assert not sandbox.passes("def f(x:", TESTS, "f")
    assert not sandbox.passes("def g(x): return x + 1", TESTS, "f")
    assert not sandbox.passes("a\x00b", TESTS, "f")
    rich = "import collections\ndef f():\n    return collections.Counter('aa'), {1}, -1e9, None"
    said = "def check(f):\n    assert f() == ({'a': 2}, {1}, -1e9, None)"
    assert sandbox.passes(rich, said, "f")


def test_files_environment_and_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / ".ssh/id_ed25519"
    key.parent.mkdir()
    key.write_text("canary")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SECRET_API_KEY", "canary")
    paths = [str(key), str(ROOT / "pyproject.toml"), "/etc/passwd", "/proc/self/environ", "/sys"]
    paths += ["/proc/1/cmdline", "/dev/shm", "/tmp", str(Path.home() / ".ssh"), os.getcwd()]
    read = f"""
import os
def f():
    found = [path for path in {paths} if os.path.exists(path)]
    found += [value for value in os.environ.values() if "canary" in value]
    for number in range(5, 1024):
        try:
            os.fstat(number)
            found.append(number)
        except OSError:
            pass
    return found
"""
    with key.open() as file:
        os.set_inheritable(file.fileno(), True)
        assert {*paths, "canary", file.fileno()} <= {*plain_run(read)}
        assert contained(read)


def test_nothing_can_be_written(tmp_path: Path) -> None:
    folders = [str(tmp_path), "/", "/tmp", "/dev/shm", "/root", "/usr/lib", sys.base_prefix]
    write = f"""
import os
def f():
    found = []
    for folder in {folders}:
        try:
            with open(os.path.join(folder, "winnow_was_here"), "wb") as file:
                found.append(folder)
                for _ in range(10 * 1024):
                    file.write(bytes(1024 * 1024))
        except OSError:
            pass
    return found + [name for name in ("/untrusted.py", "/program.py") if os.access(name, os.W_OK)]
"""
    small = write.replace(str(folders), str([str(tmp_path)])).replace("10 * 1024", "1")
    assert plain_run(small) == [str(tmp_path)]
    (tmp_path / "winnow_was_here").unlink()
    assert contained(write)
    assert not any((Path(folder) / "winnow_was_here").exists() for folder in folders)


def test_there_is_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"""
import socket
def f():
    found = []
    for family in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_VSOCK", "AF_NETLINK", "AF_ALG"):
        try:
            socket.socket(getattr(socket, family))
            found.append(family)
        except OSError:
            pass
    try:
        socket.create_connection({server.getsockname()}, 2)
        found.append("connected")
    except OSError:
        pass
    return found
"""
        assert {"AF_INET", "connected"} <= {*plain_run(connect)}
        server.accept()[0].close()
        assert contained(connect)
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


BOMBS = {
    "fork": "import os\n    while True: os.fork()",
    "thread": "import threading, time\n    while True: "
    "threading.Thread(target=time.sleep, args=[99]).start()",
    "spawn": "import subprocess\n    subprocess.Popen(['/bin/sh', '-c', 'sleep 99'])",
    "daemon": "import os, sys\n    pid = os.fork()\n    os.setsid()\n    os.fork()",
    "memory": "x = bytearray(10**10)",
    "list": "x = []\n    while True: x.append(bytes(10**7))",
    "recursion": "return f(x)",
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.usefixtures("no_process_left")
def test_bombs_do_not_go_off(bomb: str) -> None:
    """Each is refused at once: what comes back is an error, not the end of the time."""
    attack = f"def f(x):\n    {BOMBS[bomb]}\n"
    started = time.monotonic()
    assert not sandbox.passes(attack, TESTS, "f")
    assert time.monotonic() - started < 5
    caught = f"def g(x):\n    {BOMBS[bomb].replace('f(x)', 'g(x)')}\n" + (
        "def f(x):\n    try:\n        g(x)\n    except BaseException as error:\n"
        "        return [type(error).__name__]\n    return ['went off']\n"
    )
    refusals = [
        "BlockingIOError",
        "PermissionError",
        "RuntimeError",
        "MemoryError",
        "RecursionError",
    ]
    said = f"def check(f):\n    assert f(1)[0] in {refusals}\n"
    assert sandbox.passes(caught, said, "f")


@pytest.mark.parametrize(
    "loop",
    ["while True: pass", "import time; time.sleep(99)", "input()", "import signal; signal.pause()"],
)
@pytest.mark.usefixtures("no_process_left")
def test_time_is_limited(loop: str) -> None:
    started = time.monotonic()
    assert not sandbox.passes(f"def f(x):\n    {loop}\n", TESTS, "f", seconds=1)
    assert time.monotonic() - started < 4


@pytest.mark.usefixtures("no_process_left")
def test_an_endless_answer_is_cut() -> None:
    flood = "import os\ndef f(x):\n    while True:\n        os.write(4, b'(' * 65536)\n"
    before = psutil.Process().memory_info().rss
    assert not sandbox.passes(flood, TESTS, "f")
    assert psutil.Process().memory_info().rss - before < 50e6


KILL = """
import os, signal
def f(x):
    for target in (os.getppid(), 1, -1, 0, *range(2, 100)):
        try:
            os.kill(target, signal.SIGKILL)
        except OSError:
            pass
    return x + 1
"""


def test_it_kills_nobody_else() -> None:
    other = subprocess.Popen(["sleep", "60"])
    sandbox.passes(KILL, TESTS, "f")
    assert other.poll() is None
    other.kill()
    other.wait()


FAKES = {
    "exit": "import os\n    os._exit(0)",
    "sys.exit": "import sys\n    sys.exit(0)",
    "print": "print('passed')\n    print((True, 2), flush=True)\n    return 0",
    "equal": "return type('E', (), {'__eq__': lambda self, other: True})()",
    "equal int": "return type('E', (int,), {'__eq__': lambda self, other: True})()",
    "on the pipe": "import os\n    os.write(4, b'(True, 2)\\n' * 9)\n    return 0",
    "code on the pipe": "import os\n    os.write(4, b'__import__(\"os\")._exit(0)\\n')",
    "the tests": "return open('/program.py').read().index('assert f(1) == ') and 2",
    "frames": "import sys\n    frame = sys._getframe()\n    while frame:\n        "
    "frame.f_globals.update(check=print)\n        frame = frame.f_back\n    return 0",
    "builtins": "import builtins\n    builtins.AssertionError = None\n    return 0",
}


@pytest.mark.parametrize("fake", FAKES)
def test_a_pass_cannot_be_faked(fake: str) -> None:
    assert not sandbox.passes(f"def f(x):\n    {FAKES[fake]}\n", TESTS, "f")
    assert not sandbox.passes(f"{FAKES[fake]}\n".replace("\n    ", "\n"), TESTS, "f")


def test_system_calls_that_namespaces_do_not_hold() -> None:
    numbers = sandbox.REFUSED[os.uname().machine][1]
    attack = f"""
import ctypes
def f():
    libc, found = ctypes.CDLL(None, use_errno=True), []
    for number in {numbers}:
        ctypes.set_errno(0)
        if libc.syscall(number, 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1:
            found.append(number)
    return found
"""
    assert contained(attack)


def test_it_dies_with_its_parent() -> None:
    code = "from winnow.evaluate import sandbox\n"
    code += "sandbox.passes('def f(x):\\n    while True: pass', 'def check(f): f(1)', 'f')"
    path = {"PYTHONPATH": str(ROOT / "src")}
    parent = psutil.Popen([sys.executable, "-c", code], env=os.environ | path)
    below: list[psutil.Process] = []
    for _ in range(100):
        below = parent.children(recursive=True)
        if len(below) == 6:  # bwrap, its first process and Python, twice
            break
        time.sleep(0.1)
    assert len(below) == 6
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert not psutil.wait_procs(below, timeout=5)[1]


FORK = "import os\ndef f(x):\n    os.fork()\n    return x + 1\n"


def test_a_plain_user_has_the_same() -> None:
    need(os.geteuid() == 0 and os.access("/usr/bin/python3", os.X_OK), "not root, or no Python")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for name in ("sandbox.py", "untrusted.py"):
            shutil.copyfile(ROOT / "src/winnow/evaluate" / name, Path(folder) / name)
        for name in ("__init__.py", "core/__init__.py", "core/errors.py"):
            copy = Path(folder) / "winnow" / name
            copy.parent.mkdir(mode=0o755, exist_ok=True)
            shutil.copyfile(ROOT / "src/winnow" / name, copy)
        code = "import sandbox; sandbox.demand(); assert not sandbox.passes("
        code += f"{FORK!r}, {TESTS!r}, 'f'); print(sandbox.os.getuid())"
        done = subprocess.run(
            ["/usr/bin/python3", "-B", "-c", code],
            cwd=folder,
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout == "65534\n", done.stderr


def test_no_sandbox_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="bwrap is missing"):
        sandbox.demand()
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'no namespaces here' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    with pytest.raises(ValueError, match=r"cannot make one here \(no namespaces here\)"):
        sandbox.demand()


def test_reference_solutions_of_human_eval(winnow_data: Path) -> None:
    with gzip.open(winnow_data / "benchmarks/humaneval/HumanEval.jsonl.gz", "rt") as file:
        problems = [json.loads(line) for line in file]
    for problem in problems[32::18]:  # the first one's tests call a function of its prompt
        prompt, name = problem["prompt"], problem["entry_point"]
        tests = f"{prompt}\n{problem['test']}"
        assert sandbox.passes(prompt + problem["canonical_solution"], tests, name), name
        assert not sandbox.passes(f"{prompt}    return None\n", tests, name), name
