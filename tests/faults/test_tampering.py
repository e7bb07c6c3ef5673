"""What was changed between two stages is refused in one line, or made again: never used.

pytest tests/faults/test_tampering.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults import tampering
from tiny import ROOT

pytestmark = pytest.mark.slow

CASES = 48
"""Of about 600, drawn at random: benchmarks/reliability.py goes through all."""


def test_what_is_read_is_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "grid").mkdir()
    done = subprocess.run(
        [sys.executable, tampering.__file__, str(CASES)],
        cwd=tmp_path / "grid",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests")))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == CASES
    for case in found:
        again = "--skip-existing" in case["command"]
        assert case["fate"] == ("made again" if again else "refused"), case
