"""The report's figures: perplexity against rows, margins, learning curves, time to a threshold, and
what the score sees."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from winnow.analyze.intervals import Estimates, Interval
from winnow.analyze.report import numbers
from winnow.analyze.study import Arm, Study
from winnow.core import rules
from winnow.core.drawing import Drawing, Label, Palette, panels, place_labels

TIME_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
RISE = 0.01
"""Nats by which a validation loss must end above its lowest point to be called overfitting."""


def _row_ticks(axes: Axes, sizes: Sequence[int]) -> None:
    """Ticks at the sizes that were run, where they are not too near to read."""
    kept: list[int] = []
    for size in sorted(set(sizes)):
        if not kept or size >= 1.5 * kept[-1]:
            kept.append(size)
    axes.set_xticks(kept, [numbers.short(size) for size in kept])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def shown(metric: str) -> tuple[str, Callable[[float], float]]:
    """What figures show of a metric of `metrics.METRICS`: perplexity in the place of a loss."""
    names = {"loss": "perplexity", "response_loss": "perplexity of responses"}
    return (names[metric], math.exp) if metric in names else (metric.replace("_", " "), float)


def _joined(
    axes: Axes, arms: tuple[Arm, ...], heights: Mapping[str, Interval], palette: Palette
) -> dict[str, float]:
    """Join the top tiers of each score, and all rows; by arm, which way its name must give way to
    the line."""
    ways: dict[str, float] = {}
    for score in dict.fromkeys(arm.tier.scorer for arm in arms if arm.is_top):
        tops = [
            arm for arm in arms if arm.is_unfiltered or (arm.is_top and arm.tier.scorer == score)
        ]
        line = [heights[arm.name].value for arm in tops]
        axes.plot([arm.num_rows for arm in tops], line, color=palette.rule("top"), zorder=2)
        for arm, height, following in zip(tops, line, line[1:], strict=False):
            ways[arm.name] = 9.0 if following < height else -9.0
    return ways


def _size_panel(
    axes: Axes,
    arms: tuple[Arm, ...],
    estimates: Estimates,
    of: Callable[[float], float],
    room: float,
    palette: Palette,
) -> None:
    """Arms by their rows; `of` is what is shown of the metric, `room` is for the last label."""
    heights = {arm.name: estimates.value(arm.name).map(of) for arm in arms}
    sizes = [arm.num_rows for arm in arms]
    axes.set_xscale("log")
    axes.set_xlim(min(sizes) / 1.3, max(sizes) * 1.3 * (2 * max(sizes) / min(sizes)) ** room)
    shifts = _joined(axes, arms, heights, palette)
    labels = []
    for arm in arms:
        colour = palette.rule(arm.rule)
        x = arm.num_rows * (1 if arm.is_unfiltered else rules.find(arm.rule).shift)
        found = heights[arm.name]
        seeds = [of(mean) for mean in estimates.means[estimates.index[arm.name]]]
        axes.plot([x, x], [found.low, found.high], color=colour, lw=1.2, zorder=3)
        axes.plot([x] * len(seeds), seeds, "o", color=colour, alpha=0.4, ms=3.2, mew=0, zorder=3)
        axes.plot(
            x,
            found.value,
            rules.find(arm.rule).marker,
            color=colour,
            ms=7.5,
            mec=palette.paper,
            mew=1,
            zorder=4,
        )
        labels.append(Label(x, found.value, arm.tier_name, colour, shifts.get(arm.name, 0.0)))
    _row_ticks(axes, sizes)
    axes.set_xlabel("Training rows (log scale)")
    axes.grid(axis="y", color=palette.line, lw=0.6)
    place_labels(axes, labels, palette)


def _titles(axes: Sequence[Axes], models: Mapping[str, object], palette: Palette) -> None:
    """Name each panel's model, where there is more than one."""
    if len(models) > 1:
        for panel, name in zip(axes, models, strict=True):
            panel.set_title(f"{name} model", color=palette.ink)


def quality_vs_quantity(study: Study, estimates: Estimates, metric: str, title: str) -> Drawing:
    """The documented figure: perplexity, or another metric that decides, against rows on a
    logarithmic axis, arms named."""
    models, (name, of) = study.models(), shown(metric)
    better = "lower" if estimates.lower_is_better else "higher"

    def draw(palette: Palette) -> Figure:
        figure, axes = panels(palette, len(models), 4.2)
        for panel, arms in zip(axes, models.values(), strict=True):
            _size_panel(panel, arms, estimates, of, 0.15 * len(models), palette)
        axes[0].set_ylabel(f"Test {name} ({better} is better)")
        _titles(axes, models, palette)
        return figure

    joined = " and all rows" if any(arm.is_unfiltered for arm in study.arms) else ""
    caption = (
        f"Top tiers of a score{joined} are joined; controls stand beside the tier of their size. "
        f"Bars: {estimates.confidence:.0%} intervals of one arm each; two arms are compared by the "
        "margins in the text, not by whether their bars overlap. Faint dots: single seeds."
    )
    return Drawing("exp2_quality_vs_quantity", title, caption, draw)


