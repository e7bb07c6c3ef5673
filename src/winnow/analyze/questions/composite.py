"""The documented composite of every arm, from what was measured: phi * (D + I + A) / 3.

Each factor of a part is a quantity of this project (MEASURED in params.py, or `analyze.composite`),
mapped from its stated range to [0, 1], or as it is with `literal`. As a part is a product, one zero
makes it zero, so geometric means stand beside it. A factor that nothing measured is null with the
reason, and so are its part and the composite.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.analyze.params import AnalyzeConfig, Composite
from winnow.analyze.questions import Answer
from winnow.analyze.report import numbers
from winnow.analyze.study import SPLITS, Arm, Run, Study, read_draw, read_pool
from winnow.core import files, metrics
from winnow.core.composite import PARTS, PHI, TARGET, maximum, scaled
from winnow.core.errors import Refusal
from winnow.core.layout import CURATED, CURATION_METRICS
from winnow.core.params import PARAMS

KEPT = {"unique": ("exact", "near", "semantic"), "not_toxic": ("toxicity",)}
"""The steps of curation whose rows a share of the corpus is without."""


class Unmeasured(Exception):
    """Why a quantity has no value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of an arm's composite."""

    factors: Mapping[str, float]
    """Those that were measured, as they enter the product."""
    product: float | None
    geometric_mean: float | None
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Also of the factors that were not measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """The composite of an arm."""

    parts: Mapping[str, Part]
    composite: float | None
    share_of_maximum: float | None
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """What the numbers are to be read against."""

    literal: bool
    parts: Mapping[str, Sequence[str]]
    """The factors of each part."""
    ranges: Mapping[str, Sequence[float]]
    measured: Mapping[str, str]
    """The quantity of each factor that has one."""
    maximum: float
    target: float
    target_share_of_maximum: float
    target_can_be_met: bool
    literal_maximum: float
    """With all factors as they are."""


class Quantities:
    """Measured quantities of arms by name; what they share is read once."""

    @cached_property
    def pool(self) -> pa.Table:
        """The scores of the pool."""
        return read_pool()

    @cached_property
    def curated(self) -> pa.Table:
        """The pool's texts and clusters, in the order of its scores."""
        return pq.read_table(CURATED / "train.parquet", columns=["instruction", "cluster"])

    @cached_property
    def vectors(self) -> Any:
        """Hashed words of the pool's instructions, each row of length one."""
        from winnow.core.ngrams import unit_vectors

        return unit_vectors(self.curated["instruction"].to_pylist())

    def of(self, arm: Arm, quantity: str) -> float:
        """A quantity of an arm, the mean over draws of its rows or over seeds.

        Raises:
            Unmeasured: with the reason.
        """
        room, _, name = quantity.partition(".")
        if room in ("score", "rows"):
            values = [self._of_rows(read_draw(draw), room, name) for draw in arm.draws]
            return sum(values) / len(values)
        if room == "curate":
            return _of_curation(name)
        return arm.mean(lambda run: _of_run(run, room, name))

    def _of_rows(self, rows: Any, room: str, name: str) -> float:
        if room == "score":
            if name not in self.pool.column_names:
                raise Unmeasured(f"no scorer of score.scorers gives a column {name}")
            values = self.pool[name].take(rows).drop_null()
            if not pa.types.is_floating(values.type) and not pa.types.is_integer(values.type):
                raise Unmeasured(f"the column {name} holds no numbers")
            if not len(values):
                raise Unmeasured(f"no row of the arm has a {name}")
            return float(values.to_numpy().mean())
        if name == "unique":
            return float(len(self.curated["cluster"].take(rows).unique()) / len(rows))
        if name == "dissimilarity":
            return dissimilarity(self.vectors[rows])
        raise Unmeasured(f"rows have no {name}: expected unique or dissimilarity")


def dissimilarity(vectors: Any) -> float:
    """One less the mean cosine of all pairs of rows of length one, cut off at [0, 1].

    Raises:
        Unmeasured: there are fewer than two rows.
    """
    number = vectors.shape[0]
    if number < 2:
        raise Unmeasured("one row makes no pair")
    total = np.asarray(vectors.sum(axis=0))
    lengths = float(vectors.multiply(vectors).sum())
    mean = (float((total**2).sum()) - lengths) / (number * (number - 1))
    return float(np.clip(1 - mean, 0, 1))


def _of_curation(name: str) -> float:
    """The share of the rows that reached the first of some steps which none of them dropped."""
    if name not in KEPT:
        raise Unmeasured(f"curation has no {name}: expected {' or '.join(KEPT)}")
    steps = files.read_sealed(CURATION_METRICS, "winnow curate")["steps"]
    places = [place for place, one in enumerate(steps) if one["step"] in KEPT[name]]
    if not places:
        raise Unmeasured(f"curate.steps has no {' or '.join(KEPT[name])}")
    dropped = pq.read_table(CURATED / "dropped.parquet", columns=["step"])["step"].to_numpy()
    kept = sum(pq.read_metadata(CURATED / f"{split}.parquet").num_rows for split in SPLITS)
    reached = kept + int((dropped >= places[0]).sum())
    return 1 - float(np.isin(dropped, places).sum() / reached)


