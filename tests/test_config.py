"""params.yaml: every mistake is one line that names its key."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from tiny import ROOT, TINY, write_params

from winnow import config
from winnow.train.stage import TrainConfig


def _write(folder: Path, path: str, value: Any) -> None:
    params: Any = copy.deepcopy(TINY)
    *parents, last = path.split(".")
    place = params
    for key in parents:
        place = place[key]
    place[last] = value
    write_params(folder, params)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train.recipes.quick.learning_rat", 1, "unknown key train.recipes.quick.learning_rat"),
        ("train.recipes.quick.learning_rate", "fast", "learning_rate: expected a number, found"),
        ("train.recipes.quick.num_train_epochs", 1.5, "num_train_epochs: expected a whole number"),
        ("train.max_hours", True, "train.max_hours: expected a number, found True"),
        ("train.precision", "fp8", "train.precision: expected one of auto, bf16, fp32"),
        ("train.models.tiny", [1], "train.models.tiny: expected a mapping"),
        ("trian", {}, "unknown key trian (near: train"),
    ],
)
def test_a_wrong_key_or_value_is_named(project: Path, path: str, value: Any, message: str) -> None:
    _write(project, path, value)
    with pytest.raises(ValueError) as error:
        config.load("train", TrainConfig)
    assert message in str(error.value)


def test_a_missing_key_is_named(project: Path) -> None:
    params: Any = copy.deepcopy(TINY)
    del params["train"]["max_hours"]
    write_params(project, params)
    with pytest.raises(ValueError, match=r"train\.max_hours is missing"):
        config.load("train", TrainConfig)


def test_an_unknown_experiment_gets_its_nearest_names(project: Path) -> None:
    with pytest.raises(
        ValueError, match="unknown experiment 'hihg_40_tiny'; nearest: high_40_tiny"
    ):
        config.experiment("hihg_40_tiny")


def test_a_model_scales_the_learning_rate_of_every_recipe(project: Path) -> None:
    _write(project, "train.models.tiny.learning_rate_scale", 0.25)
    assert config.experiment("high_40_tiny").recipe.learning_rate == 0.003 / 4
    assert config.experiment("high_40_1B").recipe.learning_rate == 0.003


@pytest.mark.parametrize(
    ("tier", "message"),
    [
        ({"rule": "top", "count": 50, "recipe": "quick"}, "the quantity that the name says"),
        ({"rule": "top", "recipe": "quick"}, "a count or a share"),
        ({"rule": "top", "count": 40, "share": 0.5, "recipe": "quick"}, "a count or a share"),
        ({"rule": "matched", "of": "nothing", "recipe": "quick"}, "of: <tier>"),
        ({"rule": "top", "count": 40, "recipe": "none"}, "expected one of quick, slow"),
    ],
)
def test_a_tier_that_lies_is_refused(project: Path, tier: Any, message: str) -> None:
    _write(project, "select.tiers.high_40", tier)
    with pytest.raises(ValueError, match=message):
        config.experiment("high_40_tiny")


def test_the_shipped_params_hold_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    params = config._document()
    for tier in params["select"]["tiers"]:
        for model in params["train"]["models"]:
            config.experiment(f"{tier}_{model}")
    documented = """
        ultra_10k_500M ultra_10k_1B high_100k_500M high_100k_1B medium_1M_500M medium_1M_1B
        ultra_5k_500M low_100k_500M matched_10k_500M random_10k_500M longest_10k_500M
    """
    results = (ROOT / "docs/results/README.md").read_text()
    for name in [*documented.split(), *re.findall(r"\b[a-z]+_\d+pct_\d+M\b", results)]:
        assert config.experiment(name).name == name
    assert len(config.seeds()) >= 3


def test_dvc_writes_a_value_into_the_shipped_file_and_changes_nothing_else(tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    shipped = (ROOT / "params.yaml").read_text()
    copy = tmp_path / "params.yaml"
    copy.write_text(shipped)
    apply_overrides(str(copy), ["analyze.confidence=0.95", "seeds=[0,1,3]"])
    expected = shipped.replace("confidence: 0.9\n", "confidence: 0.95\n")
    assert copy.read_text() == expected.replace("- 0\n- 1\n- 2\n", "- 0\n- 1\n- 3\n")