def _margin_title(rows: list[tuple[str, str, Interval]]) -> str:
    against = [(label, margin) for kind, label, margin in rows if kind == "matched"]
    if not against:
        return "How much better the best arm is than each other one"
    wins = sum(margin.above_zero for _, margin in against)
    return (
        f"Chosen rows surely beat random rows of the same lengths in {wins} of "
        f"{numbers.plural(len(against), 'comparison')}"
    )


def margins(rows: list[tuple[str, str, Interval]], confidence: float, unit: str) -> Drawing:
    """Paired differences, each with its kind, label and interval."""

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = panels(palette, 1, 1.0 + 0.36 * len(rows))
        for y, (kind, _, margin) in enumerate(reversed(rows)):
            colour = palette.rule(kind)
            axes.plot([margin.low, margin.high], [y, y], color=colour, lw=2, solid_capstyle="butt")
            axes.plot(
                margin.value,
                y,
                rules.find(kind).marker,
                color=colour,
                ms=7,
                mec=palette.paper,
                mew=1,
            )
            # On the side away from zero, whose line it would cross.
            end, side, align = (
                (margin.low, -7, "right") if margin.value < 0 else (margin.high, 7, "left")
            )
            axes.annotate(
                numbers.signed(margin.value),
                (end, y),
                xytext=(side, 0),
                textcoords="offset points",
                ha=align,
                va="center",
                color=palette.ink,
                fontsize=8.5,
            )
        axes.axvline(0, color=palette.ink, lw=1)
        axes.set_yticks(range(len(rows)), [label for _, label, _ in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.margins(x=0.12)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: numbers.signed(x, 2)))
        axes.set_xlabel(f"How much better the first is, {unit} (right of zero: it is better)")
        axes.grid(axis="x", color=palette.line, lw=0.6)
        return figure

    caption = (
        f"Paired differences with {confidence:.0%} intervals; those of tiers over their controls "
        "are wider, so that all of them hold at once. An interval that touches the line decides "
        "nothing."
    )
    return Drawing("margins", _margin_title(rows), caption, draw)


def mean_curve(arm: Arm) -> tuple[list[float], list[float]]:
    """Tokens seen and validation loss, the mean over seeds point by point."""
    points = list(zip(*(run.validation_losses for run in arm.runs), strict=False))
    tokens = [sum(t for t, _ in point) / len(point) for point in points]
    return tokens, [sum(loss for _, loss in point) / len(point) for point in points]


def _curve_title(study: Study) -> str:
    turned = []
    for arm in study.arms:
        loss = mean_curve(arm)[1]
        if loss and loss[-1] > min(loss) + RISE:
            turned.append(arm.name)
    if turned:
        verb = "ends" if len(turned) == 1 else "end"
        return f"{numbers.listed(turned)} {verb} above the lowest validation loss: overfitting"
    return "No arm's validation loss had turned up when its training ended"


def learning_curves(study: Study) -> Drawing | None:
    """Validation loss against tokens seen; None where nothing was logged."""
    models = study.models()
    if not any(mean_curve(arm)[0] for arm in study.arms):
        return None

    def draw(palette: Palette) -> Figure:
        figure, axes = panels(palette, len(models), 4.0)
        for panel, arms in zip(axes, models.values(), strict=True):
            labels = []
            for arm in arms:
                tokens, loss = mean_curve(arm)
                if tokens:
                    colour = palette.rule(arm.rule)
                    panel.plot(
                        tokens, loss, color=colour, ls="-" if arm.rule == "top" else (0, (4, 2))
                    )
                    panel.plot(
                        tokens[-1],
                        loss[-1],
                        rules.find(arm.rule).marker,
                        color=colour,
                        ms=6,
                        mec=palette.paper,
                        mew=1,
                    )
                    labels.append(Label(tokens[-1], loss[-1], arm.tier_name, colour))
            panel.set_xlim(0, 1.3 * max((label.x for label in labels), default=1))
            panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: numbers.short(x)))
            panel.set_xlabel("Training tokens seen")
            panel.grid(axis="y", color=palette.line, lw=0.6)
            place_labels(panel, labels, palette)
        axes[0].set_ylabel("Validation loss, nats per token")
        _titles(axes, models, palette)
        return figure

    caption = "Means over seeds on the shared validation rows. Dashed: controls."
    return Drawing("learning_curves", _curve_title(study), caption, draw)


