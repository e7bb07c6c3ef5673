"""params.yaml as frozen, typed values; an unknown key or a wrong type is an error that names it.

A stage keeps the class of its section in a module of its own, `params.py`, which imports nothing
that takes long, and asks `load("score", ScoreConfig)` for it. What several stages speak of
(experiments, tiers, models, recipes) is here.
"""

import collections.abc
import dataclasses
import difflib
import functools
import itertools
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from winnow import STAGES
from winnow.errors import Refusal

PARAMS = Path("params.yaml")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """A rule and a quantity: which rows of the scored pool an arm is trained on."""

    rule: Literal["top", "bottom", "random", "longest", "matched"]
    """top, bottom: by score. longest: by words of the response. matched: random, with the token
    lengths of the tier `of`."""
    count: int | None = None
    """Rows to take, or:"""
    share: float | None = None
    """the share of the pool to take, in (0, 1]."""
    of: str | None = None
    """matched only: the tier whose size and lengths are matched."""
    recipe: str
    """The key under train.recipes."""

    @property
    def is_scored(self) -> bool:
        """Whether the score chose its rows, so that it is charged the scoring: of all rows it
        chooses none, and a matched control stands for rows that were drawn without it."""
        return self.rule in ("top", "bottom") and self.share != 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A GPT-2 architecture (Radford et al. 2019), and what its size asks of the recipes."""

    num_layers: int
    hidden_size: int
    num_heads: int
    context: int
    """Positions, in tokens; also the length of a training sequence."""
    dropout: float = 0.0
    learning_rate_scale: float = 1.0
    """Times the learning rate of every recipe: a deeper model asks for a lower one."""

    def __post_init__(self) -> None:
        """Refuse what no model can be built of."""
        at_least(self, 1, "num_layers", "hidden_size", "num_heads", "context")
        demand(
            self,
            hidden_size=(self.hidden_size % self.num_heads == 0, "a multiple of num_heads"),
            dropout=(0 <= self.dropout < 1, "a number in [0, 1)"),
            learning_rate_scale=(self.learning_rate_scale > 0, "a number above 0"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How an arm is trained; names as in Hugging Face's TrainingArguments."""

    learning_rate: float
    num_train_epochs: int
    per_device_train_batch_size: int
    """In sequences."""
    gradient_accumulation_steps: int
    eval_steps: int
    """Optimizer steps between two points of the curve, at most: a training has ten or more."""
    save_steps: int
    """Optimizer steps between two checkpoints."""
    weight_decay: float = 0.01
    warmup_steps: int = 1000
    """At most; never more than a tenth of the steps."""
    gradient_checkpointing: Literal["auto", True, False] = "auto"
    """auto: on where the estimate without it exceeds the memory of the device."""
    packing: bool = True
    """Whole documents share a sequence; false: a row a document, cut and padded to the context."""

    def __post_init__(self) -> None:
        """Refuse what no training can go by."""
        at_least(
            self, 1, "num_train_epochs", "per_device_train_batch_size",
            "gradient_accumulation_steps", "eval_steps", "save_steps",
        )  # fmt: skip
        at_least(self, 0, "weight_decay", "warmup_steps")
        demand(self, learning_rate=(self.learning_rate > 0, "a number above 0"))

    @property
    def sequences_per_step(self) -> int:
        """Sequences that one optimizer step sees."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How long an arm is trained instead of its recipe's epochs, so that arms are equal in it."""

    unit: Literal["steps", "tokens", "seconds"]
    """Optimizer steps; training tokens; or seconds of scoring and training at a declared speed."""
    amount: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """One arm of the comparison, `<tier>_<model>` or `<tier>_<model>_<budget>`, resolved."""

    name: str
    tier_name: str
    tier: Tier
    model_name: str
    model: Model
    recipe: Recipe
    budget: Budget | None = None


def _fail(path: str, expected: str, found: Any) -> typing.NoReturn:
    raise Refusal(f"{PARAMS}: {path}: expected {expected}, found {found!r}")


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:6]
    return ", ".join(near)


