"""The study of what each investment brought: what its projects declare, and their corpora.

pytest tests/analyze/test_value_study.py
"""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML
from tiny import ROOT

from studies.value import rows
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions.investments import DOCUMENTED
from winnow.core.experiments import resolve
from winnow.core.params import load
from winnow.core.records import Row

STUDY = ROOT / "studies/value"
PLAIN = YAML(typ="safe")
TASKS = ROOT / "corpora/tasks.jsonl"


def laid(folder: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """params.yaml of a project of the study; in the current folder."""
    Path("params.yaml").write_bytes((STUDY / "params.yaml").read_bytes())
    if folder:
        monkeypatch.setattr(sys, "argv", ["overlay.py", str(STUDY / folder / "overlay.yaml")])
        runpy.run_path(str(STUDY.parent / "overlay.py"))
    return PLAIN.load(Path("params.yaml"))


def test_the_chain_is_of_declared_arms_judged_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = laid("", monkeypatch)
    chain = load("analyze", AnalyzeConfig).chain
    assert [link.name for link in chain] == ["start", *DOCUMENTED]
    for link in chain:
        folder = link.folder or ""
        own = laid(folder, monkeypatch)
        assert link.arm in own["experiments"] and resolve([link.arm])
        assert own["seeds"] == params["seeds"]
        assert own["evaluate"] | {"tasks": ""} == params["evaluate"] | {"tasks": ""}
        home = STUDY / folder
        assert (home / own["evaluate"]["tasks"]).resolve() == TASKS
        assert (home / own["curate"]["tokenizer"]).is_dir()
        if folder:
            assert not own["analyze"]["chain"]
        if folder in ("raw", "mixed"):
            assert (home / own["curate"]["held_out"]).resolve() == STUDY / "artifacts/curate"
    before, last = chain[-2:]
    assert own["train"]["init"].startswith(f"../{before.folder}/models/{before.arm}/")
    stage = PLAIN.load(STUDY / "dvc.yaml")["stages"][str(last.folder)]
    starts = [f"--seed {s} --init ../{before.folder}/models/{before.arm}/{s}" for s in own["seeds"]]
    assert [command for command in stage["cmd"] if any(one in command for one in starts)] == [
        f"winnow train all {one} --skip-existing" for one in starts
    ]


def test_no_corpus_holds_what_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "studies/value"
    (place / "artifacts/curate").mkdir(parents=True)
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora/tasks.jsonl").write_bytes(TASKS.read_bytes())
    monkeypatch.chdir(place)
    texts = {name: name for name in ("instruction", "input", "response")}
    kept = [
        texts | {"id": "a:1", "source": "textbook", "kept:rating": "4"},
        texts | {"id": "b:1", "source": rows.POOREST, "kept:rating": "2"},
    ]
    dropped = [
        texts | {"id": "b:2", "source": rows.POOREST, "because": "a:1"},
        texts | {"id": "a:9", "source": "textbook", "because": "a:8"},  # a copy of a held-out row
    ]
    for name, table in (("train", kept), ("dropped", dropped)):
        pq.write_table(pa.Table.from_pylist(table), f"artifacts/curate/{name}.parquet")
    rows.main()
    raw, mixed = (
        pq.read_table(f"{folder}/corpus/rows.parquet").to_pylist() for folder in ("raw", "mixed")
    )
    assert [row["source"] for row in raw] == ["textbook", rows.POOREST, rows.POOREST]
    assert mixed == [texts | {"source": "textbook", "rating": "4"}]
    files = Path("aligned/corpus/pairs.jsonl"), TASKS
    pairs, tasks = ([*map(json.loads, path.read_text().splitlines())] for path in files)
    asked, tried = (
        {Row("", "", row["instruction"], row["input"], "").question for row in some}
        for some in (pairs, tasks)
    )
    assert len(pairs) == len(asked) == 450 and not asked & tried
