"""What does each source of a mixture bring? Leave-one-out and add-one arms on every source's rows.

An arm without a source, or with one more, is held against the tier that it is made of (`of`), of
the same size and budget. The impact of a component is how much lower the loss is with it: on its
own test rows, on those of every other source, and on the mean over sources, each weighing the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.params import AnalyzeConfig
from winnow.analyze.questions import Answer, by_chance, openings
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Study, by_source, estimates, read_pool, token_shares
from winnow.core.drawing import Drawing, Palette, panels
from winnow.core.errors import Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class Impact:
    """What a component brings, in nats per token: above zero, the loss is lower with it."""

    component: str
    """The source, or several, joined by a plus sign."""
    kind: str
    """without: the arm left it out; plus: the arm was given it."""
    arm: str
    base: str
    """The arm that the arm's tier is made of."""
    share: float
    """Of the tokens of the one that has it; the mean over seeds."""
    own: Interval | None
    """On its own test rows."""
    others: Interval | None
    """The mean over the other sources."""
    mean: Interval
    """The mean over all sources."""
    by_source: Mapping[str, Interval]
    surely: Sequence[str]
    """The sources whose interval is beside zero even at the confidence at which all intervals of
    the model hold at once (Bonferroni)."""
    tasks: Interval | None
    """The share of tasks completed."""
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The arm that has the component, and the one that has not."""

    arm: Arm
    base: Arm

    @property
    def components(self) -> tuple[str, ...]:
        tier = self.arm.tier
        return (tier.without,) if tier.without else tuple(tier.plus or ())

    @property
    def kind(self) -> str:
        return "without" if self.arm.tier.without else "plus"

    @property
    def sides(self) -> tuple[str, str]:
        """With it, and without it."""
        names = (self.arm.name, self.base.name)
        return names if self.kind == "plus" else names[::-1]


def _pairs(arms: Sequence[Arm]) -> list[_Pair]:
    by_tier = {arm.tier_name: arm for arm in arms}
    changed = [arm for arm in arms if (arm.tier.without or arm.tier.plus) and arm.of in by_tier]
    pairs = [_Pair(arm, by_tier[str(arm.of)]) for arm in changed]
    return sorted(pairs, key=lambda pair: (pair.kind == "plus", pair.base.name, pair.components))


def _share(pair: _Pair, study: Study) -> float:
    arm = pair.arm if pair.kind == "plus" else pair.base
    pool = read_pool()
    found = [token_shares(draw, pool) for draw in arm.draws]
    return sum(sum(one[name] for name in pair.components) for one in found) / len(found)


def _tasks(study: Study, settings: AnalyzeConfig) -> Estimates | None:
    try:
        return estimates(study, settings, "task_completion")
    except Refusal:  # no task was asked, which is no fault of what is
        return None


def _impact(pair: _Pair, study: Study, settings: AnalyzeConfig, sure: float) -> Impact:
    parts, sides, reasons = by_source(study, settings), pair.sides, {}
    own = [parts[name] for name in pair.components if name in parts]
    rest = [part for name, part in parts.items() if name not in pair.components]
    tasks = _tasks(study, settings)
    if not own:
        reasons["own"] = "the test set has fewer than two rows of it"
    if not rest:
        reasons["others"] = "the test set has rows of no other source"
    if tasks is None:
        reasons["tasks"] = "no tasks were asked: evaluate.tasks names them"
    return Impact(
        component=" + ".join(pair.components),
        kind=pair.kind,
        arm=pair.arm.name,
        base=pair.base.name,
        share=_share(pair, study),
        own=Estimates.mean_of(own).margin(*sides) if own else None,
        others=Estimates.mean_of(rest).margin(*sides) if rest else None,
        mean=Estimates.mean_of(list(parts.values())).margin(*sides),
        by_source={name: part.margin(*sides) for name, part in parts.items()},
        surely=[name for name, part in parts.items() if not part.margin(*sides, sure).holds_zero],
        tasks=tasks.margin(*sides) if tasks else None,
        reasons=reasons,
    )


def components(study: Study, settings: AnalyzeConfig) -> dict[str, list[Impact]]:
    """By model: the impact of every component that was left out or added; models without such
    arms are left out."""
    found = {}
    for model, arms in study.models().items():
        if pairs := _pairs(arms):
            cells = len(pairs) * max(1, len(by_source(study, settings)))
            sure = 1 - (1 - settings.confidence) / cells
            found[model] = [_impact(pair, study, settings, sure) for pair in pairs]
    return found


def _clause(impact: Impact) -> str:
    way = "left out of" if impact.kind == "without" else "added to"
    text = f"{impact.component} ({numbers.percent(impact.share)}, {way} {impact.base}) brings "
    if impact.own:
        text += f"its own rows {numbers.signed(impact.own.value)} ({numbers.span(impact.own)})"
    if impact.others:
        others = impact.others
        verdict = "nothing sure" if others.holds_zero else numbers.signed(others.value)
        text += f" and the other sources {verdict} ({numbers.span(others)})"
    return text


def sentence(model: str, impacts: Sequence[Impact]) -> str:
    """What every component brings, the most on average first."""
    ordered = sorted(impacts, key=lambda impact: -impact.mean.value)
    parts = "; ".join(_clause(impact) for impact in ordered)
    return f"What each component brings ({model}), in nats per token: {parts}."


def opening(impacts: Sequence[Impact], confidence: float) -> str:
    """Which components surely help or cost on average, and how many their own rows."""
    helping = [one.component for one in impacts if one.mean.above_zero]
    costing = [one.component for one in impacts if one.mean.high < 0]
    rest = len(impacts) - len(helping) - len(costing)
    parts = [
        *([f"the loss is surely lower with {numbers.listed(helping)}"] if helping else []),
        *([f"the loss is surely higher with {numbers.listed(costing)}"] if costing else []),
        *([f"{rest} of {len(impacts)} changes cannot be told from none"] if rest else []),
    ]
    own = [one.own for one in impacts if one.own]
    taught = sum(one.above_zero for one in own)
    return (
        f"On the mean over sources {'; '.join(parts)}. "
        f"{taught} of {len(own)} changes show that a source teaches its own rows. "
        f"{by_chance(len(impacts), confidence)}"
    )


def _draw(impacts: Sequence[Impact], palette: Palette) -> Figure:
    figure, (axes,) = panels(palette, 1, 1.1 + 0.34 * len(impacts))
    for y, impact in enumerate(reversed(impacts)):
        for found, colour, marker, up in (
            (impact.own, palette.rule("mixture"), "h", 0.12),
            (impact.others, palette.muted, "o", -0.12),
        ):
            if found:
                axes.plot([found.low, found.high], [y + up] * 2, color=colour)
                axes.plot([found.value], [y + up], marker, color=colour)
    axes.axvline(0, color=palette.ink, linewidth=0.8)
    labels = [
        f"{'−' if impact.kind == 'without' else '+'} {impact.component}"
        for impact in reversed(impacts)
    ]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("loss without it less loss with it, nats per token")
    handles = [
        Line2D([], [], color=palette.rule("mixture"), marker="h", label="on its own rows"),
        Line2D([], [], color=palette.muted, marker="o", label="mean of the other sources"),
    ]
    axes.legend(handles=handles, frameon=False, labelcolor=palette.ink, loc="best")
    return figure


def ask(study: Study, settings: AnalyzeConfig) -> Answer:
    """Answer for every model and budget that has such arms."""
    found, level = components(study, settings), settings.confidence
    figures = [
        Drawing(
            f"components_{place}",
            f"What each component brings ({model})",
            "Above zero the loss is lower with it. Minus: the arm left it out; plus: it was added.",
            partial(_draw, impacts),
        )
        for place, (model, impacts) in enumerate(found.items())
    ]
    sentences = " ".join(sentence(model, impacts) for model, impacts in found.items())
    return Answer(
        values=found,
        sentence=sentences,
        asks="From which sources should the rows come?",
        opening=openings({model: opening(one, level) for model, one in found.items()}),
        figures=tuple(figures),
    )