def _bar(axes: Axes, y: float, arm: Arm, value: float, unit: float, palette: Palette) -> None:
    medal = palette.medals.get(arm.level) if arm.rule == "top" else None
    axes.barh(y, value / unit, 0.4, color=medal or palette.line, ec=palette.ink, lw=0.6)


def training_efficiency(
    study: Study, times: Mapping[str, tuple[float, float | None]], threshold: float, title: str
) -> Drawing:
    """The documented figure: time to the threshold as bars, the measured time under each.

    Args:
        study: whose arms are drawn.
        times: by experiment the documented and the measured seconds.
        threshold: a perplexity.
        title: what the figure shows.
    """
    models = study.models()
    longest = max(seconds or 0 for both in times.values() for seconds in both)
    unit, unit_name = next((u for u in TIME_UNITS if longest >= 2 * u[0]), TIME_UNITS[-1])
    order = [arm for arms in models.values() for arm in arms][::-1]

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = panels(palette, 1, 1.0 + 0.52 * len(order))
        note: dict[str, Any] = {
            "va": "center",
            "fontsize": 8.5,
            "textcoords": "offset points",
            "xytext": (5, 0),
        }
        for y, arm in enumerate(order):
            documented, measured = times[arm.name]
            _bar(axes, y + 0.2, arm, documented, unit, palette)
            axes.annotate(
                numbers.duration(documented),
                (documented / unit, y + 0.2),
                color=palette.muted,
                **note,
            )
            axes.barh(y - 0.2, (measured or 0) / unit, 0.4, color=palette.ink, lw=0)
            text = "measured: not reached" if measured is None else numbers.duration(measured)
            axes.annotate(text, ((measured or 0) / unit, y - 0.2), color=palette.ink, **note)
        axes.set_yticks(range(len(order)), [arm.name for arm in order])
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.12)
        axes.set_xlabel(f"Time to perplexity {threshold:g}, {unit_name} of training")
        return figure

    caption = (
        "Upper bar: the documented estimate, training time × threshold ÷ final perplexity (gold: "
        "ultra, silver: high, bronze: medium, plain: others). Lower bar, in ink: the first logged "
        "validation at or below the threshold, the mean over seeds. Times are work at one measured "
        "speed."
    )
    return Drawing("exp2_training_efficiency", title, caption, draw)


AUDITED = {
    "share_at_maximum": "Rows at\nthe maximum",
    "rank_correlation_with_length": "Rank correlation\nwith length",
    "variance_between_sources": "Variance\nbetween sources",
    "top_that_changes_without_it": "Top tenth that\nchanges without it",
}


def _share(value: float | None, signed: bool, digits: int = 2) -> str:
    if value is None:
        return numbers.DASH
    return numbers.signed(value, digits) if signed else numbers.percent(value)


def score_audit(measures: Mapping[str, Mapping[str, float | None]], title: str) -> Drawing:
    """Of the score and its dimensions: saturation, length, sources, and what each decides.

    Args:
        measures: by name the values of AUDITED.
        title: what the figure shows.
    """
    names = [*measures][::-1]

    def draw(palette: Palette) -> Figure:
        figure, grid = panels(palette, len(AUDITED), 2.6)
        for axes, (key, title) in zip(grid, AUDITED.items(), strict=True):
            signed = key == "rank_correlation_with_length"
            for y, name in enumerate(names):
                value = measures[name][key]
                colour = palette.rule("top") if name == "score" else palette.muted
                axes.barh(y, value or 0, 0.6, color=colour, lw=0)
                axes.annotate(
                    _share(value, signed),
                    (max(value or 0, 0), y),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    color=palette.ink,
                    fontsize=8.5,
                )
            axes.set_title(title, color=palette.ink, fontsize=9)
            axes.set_xlim(-1 if signed else 0, 1.5)
            ticks = (-1, 0, 1) if signed else (0, 0.5, 1)
            axes.set_xticks(ticks, [_share(tick, signed, digits=0) for tick in ticks])
            axes.axvline(0, color=palette.ink, lw=0.8)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
        grid[0].set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        return figure

    caption = (
        "Over the curated pool; length in tokens. A dimension whose rows sit at its maximum cannot "
        "tell them apart, one that follows length may measure only that, and one without which the "
        "top stays as it is decides nothing. A dash: not defined."
    )
    return Drawing("score_audit", title, caption, draw)