def _of_run(run: Run, room: str, name: str) -> float:
    if room == "evaluate":
        value: float | None = getattr(run.generation, name, None)
        if not isinstance(value, int | float):
            reasons = run.generation.reasons
            raise Unmeasured(reasons.get(name, f"generation_analysis/metrics.json has no {name}"))
        return value
    if room == "benchmarks":
        metric = metrics.accuracy(name)
        if not (run.folder / metric.file).exists():
            raise Unmeasured("no benchmark was run: evaluate.benchmarks lists them")
        items = metrics.read(run.folder, metric)
        if not items.ids:
            raise Unmeasured(f"{name} is not among the benchmarks that were run")
        return float(items.numerators.sum() / items.denominators.sum())
    if name != "preference_accuracy":
        raise Unmeasured(f"a training has no {name}: expected preference_accuracy")
    curve = json.loads((run.folder / "train_results.json").read_text(encoding="utf-8"))["curve"]
    found = [point.get("validation_accuracy") for point in curve]
    measured = [accuracy for accuracy in found if accuracy is not None]
    if not measured:
        raise Unmeasured("it was not trained on pairs of answers")
    return float(measured[-1])


def part(names: Sequence[str], values: Mapping[str, float], reasons: Mapping[str, str]) -> Part:
    """A part of its factors: their product and, where none is below zero, their geometric mean.

    Args:
        names: of the part's factors.
        values: of the measured factors of all parts, as they enter the product.
        reasons: why the others have none.
    """
    missing = {name: reasons[name] for name in names if name not in values}
    factors = {name: values[name] for name in names if name in values}
    if missing:
        why = f"{numbers.listed([*missing])} {'is' if len(missing) == 1 else 'are'} not measured"
        missing |= {"product": why, "geometric_mean": why}
        return Part(factors=factors, product=None, geometric_mean=None, reasons=missing)
    product = math.prod(factors.values())
    if min(factors.values()) < 0:
        below = {"geometric_mean": "a factor is below zero"}
        return Part(factors=factors, product=product, geometric_mean=None, reasons=below)
    mean = product ** (1 / len(factors))
    return Part(factors=factors, product=product, geometric_mean=mean)


def _factor(name: str, arm: Arm, quantities: Quantities, settings: Composite) -> float:
    """A factor of an arm as it enters its part."""
    quantity, limits = settings.measured[name], settings.limits(name)
    if quantity is None:
        raise Unmeasured("analyze.composite.factors names no quantity for it")
    value = quantities.of(arm, quantity)
    if not limits[0] <= value <= limits[1]:
        raise Refusal(
            f"{PARAMS}: analyze.composite.ranges.{name}: {quantity} of {arm.name} is said to be in "
            f"[{limits[0]:g}, {limits[1]:g}], found {value:g}: state its range"
        )
    return scaled(value, limits, settings.literal)


def _score(arm: Arm, quantities: Quantities, settings: Composite, highest: float) -> Score:
    values, reasons = dict[str, float](), dict[str, str]()
    for name in settings.measured:
        try:
            values[name] = _factor(name, arm, quantities, settings)
        except Unmeasured as error:
            reasons[name] = str(error)
    parts = {key: part(names, values, reasons) for key, names in PARTS.items()}
    products = [one.product for one in parts.values() if one.product is not None]
    if len(products) == len(parts):
        value = PHI * sum(products) / len(products)
        return Score(parts=parts, composite=value, share_of_maximum=value / highest)
    missing = [key for key, one in parts.items() if one.product is None]
    why = f"{numbers.listed(missing)} {'is' if len(missing) == 1 else 'are'} not defined"
    return Score(
        parts=parts,
        composite=None,
        share_of_maximum=None,
        reasons={"composite": why, "share_of_maximum": why},
    )


def scale(settings: Composite) -> Scale:
    """What the composite can be at most, and whether the documented target can be met."""
    ranges = {name: settings.limits(name) for name in settings.measured}
    highest = maximum(PARTS.values(), ranges, settings.literal)
    return Scale(
        literal=settings.literal,
        parts=PARTS,
        ranges=ranges,
        measured={name: one for name, one in settings.measured.items() if one},
        maximum=highest,
        target=TARGET,
        target_share_of_maximum=TARGET / highest,
        target_can_be_met=highest > TARGET,
        literal_maximum=maximum(PARTS.values(), ranges, literal=True),
    )


def _target(found: Scale) -> str:
    share = numbers.percent(found.target_share_of_maximum)
    text = f"documented target, {found.target:.3f}, is {share} of the maximum, {found.maximum:.3f}"
    if not found.target_can_be_met:
        where = "" if found.literal else " with factors in [0, 1]"
        text += f", and cannot be met{where}"
    if not found.literal:
        literal = found.target / found.literal_maximum
        text += f"; on the literal scale it is {numbers.percent(literal)}"
        text += f" of {found.literal_maximum:.3f}"
    return text


def said(found: Scale, arms: Mapping[str, Score]) -> str:
    """The answer in words."""
    by_value = [(one.composite, name) for name, one in arms.items() if one.composite is not None]
    if by_value:
        value, best = max(by_value)
        share = numbers.percent(value / found.maximum)
        return (
            f"The documented composite is highest for {best}: {value:.3f}, {share} of the maximum. "
            f"The {_target(found)}."
        )
    parts = [each for one in arms.values() for each in one.parts.values()]
    why = {
        name: text for each in parts for name, text in each.reasons.items() if name in found.ranges
    }
    missing = "; ".join(f"{name}, {reason}" for name, reason in why.items())
    return f"The documented composite is not defined ({missing}). The {_target(found)}."


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every arm.

    Raises:
        Refusal: a factor is out of its range.
    """
    found, quantities = scale(settings.composite), Quantities()
    arms = {
        arm.name: _score(arm, quantities, settings.composite, found.maximum) for arm in study.arms
    }
    return Answer(values={"scale": found, "arms": arms}, sentence=said(found, arms))