def demand(settings: Any, **rules: tuple[bool, str]) -> None:
    """Refuse fields that break a rule.

    Args:
        settings: a part of params.yaml; what builds it puts its place before the message.
        rules: by field whether it is kept, and what is expected.
    """
    for name, (kept, expected) in rules.items():
        if not kept:
            raise Refusal(f"{name}: expected {expected}, found {getattr(settings, name)!r}")


def at_least(settings: Any, least: int, *names: str) -> None:
    """Refuse fields that are lower; None is not looked at."""
    given = {name: getattr(settings, name) for name in names}
    demand(settings, **{name: (value is None or value >= least, f"{least} or more")
                        for name, value in given.items()})  # fmt: skip


def demand_file(key: str, path: str, advice: str = "") -> None:
    """Refuse a file or folder that params.yaml names and that is not there."""
    if not Path(path).exists():
        raise Refusal(f"{PARAMS}: {key}: no file or folder {path!r}{advice}")


def build(kind: Any, value: Any, path: str) -> Any:
    """Turn parsed YAML into `kind` (a dataclass, container, literal, union or scalar type).

    Raises:
        Refusal: it is none; the message begins with `path`, its place in params.yaml.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_class(typing.cast(type, kind), value, path)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return build(next(item for item in arguments if item is not type(None)), value, path)
    if origin is Literal:
        known = ", ".join(map(str, arguments))
        return value if value in arguments else _fail(path, f"one of {known}", value)
    if origin in (tuple, collections.abc.Sequence):
        if not isinstance(value, list):
            _fail(path, "a list", value)
        return tuple(build(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            _fail(path, "a mapping", value)
        return {str(key): build(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if kind is Any:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        _fail(path, names[kind], value)
    return value


def _build_class(kind: type[T], value: Any, path: str) -> T:
    if not isinstance(value, Mapping):
        _fail(path, "a mapping", value)
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in hints:
            raise Refusal(f"{PARAMS}: unknown key {path}.{key} (near: {_nearest(str(key), hints)})")
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.name not in value:
            raise Refusal(f"{PARAMS}: {path}.{field.name} is missing")
    fields = {key: build(hints[key], item, f"{path}.{key}") for key, item in value.items()}
    try:
        return kind(**fields)
    except Refusal as error:
        raise Refusal(f"{PARAMS}: {path}.{error}") from None


def _document() -> dict[str, Any]:
    """The whole of params.yaml, its top-level keys checked."""
    try:
        return _parse(PARAMS.read_bytes())
    except FileNotFoundError:
        raise Refusal(f"{PARAMS} is missing: run winnow in the project's folder") from None


@functools.lru_cache(1)
def _parse(text: bytes) -> dict[str, Any]:
    # Here, as a machine that only trains what it is handed need not have it.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        # YAML 1.2, as DVC reads it: 1e-4 is a number and `on` is text.
        document = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, UnicodeDecodeError) as error:
        raise Refusal(f"{PARAMS} is not valid YAML: {error}") from None
    known = {*STAGES, "engine", "experiments", "seeds"}
    if not isinstance(document, dict):
        raise Refusal(f"{PARAMS}: expected a mapping, found {document!r}")
    for key in document:
        if key not in known:
            raise Refusal(f"{PARAMS}: unknown key {key} (near: {_nearest(str(key), known)})")
    return document


def sections() -> set[str]:
    """The sections that params.yaml has."""
    return set(_document())


def load(section: str, kind: type[T]) -> T:
    """Read one section of params.yaml into its class.

    Raises:
        Refusal: for an unknown, missing or mistyped key; the message names it.
    """
    document = _document()
    if section not in document:
        raise Refusal(f"{PARAMS}: section {section} is missing")
    return typing.cast(T, build(kind, document[section], section))


def seeds() -> tuple[int, ...]:
    """The seeds that every experiment is run with."""
    found: tuple[int, ...] = load("seeds", tuple[int, ...])
    if not found or len(set(found)) < len(found) or min(found) < 0:
        _fail("seeds", "one or more different numbers from 0 on", list(found))
    return found


def experiment_names() -> tuple[str, ...]:
    """The experiments that `dvc repro` runs."""
    return load("experiments", tuple[str, ...])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grid:
    tiers: dict[str, Tier]
    models: dict[str, Model]
    recipes: dict[str, Recipe]
    budgets: tuple[str, ...]


def _grid() -> _Grid:
    """What experiments are made of, every tier checked."""
    document = _document()
    parts = (("select", "tiers"), ("train", "models"), ("train", "recipes"))
    for section, key in parts:
        if key not in (document.get(section) or {}):
            raise Refusal(f"{PARAMS}: {section}.{key} is missing")
    hints = typing.get_type_hints(_Grid)
    grid = _Grid(
        **{
            key: build(hints[key], document[section].get(key, []), f"{section}.{key}")
            for section, key in (*parts, ("train", "budgets"))
        }
    )
    for name, tier in grid.tiers.items():
        _check_tier(name, tier, grid)
    return grid


def quantity(text: str) -> int | float | None:
    """The quantity that a name ends with: 5k, 1M (a count), 10pct (a share); None for others."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(k|M|B|pct)?", text)
    if not found:
        return None
    number, unit = float(found[1]), found[2]
    if unit == "pct":
        return number / 100
    return round(number * {"k": 1e3, "M": 1e6, "B": 1e9, None: 1}[unit])


