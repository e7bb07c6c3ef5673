"""params.yaml as frozen, typed values; an unknown key, a wrong type or a value out of its range is
an error that names it.

A stage keeps the class of its section in a module of its own, `params.py`, which imports nothing
that takes long, and asks `load("score", ScoreConfig)` for it. What several stages speak of
(experiments, tiers, models, recipes) is here. The range of a number stands beside its type:
`Annotated[int, Range("[1, 1000]")]`.
"""

import collections.abc
import dataclasses
import difflib
import functools
import itertools
import re
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from winnow import STAGES
from winnow.errors import Refusal

PARAMS = Path("params.yaml")
MAX_BYTES = 1 << 17
"""Of params.yaml."""
MAX_NAMES = 10_000
"""Declared names that an unknown one is compared with."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a key may have: an interval, as it is written."""

    interval: str
    """For example "(0, 1]", which 0 is not in and 1 is; NaN is in none."""

    def __contains__(self, number: float) -> bool:
        least, most = map(float, self.interval[1:-1].split(","))
        above = least <= number if self.interval[0] == "[" else least < number
        return above and (number <= most if self.interval[-1] == "]" else number < most)

    def __str__(self) -> str:
        return f"in {self.interval}"


@dataclass(frozen=True, slots=True)
class Form:
    """The texts that a key may have."""

    pattern: str
    """The whole text matches this regular expression."""
    description: str

    def __contains__(self, text: str) -> bool:
        return re.fullmatch(self.pattern, text) is not None

    def __str__(self) -> str:
        return self.description


COUNTS = Range("[1, 1000000000]")
Count = Annotated[int, COUNTS]
Share = Annotated[float, Range("(0, 1]")]
Probability = Annotated[float, Range("[0, 1]")]
SEEDS = Range("[0, 4294967295]")
Seed = Annotated[int, SEEDS]
Text = Annotated[
    str, Form(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,1000}", "of 1 to 1000 characters, none a control")
]
Name = Annotated[
    str,
    Form(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
        "of 1 to 100 letters, digits, '.', '_' and '-' that begins with a letter or digit",
    ),
]
"""What becomes a part of paths, of MLflow's names and of commands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """A rule and a quantity: which rows of the scored pool an arm is trained on."""

    rule: Literal["top", "bottom", "random", "longest", "matched"]
    """top, bottom: by score. longest: by words of the response. matched: random, with the token
    lengths of the tier `of`."""
    count: Annotated[int, Range("[1, 1000000000000]")] | None = None
    """Rows to take, or:"""
    share: Share | None = None
    """the share of the pool to take."""
    of: Name | None = None
    """matched only: the tier whose size and lengths are matched."""
    recipe: Name
    """The key under train.recipes."""

    @property
    def is_scored(self) -> bool:
        """Whether the score chose its rows, so that it is charged the scoring: of all rows it
        chooses none, and a matched control stands for rows that were drawn without it."""
        return self.rule in ("top", "bottom") and self.share != 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A GPT-2 architecture (Radford et al. 2019), and what its size asks of the recipes."""

    num_layers: Annotated[int, Range("[1, 1000]")]
    hidden_size: Annotated[int, Range("[1, 100000]")]
    num_heads: Annotated[int, Range("[1, 1000]")]
    context: Annotated[int, Range("[2, 1000000]")]
    """Positions, in tokens; also the length of a training sequence."""
    dropout: Annotated[float, Range("[0, 1)")] = 0.0
    learning_rate_scale: Annotated[float, Range("(0, 1000]")] = 1.0
    """Times the learning rate of every recipe: a deeper model asks for a lower one."""

    def __post_init__(self) -> None:
        """Refuse a width that the heads cannot share."""
        if self.hidden_size % self.num_heads:
            raise Refusal(
                f"hidden_size: expected a multiple of num_heads, found {self.hidden_size}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How an arm is trained; names as in Hugging Face's TrainingArguments."""

    learning_rate: Annotated[float, Range("(0, 1e38]")]
    num_train_epochs: Annotated[int, Range("[1, 100000]")]
    per_device_train_batch_size: Annotated[int, Range("[1, 100000]")]
    """In sequences."""
    gradient_accumulation_steps: Annotated[int, Range("[1, 100000]")]
    eval_steps: Count
    """Optimizer steps between two points of the curve, at most: a training has ten or more."""
    save_steps: Count
    """Optimizer steps between two checkpoints."""
    weight_decay: Annotated[float, Range("[0, 1000]")] = 0.01
    warmup_steps: Annotated[int, Range("[0, 1000000000]")] = 1000
    """At most; never more than a tenth of the steps."""
    gradient_checkpointing: Literal["auto", True, False] = "auto"
    """auto: on where the estimate without it exceeds the memory of the device."""
    packing: bool = True
    """Whole documents share a sequence; false: a row a document, cut and padded to the context."""

    @property
    def sequences_per_step(self) -> int:
        """Sequences that one optimizer step sees."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


Unit = Literal["steps", "tokens", "seconds"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How long an arm is trained instead of its recipe's epochs, so that arms are equal in it."""

    unit: Unit
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


_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxstring, _brief.maxother = 2, 100, 100


def _fail(path: str, expected: str, found: Any) -> typing.NoReturn:
    raise Refusal(f"{PARAMS}: {path}: expected {expected}, found {_brief.repr(found)}")


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:6]
    return ", ".join(near)


