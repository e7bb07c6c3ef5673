"""Experiments: what several stages speak of, declared in params.yaml and resolved here alone.

An experiment is a tier, a model, a recipe and perhaps a budget. Its name is
`<tier>_<model>[_<recipe>][_<budget>]`: without a recipe, the tier's own is meant. This module alone
builds names and takes them apart.
"""

import dataclasses
import itertools
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from winnow.core import rules
from winnow.core.errors import Refusal, at
from winnow.core.layout import draw_name
from winnow.core.objectives import (
    DPO,
    GRPO,
    KTO,
    OBJECTIVES,
    ORPO,
    RLOO,
    Objective,
    Reward,
    SimPO,
    name_of,
)
from winnow.core.params import (
    PARAMS,
    Count,
    Name,
    Range,
    Seed,
    Share,
    Text,
    brief,
    build,
    fail,
    load,
    nearest,
)

DOCUMENTED = "documented"
"""The documented scorer."""
MAX_NAMES = 10_000
"""Declared names that an unknown one is compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """A rule and a quantity: which rows of the scored pool an arm is trained on."""

    rule: Text
    """The name of one of `rules.RULES`, or `package.module:name` of a user's own."""
    count: Annotated[int, Range("[1, 1000000000000]")] | None = None
    """Rows to take."""
    share: Share | None = None
    """Instead of a count: the share to take of the pool, the named sources' rows, or of `of`."""
    of: Name | None = None
    """matched: the tier whose size and lengths are matched; part: that whose rows are drawn;
    mixture: that whose size and shares of sources are changed."""
    by: Name | None = None
    """top, bottom and diverse only: the column of the score table whose numbers choose; by default
    the documented score."""
    sources: tuple[Text, ...] | None = None
    """source only: those whose rows are drawn."""
    weights: dict[Text, Share] | None = None
    """mixture only: the share of the tier that each source gives."""
    without: Text | None = None
    """mixture only: the source that the shares of `of` lose, and the others take over."""
    plus: dict[Text, Share] | None = None
    """mixture only: what is added to the shares of `of`, which give way alike."""
    draw: Annotated[int, Range("[0, 1000000000]")] | None = None
    """mixture only: a number of a draw of the shares themselves, for each seed anew; every mixture
    of all sources is as likely as any other."""
    unit: Literal["rows", "tokens"] = "rows"
    """mixture only: what the shares are shares of."""
    repeat: Annotated[int, Range("[1, 1000000]")] | None = None
    """mixture only: how often a row may be taken at most; what a source cannot give then, the
    others do. Without it none is taken twice, and a source that lacks rows is refused."""
    by_source: bool = False
    """top and matched only: top takes the best rows of each source, in the pool's shares; matched
    draws rows of the tier's lengths and of its sources. So a filter is no mixture in disguise."""
    recipe: Name
    """The key under train.recipes."""

    @property
    def is_scored(self) -> bool:
        """Whether the score chose its rows, so that it is charged the scoring: of all rows it
        chooses none, and a matched control stands for rows that were drawn without it."""
        return rules.find(self.rule).is_scored and self.share != 1

    @property
    def is_sized(self) -> bool:
        """Whether it declares its quantity itself."""
        return self.count is not None or self.share is not None

    @property
    def is_drawn(self) -> bool:
        """Whether every training seed draws its own rows: of all rows none are drawn."""
        return rules.find(self.rule).is_drawn and self.share != 1

    @property
    def scorer(self) -> str:
        """The column whose numbers choose, where the rule asks for one."""
        return self.by or DOCUMENTED

    def scoring_seconds(self, cost: Mapping[str, Any]) -> float | None:
        """Seconds of scoring that its arms are charged; None where none were measured.

        Args:
            cost: what score_metrics.json holds.
        """
        if not self.is_scored:
            return 0.0
        if self.by is not None:  # the parts of the documented score have its cost
            cost = cost["scorers"].get(self.by, cost)
        seconds: float | None = cost["seconds"]
        return seconds


