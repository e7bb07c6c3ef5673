"""What did each investment bring? Each arm of `analyze.chain` less the arm before it, and the cost.

A gain is marginal: it belongs to the order of the chain, and in another order the same investment
may bring something else. Where every set of the investments has an arm (`analyze.combinations`),
Shapley values stand beside it: the mean of an investment's gain over all orders (Shapley 1953).
Both are weighted sums of arms, so their intervals are paired over test rows and seeds; all arms
are taken for one group, whose seeds may do the same to all of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.report import numbers
from winnow.analyze.study import Study
from winnow.core import cards, files, metrics
from winnow.core.errors import Refusal
from winnow.core.experiments import Tier
from winnow.core.layout import CURATION_METRICS, MODELS, RESULTS, SCORING_METRICS
from winnow.core.params import PARAMS
from winnow.core.records import ExperimentConfig, TrainResults

DOCUMENTED = {
    "curation": ("Data curation pipeline", "+40% data quality", "+13% MMLU"),
    "scoring": ("Quality classifier", "+100% educational value", "+9% HellaSwag"),
    "mixture": ("Instruction mixture", "+50% instruction quality", "+2.0 MT-Bench"),
    "alignment": ("DPO alignment", "+30% alignment quality", "+13% AlpacaEval"),
}
"""Of the documented table, by the name of a link: claims about other models, not measured here."""
TOTAL = "together"
DOCUMENTED_TOTAL = ("Total", "+220% quality", "+37% average")
NO_PRICE = "analyze.price_per_hour names no price"
Set = frozenset[str]
"""Of investments."""
Documented = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of an arm, or of one arm less another: below zero, it costs less."""

    flops: float
    """Of training."""
    hours: float | None
    """Of curation, scoring and training."""
    money: float | None
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Investment:
    """One arm less the arm before it."""

    arm: str
    before: str
    gain: Interval
    """Above zero, the arm is better."""
    cost: Cost
    shapley: Interval | None
    documented: Sequence[str] | None
    """Name, quality gain and benchmark improvement."""
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """The chain from its first arm to its last one."""

    order: Sequence[str]
    metric: str
    unit: str
    start: Interval
    """The metric of the first arm."""
    investments: Mapping[str, Investment]
    total: Investment
    """The last arm less the first one: the sum of the gains, with an interval of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """An arm of the chain, in this project or another one's folder."""

    root: Path
    name: str
    configs: Sequence[ExperimentConfig]
    results: Sequence[TrainResults]
    items: Sequence[metrics.Items]

    @property
    def label(self) -> str:
        """The arm, with the folder where it is another's."""
        return self.name if self.root == Path() else str(self.root / self.name)

    @property
    def model(self) -> str:
        """The bare model."""
        return self.configs[0].model_name

    @property
    def flops(self) -> float:
        """Of a training, the mean over seeds."""
        return float(np.mean([run.flops for run in self.results]))

    @property
    def speed(self) -> float:
        """Floating-point operations a second of its fastest training."""
        return max(run.flops / run.train_time for run in self.results)

    def continues(self, other: "Trained") -> bool:
        """Whether its training started from a model of another arm."""
        started = {(self.root / run.init).resolve() for run in self.configs}
        made = {
            (other.root / MODELS / other.name / f"{run.seed}").resolve() for run in other.configs
        }
        return bool(started & made)


def read(link: tuple[str, str | None], study: Study, metric: str) -> Trained:
    """Read an arm's configurations, trainings and test items for the seeds of the study.

    Args:
        link: the experiment, and the folder of its project where it is another.
        study: this project's.
        metric: of `metrics.METRICS`.

    Raises:
        Refusal: the experiment is not in the grid, or a result is missing or was changed.
    """
    name, folder = link
    if folder is None and name not in {arm.name for arm in study.arms}:
        raise Refusal(f"{PARAMS}: analyze.chain: {name} is none of the experiments: list it there")
    configs, results, items = [], [], []
    for seed in study.seeds:
        place = Path(folder or "") / RESULTS / name / str(seed)
        cards.read_card(place, f"winnow evaluate {name} --seed {seed}")
        config, result = (place / f"{file}.json" for file in ("experiment_config", "train_results"))
        configs.append(files.contract(ExperimentConfig, files.read_json(config), config))
        results.append(files.contract(TrainResults, files.read_json(result), result))
        items.append(metrics.read(place, metrics.METRICS[metric]))
    return Trained(Path(folder or ""), name, configs, results, items)