def demand_file(key: str, path: str, advice: str = "") -> None:
    """Refuse a file or folder that params.yaml names and that is not there."""
    if not (Path(path).is_file() or Path(path).is_dir()):
        raise Refusal(f"{PARAMS}: {key}: no file or folder {path!r}{advice}")


KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def build(kind: Any, value: Any, path: str) -> Any:
    """Turn parsed YAML into `kind`: a dataclass, container, literal, union or scalar type, or one
    of these Annotated with the Range or Form of its values.

    Raises:
        Refusal: it is none; the message begins with `path`, its place in params.yaml.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _build_class(typing.cast(type, kind), value, path)
    if origin is Annotated:
        base, limit = arguments
        built = build(base, value, path)
        return built if built in limit else _fail(path, f"{KINDS[base]} {limit}", value)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return build(next(item for item in arguments if item is not type(None)), value, path)
    if origin is Literal:
        # 1 equals true, and is not meant.
        if any(type(value) is type(item) and value == item for item in arguments):
            return value
        _fail(path, f"one of {', '.join(map(str, arguments))}", value)
    if origin in (tuple, collections.abc.Sequence):
        if not isinstance(value, list):
            _fail(path, "a list", value)
        return tuple(build(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            _fail(path, "a mapping", value)
        return _build_dict(arguments, value, path)
    if kind is Any:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        _fail(path, KINDS[kind], value)
    return value


def _build_dict(kinds: Any, value: Mapping[Any, Any], path: str) -> dict[Any, Any]:
    names = [build(kinds[0], key, path) for key in value]
    by_folded = {name.casefold(): name for name in names}
    for name in names:
        if by_folded[name.casefold()] != name:
            raise Refusal(
                f"{PARAMS}: {path}: {name} and {by_folded[name.casefold()]} are one name where "
                "files go without regard to case: rename one"
            )
    built = (build(kinds[1], item, f"{path}.{key}") for key, item in value.items())
    return dict(zip(names, built, strict=True))


def _check_keys(value: Mapping[Any, Any], known: typing.Collection[str], path: str) -> None:
    for key in value:
        if key not in known:
            name = str(key)[:100]
            raise Refusal(f"{PARAMS}: unknown key {path}{name} (near: {_nearest(name, known)})")


def _build_class(kind: type[T], value: Any, path: str) -> T:
    if not isinstance(value, Mapping):
        _fail(path, "a mapping", value)
    hints = typing.get_type_hints(kind, include_extras=True)
    _check_keys(value, hints, f"{path}.")
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
    if not PARAMS.is_file():
        raise Refusal(f"{PARAMS} is missing or no file: run winnow in the project's folder")
    with PARAMS.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise Refusal(f"{PARAMS} has more than {MAX_BYTES} bytes")
    return _parse(text)


@functools.lru_cache(1)
def _parse(text: bytes) -> dict[str, Any]:
    # Here, as a machine that only trains what it is handed need not have ruamel.yaml.
    from winnow import yaml_text

    document = yaml_text.parse(text, str(PARAMS))
    if not isinstance(document, dict):
        raise Refusal(f"{PARAMS}: expected a mapping, found {_brief.repr(document)}")
    _check_keys(document, {*STAGES, "engine", "experiments", "seeds"}, "")
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
    numbers: tuple[int, ...] = load("seeds", tuple[Seed, ...])
    if not numbers or len(set(numbers)) < len(numbers):
        _fail("seeds", "one or more different numbers", list(numbers))
    return numbers


def experiment_names() -> tuple[str, ...]:
    """The experiments that `dvc repro` runs."""
    return load("experiments", tuple[Name, ...])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grid:
    tiers: dict[Name, Tier]
    models: dict[Name, Model]
    recipes: dict[Name, Recipe]
    budgets: tuple[Name, ...]


def _grid() -> _Grid:
    """What experiments are made of, every tier checked."""
    parts = (("select", "tiers"), ("train", "models"), ("train", "recipes"), ("train", "budgets"))
    hints, built = typing.get_type_hints(_Grid, include_extras=True), {}
    for section, key in parts:
        values = load(section, dict[str, Any])
        if key not in values and key != "budgets":
            raise Refusal(f"{PARAMS}: {section}.{key} is missing")
        built[key] = build(hints[key], values.get(key, []), f"{section}.{key}")
    grid = _Grid(**built)
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
    named = quantity(name.rpartition("_")[2])
    if named != size:
        _fail(path, f"the quantity that the name says ({named})", size)


def _budget(name: str) -> Budget:
    """A budget is its name: 1k_steps, 100M_tokens, 3600_seconds."""
    number, _, unit = name.rpartition("_")
    amount = quantity(number)
    if unit not in typing.get_args(Unit) or not isinstance(amount, int) or not 0 < amount <= 1e15:
        _fail("train.budgets", "names such as 1k_steps, 100M_tokens or 3600_seconds", name)
    return Budget(unit=typing.cast(Any, unit), amount=amount)


def budgets() -> dict[str, Budget]:
    """The declared budgets by name."""
    return {name: _budget(name) for name in _grid().budgets}


def experiments(names: Sequence[str]) -> list[Experiment]:
    """Resolve each `<tier>_<model>`, or `<tier>_<model>_<budget>`, to what it means.

    Args:
        names: of which `all` stands for those of params.yaml; each is resolved once, in their
            order. What stands before an @ is left out: DVC's stages are named train@<experiment>.

    Raises:
        Refusal: a name is not declared (the nearest ones are named) or means two things, or a tier
            is not what its name says.
    """
    bare = (name.rpartition("@")[2] for name in names)
    listed = ((name,) if name != "all" else experiment_names() for name in bare)
    chosen = list(dict.fromkeys(itertools.chain.from_iterable(listed)))
    if not chosen:
        return []
    grid = _grid()
    return [_resolve(name, grid) for name in chosen]


def experiment(name: str) -> Experiment:
    """Resolve one name; see `experiments`."""
    (arm,) = experiments([name])
    return arm


def _parts(name: str, grid: _Grid) -> tuple[str, str, Budget | None]:
    """The tier, the model and the budget that an experiment's name is made of."""
    ends = {"": None} | {f"_{budget}": _budget(budget) for budget in grid.budgets}
    found = [
        (tier, model, ends[end])
        for tier in grid.tiers
        if name.startswith(f"{tier}_")
        for model in grid.models
        if name.startswith(f"{tier}_{model}")
        for end in ends
        if name == f"{tier}_{model}{end}"
    ]
    if not found:
        declared = (
            f"{tier}_{rest}{end}"
            for tier, rest, end in itertools.product(grid.tiers, grid.models, ends)
        )
        near = _nearest(name, itertools.islice(declared, MAX_NAMES))
        raise Refusal(f"unknown experiment {_brief.repr(name)}; nearest: {near}")
    if len(found) > 1:
        first, second = (f"tier {tier} and model {model}" for tier, model, _ in found[:2])
        raise Refusal(f"experiment {name} is both {first} and {second}: rename one of them")
    return found[0]


def _resolve(name: str, grid: _Grid) -> Experiment:
    tier_name, model_name, budget = _parts(name, grid)
    build(Name, name, "experiments")
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