KEYS = {
    "quantity": "a count or a share, one of them",
    "of": "`of: <tier>`",
    "sources": "`sources: [<source>]`",
    "weights": "`weights: {<source>: <share>}`",
    "without": "`without: <source>`",
    "plus": "`plus: {<source>: <share>}`",
    "draw": "`draw: <number>`",
}
"""What a rule asks a tier to declare, in words."""
TIER_KEYS = ("count", "share", "of", "sources", "weights", "without", "plus", "draw")
"""What a tier may declare beside its rule and its recipe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """Low-rank matrices that are trained beside frozen weights: LoRA (Hu et al. 2022)."""

    name: Literal["lora"]
    rank: Annotated[int, Range("[1, 4096]")] = 8
    alpha: Annotated[int, Range("[1, 100000]")] = 16
    """Their product weighs alpha / rank."""
    dropout: Annotated[float, Range("[0, 1)")] = 0.0
    """Of what goes into them."""
    targets: tuple[Text, ...] | None = None
    """Names of the layers that get one; by default all linear ones but the output head."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A GPT-2 architecture (Radford et al. 2019), and what its size asks of the recipes."""

    family: Literal["gpt2"] = "gpt2"
    num_layers: Annotated[int, Range("[1, 1000]")]
    hidden_size: Annotated[int, Range("[1, 100000]")]
    num_heads: Annotated[int, Range("[1, 1000]")]
    context: Annotated[int, Range("[2, 1000000]")]
    """Positions, in tokens; also the length of a training sequence."""
    dropout: Annotated[float, Range("[0, 1)")] = 0.0
    learning_rate_scale: Annotated[float, Range("(0, 1000]")] = 1.0
    """Times the learning rate of every recipe: a deeper model asks for a lower one."""
    adapter: Adapter | None = None
    """Train this beside the weights of train.init, which stay as they are."""

    def __post_init__(self) -> None:
        """Refuse a width that the heads cannot share."""
        if self.hidden_size % self.num_heads:
            raise Refusal(
                f"hidden_size: expected a multiple of num_heads, found {self.hidden_size}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretrained:
    """A model of any architecture that transformers knows, with its weights and tokenizer."""

    family: Literal["causal", "seq2seq"]
    """A decoder such as Llama, or an encoder and a decoder such as T5."""
    weights: Text
    """A folder with config.json, *.safetensors and a tokenizer, or a hub id with its commit."""
    context: Annotated[int, Range("[2, 1000000]")]
    """Length of a training sequence, in tokens; of seq2seq both source and target are cut there."""
    learning_rate_scale: Annotated[float, Range("(0, 1000]")] = 1.0
    """Times the learning rate of every recipe."""
    adapter: Adapter | None = None
    """Train this beside the weights, which stay as they are; by default all weights are trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How an arm is trained; names as in Hugging Face's TrainingArguments."""

    learning_rate: Annotated[float, Range("(0, 1e38]")]
    num_train_epochs: Annotated[int, Range("[1, 100000]")]
    per_device_train_batch_size: Annotated[int, Range("[1, 100000]")]
    """In sequences; in pairs of answers where the objective compares them, and in prompts where it
    samples answers."""
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
    objective: Objective | DPO | SimPO | ORPO | KTO | Reward | RLOO | GRPO = "next_token"
    """The tokens that a loss counts; or a mapping with the `name` and the numbers of a method that
    learns from pairs of a chosen and a rejected answer, or from the model's own."""

    order: Literal["random", "ascending", "descending"] = "random"
    """In which an epoch goes through the rows: drawn by the seed, or by a score, as a curriculum
    does (Bengio et al. 2009). Equal scores are drawn, and rows without a score come last."""
    by: Name | None = None
    """The scorer whose scores order; the tier's own where none is named."""

    def __post_init__(self) -> None:
        """Refuse a scorer that orders nothing."""
        if self.by and not self.is_ordered:
            raise Refusal(f"by: expected an order by {self.by}, ascending or descending")

    @property
    def is_ordered(self) -> bool:
        """Whether a score orders the rows of an epoch."""
        return self.order != "random"

    @property
    def sequences_per_step(self) -> int:
        """Sequences, or pairs, that one optimizer step sees."""
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
    """One arm of the comparison, resolved."""

    name: str
    tier_name: str
    tier: Tier
    level: str
    """The first word of the tier's name, such as ultra: the documented levels are named by it."""
    model_name: str
    model: Model | Pretrained
    recipe_name: str | None = None
    """The recipe that the experiment's name holds; None where it is the tier's own."""
    recipe: Recipe
    budget_name: str | None = None
    """Such as 300_steps."""
    budget: Budget | None = None
    group: str
    """The model with the named recipe and budget: only arms that share it are compared."""

    @property
    def order_scorer(self) -> str | None:
        """The scorer whose scores order an epoch's rows; None where the seed draws their order."""
        return (self.recipe.by or self.tier.scorer) if self.recipe.is_ordered else None

    def draw(self, seed: int) -> str:
        """The name of the draw of the tier that a training of a seed learns."""
        return draw_name(self.tier_name, seed if self.tier.is_drawn else None)


def score_column(scorer: str) -> str:
    """The column of a score table that holds what a scorer gave."""
    return "score" if scorer == DOCUMENTED else scorer


def declared_seeds() -> tuple[int, ...]:
    """The seeds that every experiment is run with."""
    numbers: tuple[int, ...] = load("seeds", tuple[Seed, ...])
    if not numbers or len(set(numbers)) < len(numbers):
        fail("seeds", "one or more different numbers", list(numbers))
    return numbers


def experiment_names() -> tuple[str, ...]:
    """The experiments that `dvc repro` runs."""
    return load("experiments", tuple[Name, ...])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grid:
    tiers: dict[Name, Tier]
    models: dict[Name, Model | Pretrained]
    recipes: dict[Name, Recipe]
    budgets: tuple[Name, ...]


def _grid() -> _Grid:
    """What experiments are made of, every tier and budget checked."""
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
    for name in grid.budgets:
        parse_budget(name)
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
    path = f"select.tiers.{name}"
    if tier.recipe not in grid.recipes:
        fail(f"{path}.recipe", f"one of {', '.join(grid.recipes)}", tier.recipe)
    with at(f"{PARAMS}: {path}.rule"):
        rule = rules.find(tier.rule)
    given = [key for key in TIER_KEYS if getattr(tier, key) is not None]
    by_key = [key if key in KEYS else "quantity" for key in given]
    choices = (rule.keys, *rule.other_keys)
    if sorted(by_key) not in [sorted(keys) for keys in choices]:
        keys = "; or ".join(" and ".join(KEYS[key] for key in keys) for keys in choices)
        fail(path, f"{keys} for the rule {tier.rule}", ", ".join(given) or "none")
    if tier.by_source and tier.rule not in ("top", "matched"):
        fail(f"{path}.by_source", f"nothing for the rule {tier.rule}", True)
    if tier.rule != "mixture" and (tier.repeat or tier.unit != "rows"):
        fail(path, f"neither unit nor repeat for the rule {tier.rule}", "one of them")
    if tier.by is not None and not rule.is_scored:
        fail(f"{path}.by", f"no scorer for the rule {tier.rule}", tier.by)
    if tier.weights and abs(sum(tier.weights.values()) - 1) > 1e-6:
        fail(f"{path}.weights", "shares that add up to 1", sum(tier.weights.values()))
    if tier.plus and sum(tier.plus.values()) >= 1:
        fail(f"{path}.plus", "shares that add up to less than 1", sum(tier.plus.values()))
    chain, of = [name], tier.of
    while of is not None:
        if of not in grid.tiers or of in chain:
            fail(f"{path}.of", f"{KEYS['of']} that is declared and not made of {name}", of)
        chain.append(of)
        of = grid.tiers[of].of
    sized = tier if tier.is_sized or tier.of is None else grid.tiers[tier.of]
    size, named = sized.count or sized.share, quantity(name.rpartition("_")[2])
    if named != size:
        fail(path, f"the quantity that the name says ({named})", size)


def parse_budget(name: str) -> Budget:
    """Read a budget off its name: 1k_steps, 100M_tokens, 3600_seconds."""
    number, _, unit = name.rpartition("_")
    amount = quantity(number)
    if unit not in typing.get_args(Unit) or not isinstance(amount, int) or not 0 < amount <= 1e15:
        fail("train.budgets", "names such as 1k_steps, 100M_tokens or 3600_seconds", name)
    return Budget(unit=typing.cast(Any, unit), amount=amount)


def declared_budgets() -> dict[str, Budget]:
    """The declared budgets by name."""
    return {name: parse_budget(name) for name in _grid().budgets}


def experiment_name(*parts: str | None) -> str:
    """The name of an experiment, or of its group, from those of its parts that are named.

    Args:
        parts: the tier, the model, the recipe, the budget, in this order.
    """
    return "_".join(part for part in parts if part)


def resolve(names: Sequence[str]) -> list[Experiment]:
    """Resolve each name of an experiment to what it means.

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


def resolve_one(name: str) -> Experiment:
    """Resolve one name; see `resolve`."""
    (arm,) = resolve([name])
    return arm


def _parts(name: str, grid: _Grid) -> tuple[str, str, str | None, str | None]:
    """The tier, the model, the recipe and the budget that an experiment's name holds."""
    ends = list(itertools.product((None, *grid.recipes), (None, *grid.budgets)))
    readings = [
        (tier, model, *end)
        for tier in grid.tiers
        if name.startswith(f"{tier}_")
        for model in grid.models
        if name.startswith(f"{tier}_{model}")
        for end in ends
        if name == experiment_name(tier, model, *end)
    ]
    if not readings:
        parts = itertools.product(grid.tiers, grid.models, ends)
        declared = (experiment_name(tier, model, *end) for tier, model, end in parts)
        near = nearest(name, itertools.islice(declared, MAX_NAMES))
        raise Refusal(f"unknown experiment {brief.repr(name)}; nearest: {near}")
    if len(readings) > 1:
        first, second = map(_described, readings[:2])
        raise Refusal(f"experiment {name} is both {first} and {second}: rename one of them")
    return readings[0]


def _described(parts: Sequence[str | None]) -> str:
    kinds = ("tier", "model", "recipe", "budget")
    return " and ".join(f"{kind} {part}" for kind, part in zip(kinds, parts, strict=True) if part)


def _resolve(name: str, grid: _Grid) -> Experiment:
    tier_name, model_name, recipe_name, budget_name = _parts(name, grid)
    build(Name, name, "experiments")
    tier, model = grid.tiers[tier_name], grid.models[model_name]
    recipe = grid.recipes[recipe_name or tier.recipe]
    if name_of(recipe.objective) not in OBJECTIVES[model.family]:
        raise Refusal(
            f"{name}: a {model.family} model such as {model_name} is not trained by the objective "
            f"{name_of(recipe.objective)} of train.recipes.{recipe_name or tier.recipe}: name a "
            f"recipe with objective: {' or '.join(OBJECTIVES[model.family])}"
        )
    if isinstance(recipe.objective, Reward) and model.adapter:
        raise Refusal(
            f"{name}: a reward model is trained whole, as its head is no part of an adapter: name "
            f"a model without one, not {model_name}"
        )
    rate = recipe.learning_rate * model.learning_rate_scale
    return Experiment(
        name=name,
        tier_name=tier_name,
        tier=tier,
        level=tier_name.partition("_")[0],
        model_name=model_name,
        model=model,
        recipe_name=recipe_name,
        recipe=dataclasses.replace(recipe, learning_rate=rate),
        budget_name=budget_name,
        budget=parse_budget(budget_name) if budget_name else None,
        group=experiment_name(model_name, recipe_name, budget_name),
    )
