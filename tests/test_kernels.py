"""Compiled kernels are kept, and compiled anew when what they call has changed elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tiny import ROOT

KERNEL = """
import numpy as np
from winnow.core.kernels import njit
from winnow.core.utf8 import code_point

@njit(cache=True)
def size(data):
    return code_point(data, 0)[1]

found = size(np.frombuffer(b"a", np.uint8))
print(found, len(size.stats.cache_hits))
"""


def _run(package: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    command = [sys.executable, "-m", "winnow.score.probe"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_changed_function_of_another_module_is_seen(tmp_path: Path) -> None:
    package = tmp_path / "winnow"
    shutil.copytree(ROOT / "src/winnow", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "score/probe.py").write_text(KERNEL)
    assert [_run(package), _run(package)] == ["1 0", "1 1"]
    source = package / "core/utf8.py"
    source.write_text(source.read_text().replace("return first, 1\n", "return first, 100\n"))
    assert [_run(package), _run(package)] == ["100 0", "100 1"]


def test_every_kernel_is_kept_that_way() -> None:
    importers = [
        path.name for path in (ROOT / "src").rglob("*.py") if "numba import" in path.read_text()
    ]
    assert importers == []
