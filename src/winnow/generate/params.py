"""The section `generate` of params.yaml, and the kinds of backends and methods in it."""

import importlib
from dataclasses import dataclass
from typing import Annotated, Any

from winnow.core import languages, params
from winnow.core.errors import Refusal, at
from winnow.core.params import PARAMS, Count, Name, Probability, Range, Share, Text
from winnow.generate import critics
from winnow.generate.backends import Settings
from winnow.generate.methods import Recipe
from winnow.generate.rows import OfRows

BACKENDS = ("openai", "local")
"""Modules of winnow.generate.backends."""
METHODS = (
    "free",
    "self_instruct",
    "evol_instruct",
    "magpie",
    "paraphrase",
    "answers",
    "unchanged",
    "contaminate",
    "synthesise",
    "spin",
)
"""Modules of winnow.generate.methods."""


@dataclass(frozen=True, slots=True)
class Item:
    """A recipe of the section."""

    name: str
    """Its own, by which its rows are known."""
    method: str
    recipe: Recipe
    place: str
    """In params.yaml, before which a message is put."""
    backend: dict[str, Any] | None = None
    """Its own, where it declares one."""

    def settings(self) -> Settings:
        """Of its own backend.

        Raises:
            Refusal: there is no such backend, or its keys are wrong.
        """
        place = f"{self.place.removeprefix(f'{PARAMS}: ')}.backend"
        found: Settings = _built("backends", BACKENDS, "name", self.backend, place)
        return found


def class_of(folder: str, name: str) -> Any:
    """The class of a kind: of backends/openai.py it is Openai, of methods/self_instruct.py
    SelfInstruct.

    Args:
        folder: "backends" or "methods".
        name: one of BACKENDS or METHODS.
    """
    module = importlib.import_module(f"winnow.generate.{folder}.{name}")
    return getattr(module, "".join(part.capitalize() for part in name.split("_")))


def _built(folder: str, kinds: tuple[str, ...], key: str, given: Any, place: str) -> Any:
    """The kind that `key` of a mapping names, with the mapping's other keys."""
    values: dict[str, Any] = dict(params.build(dict[str, Any], given, place))
    name = values.pop(key, None)
    if name not in kinds:
        raise Refusal(
            f"{PARAMS}: {place}.{key}: expected one of {', '.join(kinds)}, found {name!r}"
        )
    return params.build(class_of(folder, name), values, place)


Words = Annotated[int, Range("[1, 100000]")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """What a row has to be, and a shard."""

    min_instruction_words: Words = 3
    max_instruction_words: Words = 500
    min_response_words: Words = 1
    max_response_words: Words = 1000
    max_echo: Probability = 0.8
    """ROUGE-L of a response with its instruction above which it says the instruction again."""
    languages: tuple[Text, ...] = ()
    """Codes such as en, of which a row's is to be one; without any, its language is not asked."""
    min_language: Probability = 0.0
    """The least probability of that language; short rows are seldom sure."""
    max_failed: Probability = 0.5
    """Share of a shard's candidates that may fail, duplicates apart."""
    max_duplicates: Probability = 0.8
    """Share of duplicates among a shard's candidates that did not fail."""
    min_rows: Count = 1
    """That a shard has to keep."""

    def __post_init__(self) -> None:
        for part in ("instruction", "response"):
            least, most = (getattr(self, f"{end}_{part}_words") for end in ("min", "max"))
            if least > most:
                raise Refusal(
                    f"min_{part}_words: {least} is above max_{part}_words, {most}: no row has both"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What may be bought of a backend in all runs together: all of its replies that are kept count,
    whatever they were bought for.

    Nothing is asked for that might exceed it: before a request is sent, its whole max_tokens and a
    token for each byte of its prompt must be left. What a service takes for requests without an
    answer is not known here, and not counted.
    """

    requests: Count | None = None
    tokens: Annotated[int, Range("[1, 1000000000000]")] | None = None
    """Of prompts and replies."""
    dollars: Annotated[float, Range("(0, 1000000000]")] | None = None
    """By the backend's price."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Aligned:
    """A row is published where every recipe has one of the same parent, so that recipes are arms of
    equal size which differ in nothing but how they were made."""

    min_yield: Share = 0.5
    """Share of the rows asked for that all recipes have; below it nothing is published."""
    rows: Count | None = None
    """Rows of each recipe to publish at most, drawn by the hash of their parents' ids; null
    publishes all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateConfig:
    """Who writes rows, by which recipes, and what a row and a shard have to be."""

    backend: dict[Name, Any]
    """`name`, one of BACKENDS, and the keys of its `Settings`."""
    recipes: dict[Name, Any]
    """By name: `method`, one of METHODS, and the keys of its `Recipe`; and a `backend` of its own,
    where it is not the section's."""
    budget: Budget = Budget()
    checks: Checks = Checks()
    aligned: Aligned | None = None
    """Whether recipes keep the rows of the same parents alone."""

    def settings(self) -> Settings:
        """The backend's.

        Raises:
            Refusal: there is no such backend, or its keys are wrong.
        """
        found: Settings = _built("backends", BACKENDS, "name", self.backend, "generate.backend")
        return found

    def items(self) -> list[Item]:
        """The recipes, in their order.

        Raises:
            Refusal: there is no such method, or its keys are wrong.
        """
        items = []
        for name, given in self.recipes.items():
            place = f"generate.recipes.{name}"
            values = dict(params.build(dict[str, Any], given, place))
            own = values.pop("backend", None)
            recipe = _built("methods", METHODS, "method", values, place)
            if recipe.best_of > 1 and not recipe.has_responses:
                raise Refusal(
                    f"{PARAMS}: {place}.best_of: {given['method']} asks for no response by itself, "
                    "of which the best could be taken: leave it at 1"
                )
            if not isinstance(recipe.critic, dict):
                params.build(Text, recipe.critic, f"{place}.critic")
            critics.check(recipe.critic, f"{place}.critic")
            items.append(Item(name, given["method"], recipe, f"{PARAMS}: {place}", own))
        return items

    def repeating(self) -> list[str]:
        """Recipes that ask each instruction several times by design."""
        return [one.name for one in self.items() if one.recipe.compared == "response"]

    def check(self) -> None:
        """Refuse what there is not: backends, methods, their keys, and files, or what these do
        not hold."""
        self.settings()
        languages.check_codes(f"{PARAMS}: generate.checks.languages", self.checks.languages)
        for item in self.items():
            if item.backend is not None:
                item.settings()
            if self.aligned and not isinstance(item.recipe, OfRows):
                raise Refusal(
                    f"{item.place}: generate.aligned is for recipes that go through the rows of a "
                    f"file, which {item.method} does not"
                )
            with at(item.place):
                item.recipe.check()
