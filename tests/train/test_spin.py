"""A round of SPIN: a trained model answers its rows once more, and learns to prefer theirs.

pytest tests/train/test_spin.py
"""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny import GENERATE, ROOT, TINY, make_until, write_jsonl, write_params

from winnow.core import files
from winnow.generate import stage as generation
from winnow.train import stage

BASE = str(ROOT / "base/models/all_100pct_1M/0")


def declared(folder: Path, before: Path, model: str) -> None:
    """A round's params.yaml, as docs/alignment.md has it: rows and hold-out of the project before,
    whose model answers and is the start."""
    given: Any = copy.deepcopy(TINY)
    own = {"method": "spin", "shards": 1, "max_tokens": 100, "repetition_penalty": 1.0}
    own |= {"temperature": 1.0, "top_p": 1.0}
    given["generate"] = {
        "backend": GENERATE["backend"] | {"model": model},
        "recipes": {
            "own": own | {"rows": str(before / "train.parquet"), "requests": 80},
            "held": own | {"rows": str(before / "test.parquet"), "requests": 40},
        },
    }
    given["ingest"] = {"source": "artifacts/generate/rows", "keep": ["rejected"]}
    given["curate"] |= {"tokenizer": BASE, "hold_out_sources": ["held"]}
    given["curate"] |= {"validation": 12, "test": 4}
    given["select"]["tiers"]["pairs_40"] = {"rule": "pairs", "count": 40, "recipe": "dpo"}
    quick = given["train"]["recipes"]["quick"]
    given["train"]["recipes"]["dpo"] = quick | {"learning_rate": 1e-4, "num_train_epochs": 4}
    given["train"]["recipes"]["dpo"]["objective"] = {"name": "dpo"}
    shape = {"num_layers": 2, "hidden_size": 176, "num_heads": 4, "context": 256}
    given["train"]["models"] = {"1M": shape}
    given["train"]["init"], given["experiments"] = model, ["pairs_40_1M"]
    folder.mkdir()
    write_params(folder, given)


@pytest.mark.slow
def test_a_model_learns_to_prefer_peoples_answers_to_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (ROOT / "corpora/sample/textbook.jsonl").read_bytes().split(b"\n")[:160]
    write_jsonl(project / "data/a.jsonl", [json.loads(line) for line in lines])
    params: Any = copy.deepcopy(TINY)
    params["curate"] |= {"steps": [{"name": "exact"}], "tokenizer": BASE, "test": 40}
    write_params(project, params)
    make_until("curate")
    before = project / "artifacts/curate"
    responses = pq.read_table(before / "train.parquet")["response"].to_pylist()
    human = {text.strip() for text in responses}
    folder = project / "round"
    declared(folder, before, BASE)
    monkeypatch.chdir(folder)
    generation.run()
    (own,) = Path("artifacts/generate/rows/own").iterdir()
    pairs = [json.loads(line) for line in own.read_text().splitlines()]
    assert len(pairs) > 45 and all(pair["rejected"] for pair in pairs)
    assert {pair["chosen"].strip() for pair in pairs} <= human
    make_until("select")
    stage.run(["pairs_40_1M"], 0, False)
    model = str(folder / "models/pairs_40_1M/0")
    curve = files.read_json(Path(model, "train_results.json"))["curve"]
    assert curve[0]["train_loss"] == pytest.approx(np.log(2), abs=0.05), "it is its own rival"
    assert curve[-1]["train_loss"] < 0.95 * curve[0]["train_loss"]

    declared(project / "next", before, model)
    monkeypatch.chdir(project / "next")
    generation.run(sample=2)
    said = capsys.readouterr().out
    assert said.count("own: ") == said.count("held: ") == 2, (
        "the model of the round answers in turn"
    )
