"""The report's figures: perplexity against rows, margins, learning curves, time to a threshold, and
what the score sees."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from winnow.analyze import words
from winnow.analyze.answer import Verdict, matched_control
from winnow.analyze.bootstrap import Bootstrap, Interval
from winnow.analyze.documented import Json
from winnow.analyze.drawing import Drawing, Label, Palette, panels, place_labels
from winnow.analyze.results import Arm, Study
from winnow.analyze.scaling_figures import exchange_rates, loss_against_tokens
from winnow.core import rules

TIME_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
RISE = 0.01
"""Nats by which a validation loss must end above its lowest point to be called overfitting."""


def _row_ticks(axes: Axes, sizes: Sequence[int]) -> None:
    """Ticks at the sizes that were run, where they are not too near to read."""
    kept: list[int] = []
    for size in sorted(set(sizes)):
        if not kept or size >= 1.5 * kept[-1]:
            kept.append(size)
    axes.set_xticks(kept, [words.short(size) for size in kept])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _joined(
    axes: Axes, arms: tuple[Arm, ...], losses: Bootstrap, palette: Palette
) -> dict[str, float]:
    """Join the top tiers and all rows; by arm, which way its name must give way to the line."""
    tops = [arm for arm in arms if arm.is_top or arm.is_unfiltered]
    heights = [math.exp(losses.loss(arm.name).value) for arm in tops]
    axes.plot([arm.num_rows for arm in tops], heights, color=palette.rule("top"), zorder=2)
    return {
        arm.name: 9.0 if following < height else -9.0
        for arm, height, following in zip(tops, heights, heights[1:], strict=False)
    }


def _size_panel(
    axes: Axes, arms: tuple[Arm, ...], study: Study, losses: Bootstrap, palette: Palette
) -> None:
    sizes = [arm.num_rows for arm in arms]
    axes.set_xscale("log")
    room = 0.15 * len(study.models())  # for the label of the rightmost arm
    axes.set_xlim(min(sizes) / 1.3, max(sizes) * 1.3 * (2 * max(sizes) / min(sizes)) ** room)
    shifts = _joined(axes, arms, losses, palette)
    labels = []
    for arm in arms:
        colour = palette.rule(arm.rule)
        x = arm.num_rows * (1 if arm.is_unfiltered else rules.find(arm.rule).shift)
        found = losses.loss(arm.name).map(math.exp)
        seeds = [math.exp(loss) for loss in study.seed_losses(arm)]
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


def quality_vs_quantity(study: Study, losses: Bootstrap, verdict: Verdict) -> Drawing:
    """The documented figure: perplexity against rows on a logarithmic axis, arms named."""
    models = study.models()

    def draw(palette: Palette) -> Figure:
        figure, axes = panels(palette, len(models), 4.2)
        for panel, arms in zip(axes, models.values(), strict=True):
            _size_panel(panel, arms, study, losses, palette)
        axes[0].set_ylabel("Test perplexity (lower is better)")
        _titles(axes, models, palette)
        return figure

    lowest = words.figures(math.exp(losses.loss(verdict.best.name).value))
    title = f"{verdict.best.name} has the lowest perplexity, {lowest}"
    title += ", but not surely" if verdict.tied else ""
    caption = (
        "Top tiers by score and all rows are joined; controls stand beside the tier of their "
        f"size. Bars: {losses.confidence:.0%} bootstrap intervals, which may overlap where the "
        "paired difference of two arms is clear. Faint dots: single seeds."
    )
    return Drawing("exp2_quality_vs_quantity", title, caption, draw)


def comparisons(
    study: Study, losses: Bootstrap, verdicts: Mapping[str, Verdict]
) -> list[tuple[str, str, Interval]]:
    """Kind, label and margin of every comparison that the answer rests on."""
    found = []
    several = len(verdicts) > 1
    for name, arms in study.models().items():
        suffix = f"  [{name}]" if several else ""
        for arm in arms:
            control = matched_control(arm, arms) if arm.rule == "top" else None
            if control:
                label = f"{arm.tier_name} over {control.tier_name}{suffix}"
                found.append(("matched", label, losses.margin(arm.name, control.name)))
        best = verdicts[name].best
        for other in arms:
            label = f"{best.tier_name} over {other.tier_name}{suffix}"
            if other is not best and all(label != known for _, known, _ in found):
                found.append(("top", label, verdicts[name].margins[other.name]))
    return found


def _margin_title(rows: list[tuple[str, str, Interval]]) -> str:
    against = [(label, margin) for kind, label, margin in rows if kind == "matched"]
    if not against:
        return "How much better the best arm is than each other one"
    wins = sum(margin.above_zero for _, margin in against)
    return (
        f"The score beats random rows of the same lengths in {wins} of "
        f"{words.plural(len(against), 'comparison')}"
    )


def margins(study: Study, losses: Bootstrap, verdicts: Mapping[str, Verdict]) -> Drawing | None:
    """Paired differences with their intervals; None where nothing can be compared."""
    rows = comparisons(study, losses, verdicts)
    if not rows:
        return None

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
                words.signed(margin.value),
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
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: words.signed(x, 2)))
        axes.set_xlabel(
            "Test loss saved by the first, nats per token (right of zero: it is better)"
        )
        axes.grid(axis="x", color=palette.line, lw=0.6)
        return figure

    caption = (
        f"Paired differences of test loss with {losses.confidence:.0%} intervals. An interval that "
        "touches the line decides nothing."
    )
    return Drawing("margins", _margin_title(rows), caption, draw)


def mean_curve(arm: Arm) -> tuple[list[float], list[float]]:
    """Tokens seen and validation loss, the mean over seeds point by point."""
    curves = [
        [
            (p["tokens"], p["validation_loss"])
            for p in run.train["curve"]
            if p["validation_loss"] is not None
        ]
        for run in arm.runs
    ]
    points = list(zip(*curves, strict=False))
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
        return f"{words.listed(turned)} {verb} above the lowest validation loss: overfitting"
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
            panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: words.short(x)))
            panel.set_xlabel("Training tokens seen")
            panel.grid(axis="y", color=palette.line, lw=0.6)
            place_labels(panel, labels, palette)
        axes[0].set_ylabel("Validation loss, nats per token")
        _titles(axes, models, palette)
        return figure

    caption = "Means over seeds on the shared validation rows. Dashed: controls."
    return Drawing("learning_curves", _curve_title(study), caption, draw)


def _efficiency_title(study: Study, efficiency: Json, threshold: float) -> str:
    """Who got to the threshold first; of several models, the largest."""
    arms = next(iter(study.models().values()))
    tokens = {arm.name: efficiency[arm.name]["tokens_to_threshold"] for arm in arms}
    measured = {name: number for name, number in tokens.items() if number is not None}
    if not measured:
        return f"No arm was measured at perplexity {threshold:g}: the documented times are scaled"
    first = min(measured, key=lambda name: measured[name])
    return (
        f"{first} came to perplexity {threshold:g} with the least work, after "
        f"{words.short(measured[first])} tokens; {len(measured)} of {len(arms)} arms got there"
    )


def _bar(axes: Axes, y: float, arm: Arm, value: float, unit: float, palette: Palette) -> None:
    medal = palette.medals.get(arm.level) if arm.rule == "top" else None
    axes.barh(y, value / unit, 0.4, color=medal or palette.line, ec=palette.ink, lw=0.6)


def training_efficiency(study: Study, efficiency: Json, threshold: float) -> Drawing:
    """The documented figure: time to the threshold as bars, the measured time under each."""
    models = study.models()
    keys = ("time_to_threshold", "measured_time_to_threshold")
    longest = max(row[key] or 0 for row in efficiency.values() for key in keys)
    unit, unit_name = next((u for u in TIME_UNITS if longest >= 2 * u[0]), TIME_UNITS[-1])
    order = [arm for arms in models.values() for arm in arms][::-1]

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = panels(palette, 1, 1.0 + 0.52 * len(order))
        note: Any = {
            "va": "center",
            "fontsize": 8.5,
            "textcoords": "offset points",
            "xytext": (5, 0),
        }
        for y, arm in enumerate(order):
            row = efficiency[arm.name]
            documented, measured = row["time_to_threshold"], row["measured_time_to_threshold"]
            _bar(axes, y + 0.2, arm, documented, unit, palette)
            axes.annotate(
                words.duration(documented),
                (documented / unit, y + 0.2),
                color=palette.muted,
                **note,
            )
            axes.barh(y - 0.2, (measured or 0) / unit, 0.4, color=palette.ink, lw=0)
            text = "measured: not reached" if measured is None else words.duration(measured)
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
    title = _efficiency_title(study, efficiency, threshold)
    return Drawing("exp2_training_efficiency", title, caption, draw)


AUDITED = {
    "share_at_maximum": "Rows at\nthe maximum",
    "rank_correlation_with_length": "Rank correlation\nwith length",
    "variance_between_sources": "Variance\nbetween sources",
    "top_that_changes_without_it": "Top tenth that\nchanges without it",
}


def _share(value: float | None, signed: bool, digits: int = 2) -> str:
    if value is None:
        return words.DASH
    return words.signed(value, digits) if signed else words.percent(value)


def _audit_title(length: Json) -> str:
    title = f"{words.percent(length['top_among_longest'])} of the score's top tenth are among the "
    title += f"longest tenth (by chance {words.percent(length['share'])})"
    if length["explained"] is not None:
        title += f"; length explains {words.percent(length['explained'])} of its variance"
    stays = length["top_that_stays_without_length"]
    return title if stays is None else f"{title}, and without it {words.percent(stays)} stay on top"


def score_audit(found: Json, length: Json) -> Drawing:
    """Of the score and its dimensions: saturation, length, sources, and what each decides."""
    names = [*found][::-1]

    def draw(palette: Palette) -> Figure:
        figure, grid = panels(palette, len(AUDITED), 2.6)
        for axes, (key, title) in zip(grid, AUDITED.items(), strict=True):
            signed = key == "rank_correlation_with_length"
            for y, name in enumerate(names):
                value = found[name][key]
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
    return Drawing("score_audit", _audit_title(length), caption, draw)


def all_figures(
    study: Study,
    losses: Bootstrap,
    verdicts: Mapping[str, Verdict],
    analysis: Json,
    threshold: float,
) -> dict[str, Drawing]:
    """Every figure that this study has data for, by name, in the report's order."""
    largest = next(iter(verdicts.values()))
    found = [
        quality_vs_quantity(study, losses, largest),
        margins(study, losses, verdicts),
        learning_curves(study),
        loss_against_tokens(study, losses, analysis["scaling"]),
        exchange_rates(losses, analysis["scaling"]),
        training_efficiency(study, analysis["efficiency_metrics"], threshold),
        score_audit(analysis["score_audit"], analysis["length_audit"]),
    ]
    return {drawing.name: drawing for drawing in found if drawing is not None}
