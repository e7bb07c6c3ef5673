"""Does a conclusion outlive the regime that it was drawn in?

Tiers of different sizes differ in more than their rows. By the recipe they are repeated as often as
documented (equal epochs), so a larger one also trains longer; for equal steps or tokens a smaller
one is repeated more; for equal cost a tier that was cut by score pays for the scoring. Every
comparison is held against every regime that was run, and one that turns round is flagged.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from winnow.analyze.cost import total_seconds, training_seconds
from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer
from winnow.analyze.questions.answer import Verdict, verdicts
from winnow.analyze.report import numbers
from winnow.analyze.report.values import with_reasons
from winnow.analyze.study import Arm, Study, estimates, matched_control
from winnow.core.experiments import Budget, declared_budgets, experiment_name, parse_budget

EPOCHS = "epochs"
REGIMES = {
    EPOCHS: "equal epochs",
    "steps": "equal steps",
    "tokens": "equal tokens",
    "seconds": "equal total cost",
}
"""By what arms are made equal: their recipes' epochs, or the unit of a budget."""
FLIPS, NOT_HELD, HOLDS, UNDECIDED = "FLIPS", "not held", "holds", "undecided"
ONE_REGIME = "it was compared in fewer than two regimes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What becomes of a conclusion over the regimes; None where fewer than two were compared."""

    status: str | None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: str | None) -> "Status":
        """With the reason where there is none."""
        return cls(status=status, reasons={} if status else {"status": ONE_REGIME})


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison(Status):
    """The margin of one tier over another by regime."""

    regimes: Mapping[str, object]
    """Intervals, null where an experiment was not run, with the reasons."""
    changes: Mapping[str, Interval]
    """How much larger the margin is in the second of two regimes than in the first: that one holds
    and the other does not is no evidence of a difference, this interval is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """One model under all its regimes."""

    regimes: Mapping[str, object]
    verdict: Status
    comparisons: Mapping[str, Comparison]
    not_run: Mapping[str, object]
    """The experiments that would run the other regimes."""


def unit(budget: str | None) -> str:
    """The regime of a budget."""
    return EPOCHS if budget is None else parse_budget(budget).unit


def _status(found: Sequence[object], undecided: object) -> str | None:
    """What becomes of a conclusion over its regimes; None for fewer than two."""
    if len(found) < 2:
        return None
    decided = {conclusion for conclusion in found if conclusion != undecided}
    if len(decided) > 1:
        return FLIPS
    if not decided:
        return UNDECIDED
    return NOT_HELD if undecided in found else HOLDS


def margin_status(margins: Sequence[Interval]) -> str | None:
    """FLIPS where two margins lie surely on both sides of zero; `not held` where some are sure and
    some hold zero; `undecided` where all hold it; else `holds`. None for fewer than two."""
    return _status([m.above_zero - (m.high < 0) for m in margins], 0)


def verdict_status(verdicts: Sequence[Verdict]) -> str | None:
    """The same for the tier to keep; regimes with nothing to compare do not count."""
    judged = [v for v in verdicts if v.kind != "nothing to compare"]
    kept = [v.kept and v.kept.tier_name for v in judged]
    return _status(kept, None)


def _pairs(groups: Mapping[str | None, tuple[Arm, ...]]) -> list[tuple[str, str]]:
    """What is compared: every top tier with its matched control, then every two of the top tiers
    and all rows."""
    arms = {arm.tier_name: arm for arms in groups.values() for arm in arms}
    ordered = sorted(arms.values(), key=lambda arm: (arm.num_rows, arm.tier_name))
    sizes = [arm for arm in ordered if arm.is_top or arm.is_unfiltered]
    controls = [(arm, matched_control(arm, tuple(ordered))) for arm in sizes]
    matched = [(arm.tier_name, control.tier_name) for arm, control in controls if control]
    return matched + [(a.tier_name, b.tier_name) for a, b in combinations(sizes, 2)]


def _comparison(
    pair: tuple[str, str],
    model: str,
    groups: Mapping[str | None, tuple[Arm, ...]],
    losses: Estimates,
) -> Comparison:
    """The margin of one tier over another by regime, and whether it holds over them."""
    cells: dict[str, Interval | None] = {}
    reasons, margins, weights = {}, [], dict[str, dict[str, float]]()
    for budget, arms in groups.items():
        names = {arm.tier_name: arm.name for arm in arms}
        absent = [experiment_name(tier, model, budget) for tier in pair if tier not in names]
        key = budget or EPOCHS
        if absent:
            cells[key], reasons[key] = None, f"{numbers.listed(absent)} was not run"
        else:
            margin = losses.margin(names[pair[0]], names[pair[1]])
            margins.append(margin)
            cells[key] = margin
            sign = 1.0 if losses.lower_is_better else -1.0
            weights[key] = {names[pair[1]]: sign, names[pair[0]]: -sign}
    status = Status.of(margin_status(margins))
    return Comparison(
        status=status.status,
        reasons=status.reasons,
        regimes=with_reasons(cells, reasons),
        changes={
            f"{one} to {other}": losses.contrast(
                {name: -weight for name, weight in weights[one].items()} | weights[other]
            )
            for one, other in combinations(weights, 2)
        },
    )


def _typical(arms: Sequence[Arm], kind: str, study: Study) -> float:
    """What arms took, in a unit of budgets: the middle one."""
    if kind == "seconds":
        taken = [total_seconds(arm, study) or training_seconds(arm, study) for arm in arms]
    else:
        taken = [
            arm.mean(lambda run: run.train.num_steps if kind == "steps" else run.train.tokens_seen)
            for arm in arms
        ]
    return sorted(taken)[len(taken) // 2]


def _not_run(
    model: str,
    groups: Mapping[str | None, tuple[Arm, ...]],
    study: Study,
    budgets: Mapping[str, Budget],
) -> dict[str, object]:
    """Per regime without any arm: the experiments that would run it, with the declared budget that
    is nearest to what the arms took so far."""
    first = next(iter(groups.values()))
    tiers = dict.fromkeys(tier for pair in _pairs(groups) for tier in pair)
    found: dict[str, object] = {}
    for kind in REGIMES:
        if kind in map(unit, groups):
            continue
        amounts = {name: b.amount for name, b in budgets.items() if b.unit == kind}
        if kind != EPOCHS and not amounts:
            why = f"no budget of {kind} is declared in train.budgets"
            found[kind] = with_reasons({"experiments": None}, {"experiments": why})
            continue
        budget = None
        if kind != EPOCHS:
            taken = max(1.0, _typical(first, kind, study))
            budget = min(amounts, key=lambda name: abs(math.log(amounts[name] / taken)))
        found[kind] = {"experiments": [experiment_name(tier, model, budget) for tier in tiers]}
    return found


def _trained(arm: Arm) -> str:
    """The model with its named recipe: what stays when the budget changes."""
    return experiment_name(arm.model, arm.recipe)


def _model(
    model: str,
    study: Study,
    losses: Estimates,
    judged: Mapping[str, Verdict],
    budgets: Mapping[str, Budget],
) -> Grid:
    """The grid of one model."""
    own = [arms for arms in study.models().values() if _trained(arms[0]) == model]
    own.sort(key=lambda arms: list(REGIMES).index(unit(arms[0].budget)))
    groups = {arms[0].budget: arms for arms in own}
    by_regime = {budget or EPOCHS: judged[arms[0].model_name] for budget, arms in groups.items()}
    pairs = _pairs(groups)
    regimes = {
        key: {
            "regime": REGIMES[unit(None if key == EPOCHS else key)],
            "verdict": verdict.kind,
            "best": (verdict.kept or verdict.best).tier_name,
            "tied": [arm.tier_name for arm in verdict.tied],
        }
        for key, verdict in by_regime.items()
    }
    return Grid(
        regimes=regimes,
        verdict=Status.of(verdict_status(list(by_regime.values()))),
        comparisons={f"{a} over {b}": _comparison((a, b), model, groups, losses) for a, b in pairs},
        not_run=_not_run(model, groups, study, budgets) if pairs else {},
    )


def confound_grid(
    study: Study, losses: Estimates, judged: Mapping[str, Verdict], budgets: Mapping[str, Budget]
) -> dict[str, Grid]:
    """Per model: the verdict and every margin under each regime, and which conclusions flip.

    Args:
        study: what was run.
        losses: of the metric.
        judged: by model and budget, as `Study.models` groups them.
        budgets: those that params.yaml declares, for what was not run.
    """
    models = dict.fromkeys(arms[0].model for arms in study.models().values())
    return {model: _model(model, study, losses, judged, budgets) for model in models}


@functools.lru_cache(1)
def grids(study: Study, settings: AnalyzeConfig) -> dict[str, Grid]:
    """By model, with the budgets of params.yaml."""
    losses = estimates(study, settings, settings.metric)
    judged = verdicts(study, settings)
    return confound_grid(study, losses, judged, declared_budgets())


def flips(by_model: Mapping[str, Grid]) -> list[str]:
    """What turns round, in words."""
    sentences = []
    for model, grid in by_model.items():
        regimes = numbers.listed(list(grid.regimes))
        if grid.verdict.status == FLIPS:
            sentences.append(f"{model}: the tier to keep differs between {regimes}")
        sentences += [
            f"{model}: {name} turns round between {regimes}"
            for name, comparison in grid.comparisons.items()
            if comparison.status == FLIPS
        ]
    return sentences


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every model."""
    by_model = grids(study, settings)
    return Answer(values=by_model, sentence="; ".join(flips(by_model)))