def _check_tier(name: str, tier: Tier, grid: _Grid) -> None:
    path, tiers = f"select.tiers.{name}", grid.tiers
    if tier.recipe not in grid.recipes:
        _fail(f"{path}.recipe", f"one of {', '.join(grid.recipes)}", tier.recipe)
    if tier.rule == "matched":
        if tier.of is None or tier.of not in tiers or tier.count is not None or tier.share:
            _fail(path, "`of: <tier>` and no quantity for a matched tier", tier.of)
        size: int | float | None = tiers[tier.of].count or tiers[tier.of].share
    else:
        if (tier.count is None) == (tier.share is None) or tier.of is not None:
            _fail(path, "a count or a share, one of them", f"{tier.count}, {tier.share}")
        size = tier.count if tier.share is None else tier.share
    if size is None or size <= 0 or (isinstance(size, float) and size > 1):
        _fail(path, "a count above 0 or a share in (0, 1]", size)
    named = quantity(name.rpartition("_")[2])
    if named != size:
        _fail(path, f"the quantity that the name says ({named})", size)


def _budget(name: str) -> Budget:
    """A budget is its name: 1k_steps, 100M_tokens, 3600_seconds."""
    number, _, unit = name.rpartition("_")
    amount = quantity(number)
    if unit not in ("steps", "tokens", "seconds") or not isinstance(amount, int) or amount < 1:
        _fail("train.budgets", "names such as 1k_steps, 100M_tokens or 3600_seconds", name)
    return Budget(unit=typing.cast(Any, unit), amount=amount)


def budgets() -> dict[str, Budget]:
    """The declared budgets by name."""
    return {name: _budget(name) for name in _grid().budgets}


def experiment(name: str) -> Experiment:
    """Resolve `<tier>_<model>`, or `<tier>_<model>_<budget>`, to what it means.

    Raises:
        Refusal: the name is not declared (the nearest ones are named), or a tier is not what its
            name says.
    """
    grid = _grid()
    ends = {"": None} | {f"_{budget}": _budget(budget) for budget in grid.budgets}
    declared = {
        f"{tier}_{model}{end}": (tier, model, budget)
        for tier in grid.tiers
        for model in grid.models
        for end, budget in ends.items()
    }
    if name not in declared:
        raise Refusal(f"unknown experiment {name!r}; nearest: {_nearest(name, declared)}")
    tier_name, model_name, budget = declared[name]
    tier, model = grid.tiers[tier_name], grid.models[model_name]
    recipe = grid.recipes[tier.recipe]
    rate = recipe.learning_rate * model.learning_rate_scale
    return Experiment(
        name=name,
        tier_name=tier_name,
        tier=tier,
        model_name=model_name,
        model=model,
        recipe=dataclasses.replace(recipe, learning_rate=rate),
        budget=budget,
    )


def experiments(names: Sequence[str]) -> list[Experiment]:
    """Resolve names, of which `all` stands for those of params.yaml: each once, in their order."""
    listed = ((name,) if name != "all" else experiment_names() for name in names)
    return [experiment(name) for name in dict.fromkeys(itertools.chain.from_iterable(listed))]
