"""Runs inside of the sandbox, on the standard library alone: one side of a solution's test.

`solve` defines the function that a model wrote in /program.py and answers calls of it; `judge` runs
the tests in its own /program.py, in a sandbox of its own, and calls over a pipe. Only values that
a literal can write go to and fro: code that exits, prints, or returns an object that equals
everything reaches nothing that decides. The exit status of `judge` is the verdict.
"""

import ast
import os
import resource
import sys
from typing import Any

MEGABYTE = 2**20
LIMITS = {"AS": 512 * MEGABYTE, "CPU": 10, "FSIZE": 0, "NOFILE": 32, "CORE": 0}
"""Of the address space in bytes, seconds of a processor, bytes of a file, open files, bytes of a
core dump."""
LONGEST = 4 * MEGABYTE
"""Characters of an answer."""


def plain(value: Any) -> Any:
    """The same value made of the plain types that a literal can write, where it is made of them."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, set | frozenset):
        return {plain(item) for item in value}
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def main(role: str, entry_point: str) -> None:
    """Answer calls until the pipe closes, or run the tests."""
    for name, limit in LIMITS.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    receive, send = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for descriptor in (0, 1):  # what the code prints or reads is nobody's
        os.dup2(2, descriptor)
    with open("/program.py", encoding="utf-8") as file:
        code = compile(file.read(), "program", "exec")
    names: dict[str, Any] = {}

    def call(*arguments: Any) -> Any:
        print(ascii(arguments), file=send, flush=True)
        returned, value = ast.literal_eval(receive.readline(LONGEST))
        if not returned:
            raise RuntimeError(value)
        return value

    exec(code, names)
    if role == "judge":
        names[entry_point] = call
        names["check"](call)
        return
    for line in receive:
        try:
            reply = True, plain(names[entry_point](*ast.literal_eval(line)))
        except Exception as error:
            reply = False, type(error).__name__
        print(ascii(reply), file=send, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
