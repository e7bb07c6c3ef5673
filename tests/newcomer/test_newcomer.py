"""What a newcomer adds is one file of a package of their own and one line of params.yaml.

pytest tests/newcomer
"""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_from_disk
from tiny import TINY, Winnow, write_params

pytestmark = pytest.mark.slow

RULE = '''
"""Tiers of the shortest responses."""

import pandas as pd

from winnow.core.rules import Rule
from winnow.select.pool import Pool


def choose(pool: Pool) -> pd.Index:
    return pool.first(pool.rows["num_response_words"], pool.number)


shortest = Rule(
    phrase="the {} shortest rows",
    adjective="shortest",
    description="the shortest responses",
    choose=choose,
)
'''

SCORER = '''
"""The share of capital letters in a response: the fewer, the better."""

from dataclasses import dataclass

from winnow.core.params import Text
from winnow.score.scorers import Scorer


@dataclass(frozen=True, kw_only=True)
class Calm:
    without: Text = "none"


def score(rows, keys):
    return [
        sum(map(str.isupper, row.response)) / len(row.response) if "." in row.response[:-1]
        else keys.without
        for row in rows
    ]


calm = Scorer(score=score, best="lowest", settings=Calm)
'''

STEP = '''
"""Rows whose response has too few words."""

from dataclasses import dataclass

from winnow.core.params import Count
from winnow.core.records import Row
from winnow.curate.verdict import per_row


@dataclass(frozen=True, kw_only=True)
class Brief:
    words: Count = 10


@per_row
def brief(row: Row, numbers: Brief) -> str | None:
    return "brief" if len(row.response.split()) < numbers.words else None
'''


@pytest.fixture
def package(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own on PYTHONPATH."""
    folder = tmp_path_factory.mktemp("package")
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    return folder


def declare(project: Path, tier: dict[str, Any], **sections: Any) -> None:
    """One more tier, `mine_20`, and an experiment of it."""
    select = {"tiers": TINY["select"]["tiers"] | {"mine_20": tier | {"recipe": "quick"}}}  # type: ignore[index]
    experiments = {"experiments": ["mine_20_tiny"], "select": select}
    write_params(project, TINY | experiments | sections)


def run(winnow: Winnow, *stages: str) -> None:
    for stage in stages:
        done = winnow(stage)
        assert done.returncode == 0, done.stderr


def test_a_subset_rule(project: Path, package: Path, winnow: Winnow) -> None:
    (package / "mine.py").write_text(RULE)
    declare(project, {"rule": "mine:shortest", "count": 20})
    run(winnow, "ingest", "curate", "score", "select")
    lengths = pq.read_table("artifacts/score/train.parquet")["num_response_words"].to_pylist()
    chosen = load_from_disk("artifacts/select/mine_20")["train"]["response"]
    assert sorted(len(text.split()) for text in chosen) == sorted(lengths)[:20]
    card = json.loads(Path("artifacts/select/experiments/mine_20_tiny.json").read_text())
    assert card["tier"]["rule"] == card["data"]["mine_20"]["rule"] == "mine:shortest"


def test_a_scorer(project: Path, package: Path, winnow: Winnow) -> None:
    (package / "mine.py").write_text(SCORER)
    scorers = {"scorers": [{"name": "mine:calm", "without": "one sentence"}]}
    declare(project, {"rule": "top", "by": "calm", "count": 20}, score=scorers)
    run(winnow, "ingest", "curate", "score", "select")
    table = pq.read_table("artifacts/score/train.parquet")
    responses = pq.read_table("artifacts/curate/train.parquet")["response"].to_pylist()
    calm = table["calm"].to_pylist()
    assert [score is None for score in calm] == ["." not in text[:-1] for text in responses]
    chosen = set(load_from_disk("artifacts/select/mine_20")["train"]["id"])
    scores = dict(zip(table["id"].to_pylist(), calm, strict=True))
    rest = [score for row, score in scores.items() if row not in chosen and score is not None]
    assert len(chosen) == 20 and max(scores[row] for row in chosen) <= min(rest)
    card = json.loads(Path("artifacts/score/card.json").read_text())["scorers"]["calm"]
    assert card["best"] == "lowest" and card["unscored"]["one sentence"] >= calm.count(None)
    cost = json.loads(Path("artifacts/score_metrics.json").read_text())["scorers"]["calm"]
    assert cost["seconds"] > 0
    declare(project, {"rule": "top", "by": "loud", "count": 20}, score=scorers)
    done = winnow("select")
    assert (
        done.returncode == 2 and "mine_20.by: loud scored no row, but calm, clarity" in done.stderr
    )


def test_a_curation_step(project: Path, package: Path, winnow: Winnow) -> None:
    (package / "mine.py").write_text(STEP)
    curate: Any = TINY["curate"]
    steps = [{"name": "exact"}, {"name": "mine:brief", "words": 12}]
    write_params(project, TINY | {"curate": curate | {"steps": steps}})
    run(winnow, "ingest", "curate")
    parts = {
        name: pq.read_table(f"artifacts/curate/{name}.parquet") for name in ("train", "dropped")
    }
    words = {
        name: [len(r.split()) for r in part["response"].to_pylist()] for name, part in parts.items()
    }
    assert min(words["train"]) >= 12 > max(words["dropped"])
    assert parts["dropped"]["reason"].unique().to_pylist() == ["brief"]
    ledger = json.loads(Path("artifacts/curate/card.json").read_text())["ledger"]
    assert ledger["dropped"] == {"brief": len(words["dropped"])}
    write_params(project, TINY | {"curate": curate | {"steps": [steps[1] | {"words": 0}]}})
    done = winnow("curate")
    assert done.returncode == 2 and "mine:brief.words: expected a whole number in" in done.stderr
