"""What a model wrote goes up to tiers by the lines of docs/generate.md, as any corpus does.

pytest tests/generate/test_generated_corpus.py
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from datasets import load_from_disk
from ruamel.yaml import YAML
from tiny import GENERATE, ROOT, write_params

from winnow.core.files import read_json


def shown() -> tuple[dict[str, Any], str]:
    """The keys and the commands below "A corpus like any other"."""
    text = (ROOT / "docs/generate.md").read_text().split("**A corpus like any other.**")[1]
    found = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    (yaml, keys), (bash, commands) = found[:2]
    assert (yaml, bash) == ("yaml", "bash")
    return YAML(typ="safe").load(keys), commands


@pytest.mark.slow
def test_generated_rows_become_tiers_by_the_documented_lines(project: Path) -> None:
    """Beside the documented keys only sizes are lowered."""
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    keys, commands = shown()
    for section, values in keys.items():
        params[section] = params[section] | values if isinstance(values, dict) else values
    recipe = GENERATE["recipes"]["plain"] | {"shards": 2, "requests": 16}
    recipes = {"documented": recipe, "hotter": recipe | {"temperature": 1.0}}
    params["generate"] = GENERATE | {"recipes": recipes}
    params["curate"] |= {"validation": 2, "test": 4, "vocab_size": 320}
    write_params(project, params)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = {path.parent.name: path for path in Path("artifacts/generate/rows").rglob("*.jsonl")}
    assert set(made) == {*recipes}
    statistics = read_json(Path("artifacts/select/statistics.json"))
    pool = 0
    for name in recipes:
        rows = load_from_disk(f"artifacts/select/{name}_100pct")["train"]
        assert (
            set(rows["source"]) == {name} and len(rows) == statistics[f"{name}_100pct"]["num_rows"]
        )
        pool += len(rows)
    curated = read_json(Path("artifacts/curate/card.json"))["ledger"]
    assert curated["rows_out"] == pool > 0 and curated["held_out"] == 6
    assert "all_100pct" in {name.partition("/")[0] for name in statistics}
