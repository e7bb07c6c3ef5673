"""studies/scores: its grid, and the rows that it is made of."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML
from tiny import ROOT

from winnow.core.experiments import experiment_names, resolve

STUDY = ROOT / "studies/scores"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_score_has_its_rows_and_random_rows_of_their_lengths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(STUDY)
    arms = {arm.tier_name: arm.tier for arm in resolve(experiment_names())}
    tops = {name: tier for name, tier in arms.items() if tier.rule == "top"}
    scorers = YAML(typ="safe").load(Path("params.yaml"))["score"]["scorers"]
    columns = {one.get("as", one["name"]) for one in scorers}
    assert {name.removesuffix("_250") for name in tops} == columns
    assert {name: tier.of for name, tier in arms.items() if tier.of} == {
        f"like_{name}": name for name in tops
    }
    assert {*arms} - {*tops} - {f"like_{name}" for name in tops} == {"all_100pct"}


def test_the_graders_choice_stands_beside_the_rows(tmp_path: Path) -> None:
    rows = [{"instruction": f"Do {n}", "input": "", "response": f"Done {n}"} for n in range(6)]
    sets = tmp_path / "sets"
    sets.mkdir()
    pd.DataFrame(rows).to_parquet(sets / "alpaca_random_9k.parquet")
    chosen = pd.DataFrame([rows[1], rows[4], rows[5], {**rows[0], "input": "else"}])
    chosen.to_parquet(sets / "alpaca_claude_t45.parquet")
    pd.DataFrame(rows[:2]).to_parquet(sets / "self_instruct_seed_tasks.parquet")
    script = tmp_path / "rows.py"
    script.write_text((STUDY / "rows.py").read_text())
    subprocess.run([sys.executable, str(script), str(sets), "5"], check=True)
    corpus = read(tmp_path / "data/alpaca.jsonl")
    assert [row["claude"] for row in corpus] == [0, 1, 0, 0, 1]
    with (tmp_path / "labels.csv").open() as file:
        labels = {row["id"]: row["label"] for row in csv.DictReader(file)}
    assert labels == {"alpaca.jsonl:1": "0", "alpaca.jsonl:3": "0", "alpaca.jsonl:5": "1"}
    assert read(tmp_path / "target.jsonl") == rows[:2]
