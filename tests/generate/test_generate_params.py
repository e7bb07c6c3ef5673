"""The section `generate`: unknown names, keys and files are refused by their place.

pytest tests/generate/test_generate_params.py
"""

import string
from pathlib import Path
from typing import Any

import pytest
from tiny import ROOT

from winnow.core import params
from winnow.core.errors import Refusal
from winnow.generate.methods import PROMPTS, Recipe
from winnow.generate.params import BACKENDS, METHODS, GenerateConfig, class_of

SEEDS = str(ROOT / "corpora/seeds.jsonl")


def config(recipes: dict[str, Any], backend: dict[str, Any] | None = None) -> GenerateConfig:
    section = {"backend": backend or {"name": "openai"}, "recipes": recipes}
    built: GenerateConfig = params.build(GenerateConfig, section, "generate")
    return built


def test_every_method_is_a_recipe_with_the_documented_numbers() -> None:
    for name in METHODS:
        given = {"free": "examples", "self_instruct": "examples", "magpie": None}.get(name, "rows")
        keys = {"method": name} | ({given: SEEDS} if given else {})
        (item,) = config({"r": keys}).items()
        recipe = item.recipe
        assert isinstance(recipe, Recipe) and type(recipe) is class_of("methods", name)
        assert (item.name, item.method, item.place) == (
            "r",
            name,
            "params.yaml: generate.recipes.r",
        )
        # Ten shards of the seeds 100 to 109.
        assert (recipe.shards, recipe.seed) == (10, 100)
        assert (recipe.temperature, recipe.top_p, recipe.repetition_penalty) == (0.7, 0.9, 1.1)
        assert recipe.files() == ({given: SEEDS} if given else {})


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"method": "fre"}, r"generate\.recipes\.r\.method: expected one of free, .*found 'fre'"),
        ({}, r"generate\.recipes\.r\.method: .*found None"),
        ({"method": ["free"]}, r"generate\.recipes\.r\.method: .*found \['free'\]"),
        ({"method": "free"}, r"generate\.recipes\.r\.examples is missing"),
        ({"method": "magpie", "shot": 1}, r"unknown key generate\.recipes\.r\.shot"),
        ({"method": "magpie", "seed": -1}, r"generate\.recipes\.r\.seed: "),
        ({"method": "magpie", "requests": 0}, r"generate\.recipes\.r\.requests: "),
        ("magpie", r"generate\.recipes\.r: expected a mapping"),
    ],
)
def test_a_wrong_recipe_is_refused_by_its_place(recipe: Any, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        config({"r": recipe}).items()


def test_a_wrong_backend_is_refused_by_its_place() -> None:
    with pytest.raises(Refusal, match=r"generate\.backend\.name: .*found 'opnai'"):
        config({}, {"name": "opnai"}).check()


@pytest.mark.parametrize("name", BACKENDS)
def test_a_wrong_key_of_a_backend_is_refused_by_its_place(name: str) -> None:
    pytest.importorskip(f"winnow.generate.backends.{name}")
    with pytest.raises(Refusal, match=r"unknown key generate\.backend\.nonsense"):
        config({}, {"name": name, "nonsense": 1}).settings()


@pytest.mark.parametrize("method", ["free", "self_instruct", "evol_instruct", "paraphrase"])
def test_a_missing_file_is_refused_by_its_place(method: str, tmp_path: Path) -> None:
    key = "examples" if method in ("free", "self_instruct") else "rows"
    (item,) = config({"r": {"method": method, key: str(tmp_path / "none")}}).items()
    with pytest.raises(Refusal, match=rf"^{key}: .*none: No such file"):
        item.recipe.check()


def test_every_prompt_is_asked_for_by_a_method_and_has_only_names_in_braces() -> None:
    code = "".join(path.read_text() for path in PROMPTS.parent.glob("methods/*.py"))
    for path in PROMPTS.iterdir():
        way = path.stem.removeprefix("evol_")
        assert f'"{path.stem}"' in code or f'"{way}"' in code, path
        fields = {field for _, field, *_ in string.Formatter().parse(path.read_text()) if field}
        assert fields and all(field.isidentifier() for field in fields), path