def measure(arms: Mapping[Set, Trained], settings: AnalyzeConfig) -> Estimates:
    """The metric of all arms, by their labels.

    Raises:
        Refusal: two arms were judged on other items.
    """
    first = next(iter(arms.values()))
    one = first.items[0]
    for arm in arms.values():
        for items in arm.items:
            same = np.array_equal(items.denominators, one.denominators)
            if not one.ids or items.ids != one.ids or not same:
                raise Refusal(
                    f"{PARAMS}: analyze.chain: {arm.label} and {first.label} were not judged on "
                    f"the same items of {settings.metric}: give both projects one curate.held_out, "
                    "or choose analyze.metric: bits_per_byte for other tokenizers"
                )
    metric = metrics.METRICS[settings.metric]
    return Estimates.of(
        {arm.label: "" for arm in arms.values()},
        np.stack([np.stack([one.numerators for one in arm.items]) for arm in arms.values()]),
        one.denominators,
        resamples=settings.resamples,
        confidence=settings.confidence,
        seed=settings.seed,
        lower_is_better=metric.lower_is_better,
        unit=metric.unit,
    )


def shapley(investment: str, sets: Mapping[Set, str], every: Set) -> dict[str, float]:
    """The weight of each arm in the Shapley value of an investment.

    Args:
        investment: one of `every`.
        sets: the arm of every set of the investments.
        every: all investments.
    """
    weights, others = dict.fromkeys(sets.values(), 0.0), sorted(every - {investment})
    for size in range(len(every)):
        weight = 1 / (len(every) * math.comb(len(every) - 1, size))
        for chosen in map(frozenset, combinations(others, size)):
            weights[sets[chosen | {investment}]] += weight
            weights[sets[chosen]] -= weight
    return weights


def _seconds(arm: Trained, speed: float) -> float | None:
    """Of curation, scoring and training; None where scoring left no measured cost."""
    steps = files.read_sealed(arm.root / CURATION_METRICS, "winnow curate")["steps"]
    scored = files.read_sealed(arm.root / SCORING_METRICS, "winnow score")
    scoring = Tier(**arm.configs[0].tier).scoring_seconds(scored)
    if scoring is None:
        return None
    curation: float = sum(step["seconds"] for step in steps)
    return curation + scoring + arm.flops / speed


def costs(arms: Mapping[Set, Trained], price: float | None) -> dict[str, Cost]:
    """What each arm cost, with the arm whose model its training started from.

    Seconds of training are its operations at the speed of the fastest training of its model, as in
    cost.py; those of curation and scoring are by the clock.
    """

    def spent(arm: Trained) -> tuple[float, float | None]:
        alike = [one for one in arms.values() if one.model == arm.model]
        flops, seconds = arm.flops, _seconds(arm, max(one.speed for one in alike))
        for other in arms.values():
            if other is not arm and arm.continues(other):
                more, time = spent(other)
                flops += more
                seconds = None if seconds is None or time is None else seconds + time
        return flops, seconds

    found = {}
    for arm in arms.values():
        flops, seconds = spent(arm)
        found[arm.label] = _cost(flops, None if seconds is None else seconds / 3600, price)
    return found


def _cost(flops: float, hours: float | None, price: float | None) -> Cost:
    reasons = {} if hours is not None else {"hours": "scoring left no measured cost"}
    money = None if hours is None or price is None else hours * price
    if money is None:
        reasons["money"] = NO_PRICE if price is None else reasons["hours"]
    return Cost(flops=flops, hours=hours, money=money, reasons=reasons)


