"""Figures of what more rows bring: loss against tokens by rule, and what a row is worth."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from winnow.analyze.intervals import Estimates
from winnow.analyze.laws import LAW, Curve, curves, fit, kind, predicted
from winnow.analyze.report import numbers
from winnow.analyze.study import Study
from winnow.core import rules
from winnow.core.drawing import Drawing, Label, Palette, panels, place_labels

BEYOND = 2.0
"""How far beyond its support a law is drawn, dashed."""


def _law(axes: Axes, curve: Curve, losses: Estimates, palette: Palette) -> None:
    """A law and its band: drawn through on its support, dashed and without band beyond."""
    first, last = curve.tokens[[0, -1]]
    colour, tail = palette.rule(curve.rule), (1 - losses.confidence) / 2
    inside = np.geomspace(first, last, 40)
    found = predicted(curve, inside)
    low, high = np.quantile(found[:, 1:], [tail, 1 - tail], axis=1)
    axes.fill_between(inside, low, high, color=colour, alpha=0.15, lw=0, zorder=1)
    axes.plot(inside, found[:, 0], color=colour, lw=1.4, zorder=2)
    for ends in ((first / BEYOND, first), (last, last * BEYOND)):
        axes.plot(
            ends,
            predicted(curve, np.array(ends))[:, 0],
            color=colour,
            lw=1.1,
            ls=(0, (4, 3)),
            zorder=2,
        )


def _panel(
    axes: Axes, by_rule: dict[str, Curve], losses: Estimates, palette: Palette, apart: float
) -> None:
    """One model's points and laws; ticks at sizes that are this many times apart."""
    sizes = [size for curve in by_rule.values() for size in curve.tokens]
    axes.set_xscale("log")
    axes.set_xlim(min(sizes) / BEYOND / 1.2, max(sizes) * BEYOND * 4)
    labels = []
    for name, curve in by_rule.items():
        colour = palette.rule(curve.rule)
        for arm, size in zip(curve.arms, curve.tokens, strict=True):
            loss = losses.value(arm.name)
            axes.plot([size, size], [loss.low, loss.high], color=colour, lw=1.2, zorder=3)
            axes.plot(
                size,
                loss.value,
                rules.find(curve.rule).marker,
                color=colour,
                ms=6.5,
                mec=palette.paper,
                mew=1,
                zorder=4,
            )
        x, y = curve.tokens[-1], float(curve.losses[-1, 0])
        if len(curve.arms) >= LAW and fit(curve.tokens, curve.losses)[0][0] > 0:
            _law(axes, curve, losses, palette)
            x = x * BEYOND
            y = float(predicted(curve, np.array([x]))[0, 0])
        else:
            axes.plot(curve.tokens, curve.losses[:, 0], color=colour, lw=0.8, zorder=2)
        labels.append(Label(x, y, kind(name).replace(" rows", ""), colour))
    kept: list[float] = []
    for size in sorted(set(sizes)):
        if not kept or size >= apart * kept[-1]:
            kept.append(size)
    axes.set_xticks(kept, [numbers.short(tick) for tick in kept])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Training tokens of one epoch (log scale)")
    axes.grid(axis="y", color=palette.line, lw=0.6)
    place_labels(axes, labels, palette)


def loss_against_tokens(study: Study, losses: Estimates, title: str) -> Drawing | None:
    """Loss by tokens and rule, with the laws; None where no rule was run at two sizes."""
    models = {name: curves(arms, losses) for name, arms in study.models().items()}
    if not any(len(curve.arms) > 1 for by_rule in models.values() for curve in by_rule.values()):
        return None

    def draw(palette: Palette) -> Figure:
        figure, axes = panels(palette, len(models), 4.0)
        for panel, (name, by_rule) in zip(axes, models.items(), strict=True):
            _panel(panel, by_rule, losses, palette, 1.5 ** len(models))
            if len(models) > 1:
                panel.set_title(f"{name} model", color=palette.ink)
        axes[0].set_ylabel("Test loss, nats per token")
        return figure

    caption = (
        f"Points with {losses.confidence:.0%} intervals. Lines: the power law of a rule with "
        f"{LAW} sizes or more, with its band, dashed beyond the sizes that were run, where nothing "
        "was measured; thin where no law is: two sizes, or a loss that does not fall."
    )
    return Drawing("scaling", title, caption, draw)


class Rate(NamedTuple):
    """What a row of a top tier is worth in rows of a rule."""

    rule: str
    label: str
    value: float
    low: float | None
    """None where the interval is open."""
    high: float | None
    extrapolated: bool


def _rate_title(rates: Sequence[Rate]) -> str:
    more = sum(rate.low is not None and rate.low > 1 for rate in rates)
    less = sum(rate.high is not None and 0 < rate.high < 1 for rate in rates)
    return (
        f"A row of a top tier is surely worth more than one other row in {more} of "
        f"{numbers.plural(len(rates), 'comparison')}, surely less in {less}"
    )


def exchange_rates(rates: Sequence[Rate], confidence: float) -> Drawing:
    """What a row of each top tier is worth in rows of other rules, with intervals."""
    ends = [end for rate in rates for end in (rate.value, rate.low, rate.high) if end]
    left, right = min([*ends, 0.8]) / 1.5, max([*ends, 1.25]) * 2.2

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = panels(palette, 1, 1.0 + 0.36 * len(rates))
        axes.set_xscale("log")
        axes.set_xlim(left, right)
        for y, rate in enumerate(reversed(rates)):
            colour, guessed = palette.rule(rate.rule), rate.extrapolated
            low, high = rate.low or left, rate.high or right
            axes.plot(
                [low, high],
                [y, y],
                color=colour,
                lw=2,
                solid_capstyle="butt",
                ls=(0, (2, 1.5)) if guessed else "-",
            )
            axes.plot(
                rate.value,
                y,
                rules.find(rate.rule).marker,
                color=palette.paper if guessed else colour,
                ms=7,
                mec=colour if guessed else palette.paper,
                mew=1.5,
            )
            axes.annotate(
                numbers.ratio(rate.value),
                (rate.value, y),
                xytext=(0, 7),
                ha="center",
                textcoords="offset points",
                color=palette.ink,
                fontsize=8,
            )
        axes.axvline(1, color=palette.ink, lw=1)
        axes.set_yticks(range(len(rates)), [rate.label for rate in reversed(rates)])
        axes.set_ylim(-0.6, len(rates) - 0.2)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        ticks = [10.0**power * step for power in range(-4, 5) for step in (1, 2, 5)]
        ticks = [tick for tick in ticks if left <= tick <= right]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("Rows that one row is worth (log scale; right of the line: more than one)")
        axes.grid(axis="x", color=palette.line, lw=0.6)
        return figure

    caption = (
        f"The rows of another rule with which it comes to the tier's loss, over the tier's own, "
        f"with {confidence:.0%} intervals. Hollow and dashed: the rate or an end of its "
        "interval lies outside the sizes that were run, by the law; a line to the edge is open."
    )
    return Drawing("exchange_rates", _rate_title(rates), caption, draw)
