"""What did a score do? Every tier of top rows beside as many random rows.

A claim about the tier that won is made on the data that it won on, and more worthless scores would
pass than the confidence says. So each of K tiers that have a control is asked at the confidence
1 - (1 - c) / K (Bonferroni), and all claims of a model hold together at c.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, matched_control
from winnow.core.experiments import DOCUMENTED


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A tier of top rows, and the random arm that it is tested against."""

    tier: Arm
    arm: Arm
    margin: Interval
    """How much better the tier is."""
    confidence: float
    """Of that interval."""

    @property
    def kind(self) -> Literal["matched", "same size", "other size"]:
        """How far the random rows are like the tier's."""
        if self.arm.rule == "matched":
            return "matched"
        return "same size" if self.arm.num_rows == self.tier.num_rows else "other size"

    @property
    def wins(self) -> bool:
        """Whether random rows of the tier's number surely beat it."""
        return self.kind != "other size" and self.margin.high < 0

    @property
    def loses(self) -> bool:
        """Whether the tier surely beats random rows of its number."""
        return self.kind != "other size" and self.margin.above_zero

    def values(self) -> dict[str, object]:
        """The control as it is written."""
        written: dict[str, object] = {
            "tier": self.tier.name,
            "experiment": self.arm.name,
            "kind": self.kind,
            "margin": self.margin,
            "confidence": self.confidence,
        }
        overlap = self.arm.overlap
        if overlap is not None and overlap < 1:
            # Beside rows that were all rejected the margin would be about this.
            written["margin_over_rejected"] = self.margin.value / (1 - overlap)
        return written


def _random(tier: Arm, arms: Sequence[Arm]) -> list[Arm]:
    """The matched control and the random arm nearest in size, those of them that were run."""
    random = [arm for arm in arms if arm.rule == "random" and not arm.is_unfiltered]
    random.sort(key=lambda arm: abs(arm.num_rows - tier.num_rows))
    matched = matched_control(tier, arms)
    return [*([matched] if matched else []), *random[:1]]


def controls(arms: Sequence[Arm], estimates: Estimates) -> dict[Arm, Control | None]:
    """Every tier of top rows, the best first, and its control: the random rows of its number that
    surely beat it; else those of its lengths too; else the nearest random arm."""
    tops = sorted((arm for arm in arms if arm.is_top), key=lambda arm: order(arm, estimates))
    random = {tier: _random(tier, arms) for tier in tops}
    told = [
        tier
        for tier, found in random.items()
        if any(arm.rule == "matched" or arm.num_rows == tier.num_rows for arm in found)
    ]
    confidence = 1 - (1 - estimates.confidence) / max(1, len(told))
    tested: dict[Arm, Control | None] = {}
    for tier, found in random.items():
        beside = [
            Control(
                tier=tier,
                arm=arm,
                margin=estimates.margin(tier.name, arm.name, confidence),
                confidence=confidence,
            )
            for arm in found
        ]
        tested[tier] = next((one for one in beside if one.wins), beside[0] if beside else None)
    return tested


def order(arm: Arm, estimates: Estimates) -> tuple[float, int, str]:
    """The best first; of equal ones the smaller."""
    return estimates.order(arm.name), arm.num_rows, arm.name


def score_name(tier: Arm) -> str:
    """What a sentence calls the score that cut a tier."""
    if tier.by == DOCUMENTED:
        return "the documented score"
    return f"the score {tier.by}" if tier.by else "the score"


def sentence(kept: Arm | None, tested: dict[Arm, Control | None], estimates: Estimates) -> str:
    """What one score did in its best tier, with the margin, and in how many tiers.

    Args:
        kept: the arm that the answer is.
        tested: the tiers of that score, the best first.
        estimates: of the metric.
    """
    tier, control = next(iter(tested.items()))
    matched = f"{{rule: matched, of: {tier.tier_name}}} to select.tiers and experiments."
    if control is None:
        return (
            f"No random control was run beside {tier.tier_name}, so nothing is known about "
            f"{score_name(tier)} itself: add a tier {matched}"
        )
    evidence = (
        f"margin {numbers.signed(control.margin.value)} {estimates.unit}, "
        f"{100 * control.confidence:.3g}% interval {numbers.span(control.margin)}, "
        f"{numbers.plural(len(tier.runs), 'seed')}"
    )
    if control.kind == "other size":
        return (
            f"The random tier nearest to {tier.tier_name} has "
            f"{numbers.count(control.arm.num_rows)} rows ({evidence}); as the sizes differ, it "
            f"says nothing about {score_name(tier)} itself: add a tier {matched}"
        )
    return f"{_outcome(kept, control)} ({evidence}).{_tally(tested)}"


def _outcome(kept: Arm | None, control: Control) -> str:
    """Whether a tier does better than its control."""
    lengths = (
        "of the same lengths" if control.kind == "matched" else "whose lengths are not matched"
    )
    drawn = f"as many random rows {lengths}"
    score = score_name(control.tier)
    name = numbers.rows(control.tier, share=False)
    if control.wins:
        return f"{name[0].upper()}{name[1:]} do worse than {drawn}"
    if not control.loses:
        return f"T{score[1:]} itself did not help: {name} cannot be told from {drawn}"
    if control.tier is kept:
        return f"T{score[1:]} earns it: {drawn} do worse"
    return f"Yet {score} does better than chance: {drawn} as {name} do worse"


def _tally(tested: dict[Arm, Control | None]) -> str:
    """In how many tiers a score surely helped or hurt, where there are several."""
    told = [control for control in tested.values() if control and control.kind != "other size"]
    if len(told) < 2:
        return ""
    return (
        f" Of the {len(told)} tiers that have such a control, it surely helps in "
        f"{sum(control.loses for control in told)} and surely hurts in "
        f"{sum(control.wins for control in told)}."
    )
