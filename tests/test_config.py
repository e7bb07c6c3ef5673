"""params.yaml: every mistake is one line that names its key."""

import copy
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from tiny import ROOT, TINY, write_params

from winnow import check
from winnow.analyze.params import Combination, Composite, Link
from winnow.core import params
from winnow.core.experiments import (
    Budget,
    Model,
    Recipe,
    Tier,
    declared_seeds,
    experiment_name,
    experiment_names,
    resolve,
    resolve_one,
)
from winnow.curate.params import STEPS, numbers_of
from winnow.evaluate.params import Benchmark
from winnow.generate import params as generation
from winnow.generate.backends.openai import Price
from winnow.generate.methods import Unique
from winnow.score.params import KINDS, settings_of
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
        ("train.precision", ["bf16"], "train.precision: expected one of auto, bf16, fp32, found"),
        ("train.max_hours", float("nan"), "max_hours: expected a number in (0, 1e12], found nan"),
        ("train.max_hours", float("inf"), "max_hours: expected a number in (0, 1e12], found inf"),
        ("train.models.tiny.num_layers", -1, "num_layers: expected a whole number in [1, 1000], f"),
        ("train.models.tiny.num_layers", True, "num_layers: expected a whole number, found True"),
        ("train.recipes.quick.packing", 1, "packing: expected true or false, found 1"),
        ("train.recipes.quick.gradient_checkpointing", 1, "expected one of auto, True, False, f"),
        ("train.init", "", "train.init: expected text of 1 to 1000 characters"),
        (
            "train.init",
            "a\x00",
            "train.init: expected text of 1 to 1000 characters, none a control",
        ),
        ("trian", {}, "unknown key trian (near: train"),
    ],
)
def test_a_wrong_key_or_value_is_named(project: Path, path: str, value: Any, message: str) -> None:
    _write(project, path, value)
    with pytest.raises(ValueError) as error:
        params.load("train", TrainConfig)
    assert message in str(error.value)


@given(st.floats(allow_nan=True), st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_a_range_holds_what_its_interval_says(value: float, least: float, most: float) -> None:
    ends = f"{least!r}, {most!r}"
    assert (value in params.Range(f"[{ends}]")) == (least <= value <= most)
    assert (value in params.Range(f"({ends})")) == (least < value < most)
    assert (least in params.Range(f"[{ends}]")) == (least <= most)
    assert least not in params.Range(f"({ends}]")


def test_every_number_and_text_of_params_has_its_range() -> None:
    sections = {name: kind for name, kind in check.SECTIONS.items()}
    classes = (*sections.values(), Tier, Model, Recipe, Benchmark)
    hints = [(kind.__name__, typing.get_type_hints(kind, include_extras=True)) for kind in classes]
    steps = {step: numbers_of(step, "") for step in STEPS}
    steps |= {kind: settings_of(kind) for kind in KINDS}
    steps |= {name: generation.class_of("backends", name) for name in generation.BACKENDS}
    steps |= {name: generation.class_of("methods", name) for name in generation.METHODS}
    steps |= {"unique": Unique, "checks": generation.Checks, "price": Price}
    steps["budget"] = generation.Budget
    steps |= {"composite": Composite, "link": Link, "combination": Combination}
    hints += [
        (step, typing.get_type_hints(kind, include_extras=True)) for step, kind in steps.items()
    ]

    def bare(kind: Any) -> bool:
        if typing.get_origin(kind) in (typing.Annotated, typing.ClassVar) or kind is typing.Literal:
            return False
        return kind in (int, float, str) or any(map(bare, typing.get_args(kind)))

    found = [f"{place}.{key}" for place, kinds in hints for key in kinds if bare(kinds[key])]
    assert sum(len(kinds) for _, kinds in hints) > 80 and not found


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "/etc/x_40",
        "$(touch x)_40",
        "-x_40",
        ".x_40",
        "a b_40",
        "a\n_40",
        "é_40",
        "",
        "a" * 98 + "_40",
    ],
)
def test_a_name_that_is_no_file_name_everywhere_is_refused(project: Path, name: str) -> None:
    tier = TINY["select"]["tiers"]["high_40"]  # type: ignore[index]
    _write(project, "select.tiers", {name: tier})
    with pytest.raises(ValueError, match="^params.yaml: select.tiers: expected text of 1 to 100"):
        resolve(["high_40_tiny"])
    _write(project, "experiments", [name])
    with pytest.raises(ValueError, match=r"^params.yaml: experiments\[0\]: expected text of 1"):
        experiment_names()


