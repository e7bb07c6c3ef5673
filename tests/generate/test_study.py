"""The study of recipes runs as its page says, in a clone.

pytest tests/generate/test_study.py
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML
from tiny import ROOT, write_params

from winnow.core.files import read_json

STUDY = Path("studies/duplication")


KEPT = ("documented", "best", "textbook")
"""Arms of the test: of one recipe, of one with a critic, of people."""


def shorten(path: Path) -> None:
    """Two recipes of few requests, two seeds, and trainings of some steps."""
    params = YAML(typ="safe").load(path.read_text().replace("40k_tokens", "2k_tokens"))
    params["seeds"] = [0, 1]
    params["experiments"] = [one for one in params["experiments"] if one.startswith(KEPT)]
    recipes = params["generate"]["recipes"]
    params["generate"]["recipes"] = {
        name: one | {"requests": 8, "shards": 4} for name, one in recipes.items() if name in KEPT
    }
    params["curate"] |= {"validation": 10, "test": 20}
    write_params(path.parent, params)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_recipes_are_set_beside_each_other(checkout: Path, tmp_path: Path) -> None:
    clone = tmp_path / "winnow"
    shutil.copytree(checkout, clone)
    shorten(clone / STUDY / "params.yaml")
    (commands,) = re.findall(r"```bash\n(.*?)```", (ROOT / STUDY / "README.md").read_text(), re.S)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=clone,
        env=os.environ | {"PYTHONPATH": str(clone / "src")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = read_json(clone / STUDY / "artifacts/generate/report.json")
    assert len(told) == 2 and all(one["outcome"]["candidates"] == 32 for one in told.values())
    assert "share of candidates" in done.stdout and "in 4 shards are unique" in done.stdout

    found = read_json(clone / STUDY / "analysis/analysis.json")
    answers = found["winnow.analyze.questions.recipes:ask"]
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in lines] == ["recipe", "---", *KEPT]
    assert answers["textbook"]["unique"] is None and answers["documented"]["less_loss"] is None
    best, documented = answers["best"], answers["documented"]
    assert best["score"]["value"] > documented["score"]["value"]  # its critic chose by it
    assert best["tokens_per_unique"] > documented["tokens_per_unique"]
    difference = documented["loss"]["value"] - best["loss"]["value"]
    assert best["less_loss"]["value"] == pytest.approx(difference)
    test = pq.read_table(clone / STUDY / "artifacts/curate/test.parquet")
    assert set(test["source"].to_pylist()) == {"textbook"} and len(test) == 20
