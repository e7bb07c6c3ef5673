"""Unique rows against rows made: what the shards brought, and what more of them will bring."""

from matplotlib.figure import Figure

from winnow.core.drawing import Drawing, Palette, panels
from winnow.generate.forecast import (
    CONFIDENCE,
    HEADLINE,
    LEAST_SHARDS,
    Estimate,
    Shards,
    estimate,
)

POINTS = 12
"""At which the forecast is made; it is joined by lines between them."""


def unique_rows(shards: Shards, more: int, title: str, seed: int = 0) -> Drawing:
    """The growth of unique rows shard by shard, with the forecast and its band behind it.

    Args:
        shards: of which some texts repeat.
        more: shards to come, at most `furthest_shards`; 0 draws what was made alone.
        title: what is found in it.
        seed: of the intervals.
    """
    number, rows = len(shards), int(shards.rows.sum())
    made = [0, *shards.rows.cumsum().tolist()]
    unique = [0, *(shards.first(count).unique for count in range(1, number + 1))]
    steps = sorted({round(more * point / POINTS) for point in range(1, POINTS + 1)} - {0})
    ahead = {rows: Estimate(HEADLINE, unique[-1], unique[-1], unique[-1])}
    for step in steps:
        ahead[rows + round(step * rows / number)] = estimate(shards, step, seed=seed)
    low = [one.unique if one.low is None else one.low for one in ahead.values()]
    high = [one.unique if one.high is None else one.high for one in ahead.values()]

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = panels(palette, 1, 3.6)
        colour = palette.rule("top")
        axes.plot(made, made, ":", color=palette.muted, lw=1)
        axes.plot(made, unique, "o-", color=colour, ms=4, zorder=3)
        if steps:
            axes.plot(list(ahead), [one.unique for one in ahead.values()], "--", color=colour)
            axes.fill_between(list(ahead), low, high, color=colour, alpha=0.2, lw=0)
        axes.set_xlabel("Rows made")
        axes.set_ylabel("Unique rows")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=palette.line, lw=0.6)
        return figure

    band = (
        f"the {CONFIDENCE:.0%} intervals come from shards that forecast each other"
        if number >= LEAST_SHARDS
        else f"no intervals, as it takes {LEAST_SHARDS} shards"
    )
    caption = (
        "A dot for each shard; on the dotted line every row would be unique. Dashed: the forecast "
        f"by {HEADLINE}; {band}."
    )
    return Drawing("unique_rows", title, caption, draw)
