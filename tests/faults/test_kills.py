"""SIGKILL before every commit point and at random moments: the next run ends in the same bytes.

pytest tests/faults/test_kills.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faults import kills
from tiny import GENERATE, ROOT, make_until, write_params

pytestmark = pytest.mark.slow

RECIPES: Any = GENERATE["recipes"]


@pytest.mark.parametrize(
    ("stage", "before", "points", "moments"),
    [
        ("generate", "", 6, 1),
        ("ingest", "", 0, 3),
        ("curate", "ingest", 6, 3),
        ("score", "curate", 12, 3),
        ("select", "score", 6, 3),
    ],
)
def test_killed_anywhere(project: Path, stage: str, before: str, points: int, moments: int) -> None:
    """All points of ingest, and some of the others: benchmarks/reliability.py goes through all."""
    if before:
        make_until(before)
    if stage == "generate":
        few = {name: one | {"shards": 2, "requests": 4} for name, one in RECIPES.items()}
        write_params(project, {"generate": GENERATE | {"recipes": few}})
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, kills.__file__, stage, str(points), str(moments)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    at_points = [kill for kill in found if kill["point"]]
    assert len(at_points) >= 6 and all(kill["killed"] for kill in at_points)
    assert any(kill["left"] for kill in found) == (stage == "curate")
    for kill in found:
        assert kill["whole"] and kill["resumed"] and kill["equal"] and not kill["debris"], kill
