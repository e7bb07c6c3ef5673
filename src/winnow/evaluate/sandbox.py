"""Code that a model wrote, run where it can do no harm: bubblewrap, or not at all.

Namespaces of its own (user, pid, network, mount, IPC, UTS), a file system with the interpreter on
it and nothing that can be written, no environment, no descriptors but two pipes and /dev/null,
limits (`untrusted.LIMITS`), a wall clock, and a filter of system calls: one process without
threads, no sockets, no shared memory, no tracing. Killed as a whole.
"""

import contextlib
import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from winnow.core.errors import Refusal

SECONDS = 15.0
"""Of the wall clock that one solution has, the start of two interpreters included."""

REFUSED = {
    "x86_64": (
        0xC000003E,
        # clone fork vfork clone3 unshare setns | socket socketpair io_uring_setup
        (56, 57, 58, 435, 272, 308, 41, 53, 425)
        # memfd_create shmget semget msgget mq_open | ptrace process_vm_readv, _writev kcmp
        + (319, 29, 64, 68, 240, 101, 310, 311, 312)
        # add_key request_key keyctl | bpf perf_event_open userfaultfd
        + (248, 249, 250, 321, 298, 323),
    ),
    "aarch64": (
        0xC00000B7,
        (220, 435, 97, 268, 198, 199, 425)
        + (279, 194, 190, 186, 180, 117, 270, 271, 272)
        + (217, 218, 219, 280, 241, 282),
    ),
}
"""By machine: its name for seccomp (AUDIT_ARCH) and the numbers of the system calls refused."""


def _filter(machine: str) -> bytes:
    """The classic BPF program (seccomp(2)) that answers these calls with EPERM."""
    architecture, refused = REFUSED[machine]
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    kill, deny, allow = 0x80000000, 0x00050001, 0x7FFF0000
    far = len(refused)  # from the first comparison to the last line
    program = [(load, 0, 0, 4), (equal, 1, 0, architecture), (answer, 0, 0, kill)]
    program += [(load, 0, 0, 0), (at_least, far + 1, 0, 2**30)]  # from there on: x86's x32
    program += [(equal, far - place, 0, call) for place, call in enumerate(refused)]
    program += [(answer, 0, 0, allow), (answer, 0, 0, deny)]
    return b"".join(struct.pack("=HBBI", *line) for line in program)


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[int]:
    """A descriptor of a file without a name."""
    descriptor = os.memfd_create("winnow")
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _sandboxed(
    role: str,
    program: str,
    entry_point: str,
    stdin: int,
    stdout: int,
    stderr: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """`untrusted.py` in a sandbox, killed when the block ends."""
    python = os.path.realpath(sys.executable)
    libraries = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", f"{sys.base_prefix}/lib")
    command = [shutil.which("bwrap") or "bwrap", "--unshare-user", "--unshare-all"]
    command += ["--uid", "65534", "--gid", "65534"]
    command += ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    for path in (*libraries, "/etc/ld.so.cache", python):
        command += ["--ro-bind-try", path, path]
    command += ["--ro-bind", str(Path(__file__).with_name("untrusted.py")), "/untrusted.py"]
    source = program.encode("utf-8", "replace")
    with _file(source) as code, _file(_filter(platform.machine())) as refused:
        command += ["--ro-bind-data", str(code), "/program.py", "--seccomp", str(refused)]
        command += ["--remount-ro", "/", "--chdir", "/"]
        process = subprocess.Popen(
            [*command, python, "-I", "-S", "/untrusted.py", role, entry_point],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(code, refused),
            env={},
        )
    try:
        yield process
    finally:
        process.kill()  # of bwrap: the rest of its process namespace dies with it
        process.wait()


def passes(solution: str, tests: str, entry_point: str, seconds: float = SECONDS) -> bool:
    """Whether a solution passes its tests.

    Args:
        solution: Python that defines the function `entry_point`; nothing in it is trusted.
        tests: Python that defines `check(candidate)`, which raises where an answer is wrong.
        entry_point: the function's name.
        seconds: of the wall clock; a solution that takes longer has failed.
    """
    ends = [*os.pipe(), *os.pipe()]
    try:
        solver = _sandboxed("solve", solution, entry_point, ends[0], ends[3])
        judge = _sandboxed("judge", tests, entry_point, ends[2], ends[1])
        with solver, judge as verdict:
            while ends:  # so that each side sees the other's end
                os.close(ends.pop())
            with contextlib.suppress(subprocess.TimeoutExpired):
                return verdict.wait(seconds) == 0
            return False
    finally:
        for descriptor in ends:
            os.close(descriptor)


def demand() -> None:
    """See that a sandbox can be had.

    Raises:
        Refusal: it cannot, and why.
    """
    refusal = "params.yaml: evaluate.run_code: code is run in a sandbox or not at all"
    if platform.machine() not in REFUSED or sys.platform != "linux":
        raise Refusal(f"{refusal}: none for {sys.platform} on {platform.machine()}")
    if shutil.which("bwrap") is None:
        raise Refusal(f"{refusal}: bwrap is missing (apt install bubblewrap)")
    said = "def check(f): assert f(1) == 2"
    if not passes("def f(x): return x + 1", said, "f") or passes("def f(x): return 3", said, "f"):
        raise Refusal(f"{refusal}: bwrap cannot make one here ({_complaint()})")


def _complaint() -> str:
    with _sandboxed(
        "judge", "def check(f): pass", "f", subprocess.DEVNULL, subprocess.DEVNULL, subprocess.PIPE
    ) as process:
        lines = process.communicate(timeout=SECONDS)[1].decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line), "it says nothing")
