"""The study of who wrote the rows, from its corpora to its verdicts, at a fraction of its steps.

pytest tests/generate/test_provenance_study.py
"""

import csv
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tiny import ROOT

from corpora import reading
from winnow.__main__ import parser, run
from winnow.core import cards, files
from winnow.core.layout import CURATED, GENERATED

STUDY = ROOT / "studies/provenance"


def call(line: str) -> None:
    """Run a command of winnow in this process: eighteen processes would take minutes."""
    selectors = vars(parser().parse_args(line.split()))
    selectors.pop("compare", None)
    run(selectors.pop("command"), selectors)


def change(path: Path, *keys: str, value: Any) -> None:
    """Set one value of a params file."""
    yaml = YAML()
    document = yaml.load(path)
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    yaml.dump(document, path)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A copy of the study with shorter trainings and fewer rows."""
    for name in ("params.yaml", "documented.yaml", "squad.yaml", "fresh.py"):
        shutil.copyfile(STUDY / name, tmp_path / name)
    for name in ("base", "human"):
        (tmp_path / name).mkdir()
        shutil.copyfile(STUDY / name / "params.yaml", tmp_path / name / "params.yaml")
    base, main, human = (tmp_path / at / "params.yaml" for at in ("base", "", "human"))
    for path in (base, main):
        text = path.read_text()
        path.write_text(text.replace("1200_steps", "12_steps").replace("600_steps", "8_steps"))
    change(human, "curate", "validation", value=12)
    change(human, "curate", "test", value=24)
    change(base, "curate", "validation", value=12)
    change(main, "seeds", value=[0, 1])
    for recipe in ("human", "ai_contaminated", "synthetic_from_human"):
        change(main, "generate", "recipes", recipe, "shards", value=1)
    return tmp_path


@pytest.mark.slow
def test_the_study_ends_in_verdicts_or_says_why_not(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    base, human = study / "base", study / "human"
    reading.main(base / "rows.jsonl", 0, 12)
    reading.main(human / "corpus.json", 1, 12)
    monkeypatch.setattr(sys, "argv", ["fresh.py", str(base / "rows.jsonl"), str(base / "fresh")])
    runpy.run_path(str(study / "fresh.py"))
    monkeypatch.chdir(base)
    for line in ("ingest", "curate", "score", "select", "train all"):
        call(line)
    monkeypatch.chdir(human)
    call("ingest")
    call("curate")
    held = files.read_json(CURATED / cards.CARD)["splits"]
    assert held["test"] == 24 and held["train"] == 108
    monkeypatch.chdir(study)
    # Models of a few steps write nothing of use: the study stops, and says for what reasons.
    with pytest.raises(ValueError, match="its first shard fails: .* of 108 candidates failed"):
        call("generate")
    assert not GENERATED.exists()
    for recipe in ("ai_contaminated", "synthetic_from_human"):  # two more arms of people's rows
        change(study / "params.yaml", "generate", "recipes", recipe, "method", value="unchanged")
        for key in ("temperature", "top_p", "max_overlap", "backend"):
            yaml = YAML()
            document = yaml.load(study / "params.yaml")
            document["generate"]["recipes"][recipe].pop(key, None)
            yaml.dump(document, study / "params.yaml")
    for line in ("generate", "ingest", "curate", "score", "select", "train all", "evaluate all"):
        call(line)
    assert files.read_json(CURATED / cards.CARD)["splits"]["test"] == 24
    call("analyze")
    with Path("results/metrics_table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == ["A", "B", "C"]
    assert len({row["train_rows"] for row in rows}) == 1 and rows[0]["test_rows"] == "24"
    assert Path("analysis/figures/provenance_tiny.png").stat().st_size > 10_000
    assert "C about A, within 0.03" in capsys.readouterr().out


def test_the_documented_scale_is_declared(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from winnow.core import params
    from winnow.core.experiments import experiment_names
    from winnow.generate.params import GenerateConfig

    monkeypatch.chdir(study)
    monkeypatch.setattr(sys, "argv", ["overlay.py", "documented.yaml"])
    runpy.run_path(str(STUDY.parent / "overlay.py"))
    declared: Any = params.load("generate", GenerateConfig)
    made = {item.name: item for item in declared.items()}
    assert declared.backend["model"] == "gpt-3.5-turbo" and declared.aligned.rows == 20_000
    synthetic: Any = made["synthetic_from_human"].recipe
    numbers = (synthetic.temperature, synthetic.top_p, synthetic.max_tokens, synthetic.max_overlap)
    assert numbers == (0.8, 0.95, 256, 0.4)
    assert declared.checks.min_instruction_words == 8 and declared.checks.max_response_words == 200
    assert len(experiment_names()) == 3
    text = (study / "human/params.yaml").read_text()
    assert "train-v1.1.json" in text and "test: 2000" in text and "group: title" in text


def test_the_run_on_real_rows_is_declared(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from winnow.core import params
    from winnow.core.experiments import experiment_names, resolve
    from winnow.generate.params import GenerateConfig

    monkeypatch.setattr(sys, "argv", ["overlay.py", "squad.yaml"])
    monkeypatch.chdir(study)
    runpy.run_path(str(STUDY.parent / "overlay.py"))
    declared: Any = params.load("generate", GenerateConfig)
    assert [item.name for item in declared.items()] == ["human", "ai_contaminated"]
    human, contaminated = resolve(experiment_names())
    assert human.recipe == contaminated.recipe and human.tier.count == contaminated.tier.count
    monkeypatch.chdir(study / "base")
    (arm,) = resolve(experiment_names())
    assert f"base/models/{arm.name}/0" == declared.backend["model"]