def _less(cost: Cost, before: Cost, price: float | None) -> Cost:
    """What an arm costs more than another one."""
    known = cost.hours is not None and before.hours is not None
    hours = (cost.hours or 0) - (before.hours or 0) if known else None
    return _cost(cost.flops - before.flops, hours, price)


def _by_set(settings: AnalyzeConfig) -> dict[Set, tuple[str, str | None]]:
    """The arm and the folder of each set of investments, those of the chain first."""
    names = [link.name for link in settings.chain[1:]]
    found = {Set(names[:at]): (link.arm, link.folder) for at, link in enumerate(settings.chain)}
    return found | {Set(one.of): (one.arm, one.folder) for one in settings.combinations}


def chain(study: Study, settings: AnalyzeConfig) -> Chain:
    """What each investment of the declared chain brought, and cost.

    Raises:
        Refusal: an arm has no results, or was judged on other items than the first one.
    """
    order = [link.name for link in settings.chain[1:]]
    arms = {key: read(link, study, settings.metric) for key, link in _by_set(settings).items()}
    found, price = measure(arms, settings), settings.price_per_hour
    spent, every = costs(arms, price), Set(order)
    labels = {key: arm.label for key, arm in arms.items()}
    sign = -1.0 if found.lower_is_better else 1.0

    values = dict[str, Interval]()
    if len(arms) == 2 ** len(order):
        for name in order:
            weights = shapley(name, labels, every)
            values[name] = found.contrast({arm: sign * one for arm, one in weights.items()})
    path = [labels[Set(order[:at])] for at in range(len(order) + 1)]
    if values:
        values[TOTAL] = found.margin(path[-1], path[0])

    def invested(name: str, before: str, after: str, documented: Documented | None) -> Investment:
        reasons = {}
        if name not in values:
            reasons["shapley"] = f"{len(arms)} of {2 ** len(order)} sets of investments have an arm"
        if documented is None:
            reasons["documented"] = "the documented table has nothing of this name"
        return Investment(
            arm=after,
            before=before,
            gain=found.margin(after, before),
            cost=_less(spent[after], spent[before], price),
            shapley=values.get(name),
            documented=documented,
            reasons=reasons,
        )

    return Chain(
        order=order,
        metric=settings.metric,
        unit=found.unit,
        start=found.value(path[0]),
        investments={
            name: invested(name, *pair, DOCUMENTED.get(name))
            for name, pair in zip(order, pairwise(path), strict=True)
        },
        total=invested(TOTAL, path[0], path[-1], DOCUMENTED_TOTAL),
    )


def _signed(number: float, text: str) -> str:
    return (numbers.MINUS if number < 0 else "+") + text


def _clause(name: str, found: Investment) -> str:
    cost = found.cost
    parts = [f"{_signed(cost.flops, numbers.short(abs(cost.flops)))} FLOPs"]
    if cost.hours is not None:
        parts.append(_signed(cost.hours, numbers.duration(3600 * abs(cost.hours))))
    if cost.money is not None:
        parts.append(f"{_signed(cost.money, f'{abs(cost.money):.2g}')} in money")
    verdict = " (not settled)" if found.gain.holds_zero else ""
    return (
        f"{name} {numbers.signed(found.gain.value)} ({numbers.span(found.gain)}){verdict} for "
        f"{numbers.listed(parts)}"
    )


def said(found: Chain) -> str:
    """The answer in words, in the order of the chain."""
    clauses = "; ".join(_clause(name, one) for name, one in found.investments.items())
    return (
        f"What each investment brought, in this order, from {found.total.before} on, in "
        f"{found.unit} of {found.metric} (above zero: better): {clauses}. "
        f"{_clause(TOTAL.capitalize(), found.total)}."
    )


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for the declared chain; without one there is nothing to say."""
    if not settings.chain:
        return Answer(values={})
    found = chain(study, settings)
    return Answer(values=found, sentence=said(found))
