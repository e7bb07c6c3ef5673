"""Environments of other tools, which are no dependencies of the project, in a cache folder."""

import os
import subprocess
import sys
from pathlib import Path


def python_of(name: str, *requirements: str) -> str | None:
    """The interpreter of an environment that holds these packages and is made when it is missing.

    Args:
        name: the environment's folder in $XDG_CACHE_HOME/winnow.
        requirements: as pip reads them; an environment of others is made anew.

    Returns:
        the interpreter's path; None, after the reason was printed, if pip cannot install them.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "winnow" / name
    python, ready = cache / "bin/python", cache / "ready"
    if not ready.exists() or ready.read_text().split() != list(requirements):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(cache)], check=True)
        command = [str(python), "-m", "pip", "install", "-q", *requirements]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{name} is left out: {done.stderr.strip().splitlines()[-1]}")
            return None
        ready.write_text("\n".join(requirements))
    return str(python)