def test_names_that_a_file_system_or_a_reader_takes_for_one_are_refused(project: Path) -> None:
    tier = {"rule": "top", "count": 40, "recipe": "quick"}
    _write(project, "select.tiers", {"high_40": tier, "HIGH_40": tier})
    with pytest.raises(ValueError, match="select.tiers: high_40 and HIGH_40 are one name where"):
        resolve_one("high_40_tiny")
    model = TINY["train"]["models"]["tiny"]  # type: ignore[index]
    params: Any = copy.deepcopy(TINY)
    params["select"]["tiers"] = {"x_40": tier, "x_40_40": tier}
    params["train"]["models"] = {"tiny": model, "40_tiny": model}
    write_params(project, params)
    assert resolve_one("x_40_tiny").tier_name == "x_40"
    with pytest.raises(ValueError, match="x_40_40_tiny is both tier x_40 and model 40_tiny and"):
        resolve_one("x_40_40_tiny")


def test_the_name_of_a_stage_of_dvc_names_its_experiment(project: Path) -> None:
    assert resolve_one("train@high_40_tiny").name == "high_40_tiny"
    assert len(resolve(["all", "dvc.yaml:evaluate@matched_40_tiny"])) == 2


def test_an_alias_means_what_it_names(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    head, _, rest = text.partition("    quick:\n")
    recipe, slow, tail = rest.partition("    slow:\n")
    merged = "      <<: *quick\n      gradient_accumulation_steps: 1\n"
    lines = tail[tail.index("evaluate:") :]
    (project / "params.yaml").write_text(f"{head}    quick: &quick\n{recipe}{slow}{merged}{lines}")
    settings = params.load("train", TrainConfig)
    assert settings.recipes["slow"].learning_rate == settings.recipes["quick"].learning_rate
    assert settings.recipes["slow"].gradient_accumulation_steps == 1


def test_a_missing_key_is_named(project: Path) -> None:
    document: Any = copy.deepcopy(TINY)
    del document["train"]["max_hours"]
    write_params(project, document)
    with pytest.raises(ValueError, match=r"train\.max_hours is missing"):
        params.load("train", TrainConfig)


def test_an_unknown_experiment_gets_its_nearest_names(project: Path) -> None:
    with pytest.raises(
        ValueError, match="unknown experiment 'hihg_40_tiny'; nearest: high_40_tiny"
    ):
        resolve_one("hihg_40_tiny")


@pytest.mark.parametrize("budget", [None, "7_steps"])
@pytest.mark.parametrize("recipe", [None, "quick", "slow"])
def test_a_name_may_hold_a_recipe_and_a_budget(
    project: Path, recipe: str | None, budget: str | None
) -> None:
    name = experiment_name("high_40", "tiny", recipe, budget)
    arm = resolve_one(name)
    assert arm.recipe.gradient_accumulation_steps == (1 if recipe == "slow" else 2)
    assert (arm.name, arm.recipe_name, arm.budget_name) == (name, recipe, budget)
    assert arm.budget == (budget and Budget(unit="steps", amount=7))
    assert f"{arm.tier_name}_{arm.group}" == name
    assert (arm.tier_name, arm.level, arm.model_name) == ("high_40", "high", "tiny")


def test_a_budget_that_is_named_as_a_recipe_is_refused(project: Path) -> None:
    recipe = TINY["train"]["recipes"]["slow"]  # type: ignore[index]
    _write(project, "train.recipes", {"quick": recipe, "slow": recipe, "7_steps": recipe})
    both = "both tier high_40 and model tiny and budget 7_steps and tier high_40 and model tiny and"
    with pytest.raises(ValueError, match=both):
        resolve_one("high_40_tiny_7_steps")


def test_a_model_scales_the_learning_rate_of_every_recipe(project: Path) -> None:
    _write(project, "train.models.tiny.learning_rate_scale", 0.25)
    assert resolve_one("high_40_tiny").recipe.learning_rate == 0.003 / 4
    assert resolve_one("high_40_1B").recipe.learning_rate == 0.003


@pytest.mark.parametrize(
    ("tier", "message"),
    [
        ({"rule": "top", "count": 50, "recipe": "quick"}, "the quantity that the name says"),
        ({"rule": "top", "recipe": "quick"}, "a count or a share"),
        ({"rule": "top", "count": 40, "share": 0.5, "recipe": "quick"}, "a count or a share"),
        ({"rule": "matched", "of": "nothing", "recipe": "quick"}, "of: <tier>"),
        ({"rule": "part", "of": "low_30", "recipe": "quick"}, "for the rule part, found .of"),
        ({"rule": "part", "of": "high_40", "count": 40, "recipe": "quick"}, "not made of high_40"),
        ({"rule": "part", "of": "matched_40", "count": 40, "recipe": "quick"}, "not made of high"),
        ({"rule": "top", "count": 40, "recipe": "none"}, "expected one of quick, slow"),
        ({"rule": "best", "count": 40, "recipe": "quick"}, r"rule: expected one of top, .*'best'"),
        ({"rule": "no.such:rule", "count": 40, "recipe": "quick"}, "no module 'no': install its"),
        ({"rule": "json:dumps", "count": 40, "recipe": "quick"}, "json has no Rule of the name"),
        ({"rule": "source", "count": 40, "recipe": "quick"}, "`sources: .*, found .count"),
        (
            {"rule": "random", "count": 40, "sources": ["a"], "recipe": "quick"},
            "expected a count or a share, one of them for the rule random, found .count, sources",
        ),
        (
            {"rule": "mixture", "count": 40, "weights": {"a": 0.5, "b": 0.4}, "recipe": "quick"},
            "weights: expected shares that add up to 1, found 0.9",
        ),
    ],
)
def test_a_tier_that_lies_is_refused(project: Path, tier: Any, message: str) -> None:
    _write(project, "select.tiers.high_40", tier)
    with pytest.raises(ValueError, match=message):
        resolve_one("high_40_tiny")


def test_the_shipped_params_hold_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    document = params._document()
    for tier in document["select"]["tiers"]:
        for model in document["train"]["models"]:
            resolve_one(f"{tier}_{model}")
    documented = """
        ultra_10k_500M ultra_10k_1B high_100k_500M high_100k_1B medium_1M_500M medium_1M_1B
        ultra_5k_500M low_100k_500M matched_10k_500M random_10k_500M longest_10k_500M
    """
    results = (ROOT / "docs/results/README.md").read_text()
    for name in [*documented.split(), *re.findall(r"\b[a-z]+_\d+pct_\d+M\b", results)]:
        assert resolve_one(name).name == name
    assert len(declared_seeds()) >= 3


def test_dvc_writes_a_value_into_the_shipped_file_and_changes_nothing_else(tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    shipped = (ROOT / "params.yaml").read_text()
    copy = tmp_path / "params.yaml"
    copy.write_text(shipped)
    apply_overrides(str(copy), ["analyze.confidence=0.95", "seeds=[0,1,3]"])
    expected = shipped.replace("confidence: 0.9\n", "confidence: 0.95\n")
    assert copy.read_text() == expected.replace("- 0\n- 1\n- 2\n", "- 0\n- 1\n- 3\n")
    apply_overrides(str(copy), ["ingest.keep=[]", "score.scorers=[{name: documented}]"])
    written = YAML(typ="safe").load(copy)
    assert written["ingest"]["keep"] == [] and written["score"]["scorers"] == [
        {"name": "documented"}
    ]
