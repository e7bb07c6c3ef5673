"""Random wrong versions of params.yaml: each is refused in one line and in a moment.

pytest tests/faults/test_wrong_params.py    (2,000 of them: make bench-params)
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from faults.wrong_params import TEXTS, wrong_params
from ruamel.yaml import YAML
from tiny import ROOT, TINY, Winnow

from winnow import STAGES, check
from winnow.__main__ import user_reason


def seconds_to_refuse(data: bytes, stage: str) -> float:
    """Of processor time, 0 for a file that is taken; what is no refusal is raised."""
    Path("params.yaml").write_bytes(data)
    began = time.process_time()
    try:
        check.before(stage)
    except Exception as error:
        if not user_reason(error):
            raise
        return time.process_time() - began
    return 0.0


@pytest.mark.parametrize("base", ["tiny", "shipped"])
def test_every_wrong_file_is_refused_before_anything_works(project: Path, base: str) -> None:
    (project / "corpora").symlink_to(ROOT / "corpora")
    params: Any = json.loads(json.dumps(TINY))
    if base == "shipped":
        params = YAML(typ="safe").load(ROOT / "params.yaml")
    times = [
        seconds_to_refuse(data, [*STAGES][place % len(STAGES)])
        for place, data in enumerate(wrong_params(params, 80, seed=1))
    ]
    assert sum(map(bool, times)) > 50
    assert max(times) < 2


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_a_file_that_is_no_params_is_refused_in_a_moment(project: Path, text: str) -> None:
    for data in (text.encode(), (project / "params.yaml").read_bytes() + b"\n" + text.encode()):
        assert seconds_to_refuse(data, "ingest") < 2


def test_a_bomb_and_a_pipe_are_one_line_of_the_command(project: Path, winnow: Winnow) -> None:
    for text in (TEXTS[-1], TEXTS[-2], TEXTS[-3], "seeds: [\ud800]", "seeds: [" + "9" * 99 + "]"):
        (project / "params.yaml").write_bytes(text.encode(errors="surrogatepass"))
        done = winnow("ingest")
        assert done.returncode == 2 and done.stderr.startswith("winnow ingest: params.yaml")
        assert done.stderr.count("\n") == 1 and len(done.stderr) < 500
    (project / "params.yaml").unlink()
    os.mkfifo(project / "params.yaml")
    assert "params.yaml is missing or no file" in winnow("ingest").stderr
