"""What the stage refuses, and whether the refusal says what to do."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up import TIERS, build, seal, write

from winnow.analyze import stage
from winnow.core import params
from winnow.core.errors import Refusal

ALL = [f"{tier}_1M" for tier in TIERS]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (
            "results/high_1k_1M/1",
            "results/high_1k_1M/1 is missing: run `winnow train high_1k_1M --seed 1 && "
            "winnow evaluate high_1k_1M --seed 1`",
        ),
        (
            "results/high_1k_1M/1/card.json",
            "1 is missing or unfinished: run `winnow evaluate high_1k_1M --seed 1` first",
        ),
        (
            "results/high_1k_1M/1/evaluation/items.parquet",
            "evaluation/items.parquet is not what its card says: "
            "run `winnow evaluate high_1k_1M --seed 1` again",
        ),
        ("artifacts/score/card.json", "run `winnow score` first"),
        ("artifacts/score/train.parquet", "run `winnow score`"),
        ("artifacts/score_metrics.json", "score_metrics.json is missing: run `winnow score`"),
        ("artifacts/curate_metrics.json", "curate_metrics.json is missing: run `winnow curate`"),
        ("artifacts/select/statistics.json", "statistics.json is not what its card says"),
        ("artifacts/select/ultra_300_scores.csv", "run `winnow select`"),
        ("corpora/truth.jsonl", "analyze.truth: no file or folder 'corpora/truth.jsonl'"),
    ],
)
def test_what_is_missing_is_named_with_the_command(
    tmp_path: Path, tracker: Any, missing: str, said: str
) -> None:
    build(tmp_path, ALL[:2], [0, 1])
    path = Path(missing)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(Refusal) as caught:
        stage.run()
    assert said in str(caught.value)
    assert not Path("analysis").exists() and not tracker


def test_results_of_an_older_grid_are_never_read(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL[:2], [0])
    Path("results/old_1k_1M/0").mkdir(parents=True)
    Path("results/old_1k_1M/0/train_results.json").write_text("torn {")
    stage.run()
    found = json.loads(Path("analysis/analysis.json").read_text(encoding="utf-8"))
    assert set(found["experiments"]) == set(ALL[:2])


def change(path: str, column: str, values: Any) -> None:
    table = pq.read_table(path)
    index = table.column_names.index(column)
    field = table.schema.field(column)
    pq.write_table(table.set_column(index, field, pa.array(values, field.type)), path)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("id", "x", "judged on other test rows"),
        ("num_tokens", 1, "judged on other test rows"),
        ("loss", math.nan, "diverged"),
        ("loss", 1e9, "diverged"),
    ],
)
def test_losses_that_cannot_be_compared(
    tmp_path: Path, tracker: Any, column: str, value: Any, said: str
) -> None:
    build(tmp_path, ALL[:2], [0])
    change(f"results/{ALL[1]}/0/evaluation/items.parquet", column, [value] * 200)
    seal(tmp_path, f"results/{ALL[1]}/0")
    with pytest.raises(ValueError, match=said):
        stage.run()


def test_seeds_of_one_arm_share_their_data(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL[:2], [0, 1])
    path = Path(f"results/{ALL[0]}/1/experiment_config.json")
    write(path, json.loads(path.read_text()) | {"data_sha256": "other"})
    seal(tmp_path, f"results/{ALL[0]}/1")
    with pytest.raises(
        ValueError, match="trained on different data: run `winnow train ultra_300_1M`"
    ):
        stage.run()


def test_a_torn_truth_is_named(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL[:2], [0])
    Path("corpora/truth.jsonl").write_text('{"hash": 1}\n')
    with pytest.raises(ValueError, match="truth.jsonl:1: expected hash and quality"):
        stage.run()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resamples", 10),
        ("confidence", 1.0),
        ("confidence", 0.5),
        ("seed", -1),
        ("perplexity_threshold", 1.0),
        ("perplexity_threshold", math.inf),
    ],
)
def test_settings_that_make_no_interval(key: str, value: float) -> None:
    with pytest.raises(Refusal, match=f"analyze.{key}: expected"):
        params.build(stage.AnalyzeConfig, {key: value}, "analyze")


def test_settings_come_from_params(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL[:2], [0], confidence=0.8)
    assert params.load("analyze", stage.AnalyzeConfig).confidence == 0.8
    with pytest.raises(ValueError, match="resample"):
        build(tmp_path, ALL[:2], [0], resample=3)
        stage.run()
