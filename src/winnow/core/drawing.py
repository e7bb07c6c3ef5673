"""How a figure looks: palettes, and one drawing as a PNG for paper and an SVG for the report.

The SVG is drawn in placeholder colours that become CSS variables, so that one figure is read in
light and dark. Hues are Okabe and Ito's (2008), told apart by the colour-blind; every rule has a
marker of its own besides.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patheffects import withStroke  # noqa: E402

from winnow.core.rules import RULES  # noqa: E402

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "figure.dpi": 100,
}


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one rendering."""

    ink: str
    muted: str
    line: str
    paper: str
    rules: dict[str, str]
    """By rule of a tier, where it has a colour."""
    medals: dict[str, str]
    """By documented level: gold, silver, bronze."""

    def rule(self, name: str) -> str:
        """The colour of a rule."""
        return self.rules.get(name, self.ink)


LIGHT = Palette(
    ink="#1b1b1b",
    muted="#5c5c5c",
    line="#d9d6cf",
    paper="#ffffff",
    rules={name: rule.colours[0] for name, rule in RULES.items() if rule.colours},
    medals={"ultra": "#e0b000", "high": "#b4b8bd", "medium": "#cd7f32"},
)
_VARIABLES = ("ink", "muted", "line", "paper", *LIGHT.rules, *LIGHT.medals)
_PLACES = {name: f"#fe{index:02x}01" for index, name in enumerate(_VARIABLES)}
INLINE = Palette(
    ink=_PLACES["ink"],
    muted=_PLACES["muted"],
    line=_PLACES["line"],
    paper=_PLACES["paper"],
    rules={name: _PLACES[name] for name in LIGHT.rules},
    medals={name: _PLACES[name] for name in LIGHT.medals},
)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure that can be drawn in any palette; the title says what is found in it."""

    name: str
    title: str
    caption: str
    draw: Callable[[Palette], Figure]

    def save_png(self, path: Path, receipt: str) -> None:
        """Write it for paper: title inside, white ground, 300 dots per inch; what it is made of
        is in its metadata."""
        with matplotlib.rc_context(STYLE):
            figure = self.draw(LIGHT)
            figure.suptitle(self.title, x=0.01, ha="left", fontsize=10.5, weight="bold", wrap=True)
            figure.savefig(
                path,
                dpi=300,
                bbox_inches="tight",
                metadata={"Software": None, "Description": receipt},
            )
            plt.close(figure)

    def svg(self) -> str:
        """The figure as markup for the report: no fixed size or font, colours by variable."""
        buffer = io.StringIO()
        with matplotlib.rc_context(STYLE | {"svg.hashsalt": self.name}):
            figure = self.draw(INLINE)
            figure.savefig(
                buffer,
                format="svg",
                bbox_inches="tight",
                transparent=True,
                metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
            )
            plt.close(figure)
        return inline(buffer.getvalue(), self.name, self.title)


def inline(svg: str, name: str, title: str) -> str:
    """A matplotlib SVG made fit to stand in a page beside others."""
    svg = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    head = f'<svg role="img" aria-label="{escape(title)}" {box[0]} xmlns:xlink="http://www.w3.org/1999/xlink">'
    svg = head + svg[svg.index(">") + 1 :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?|font: ([\d.]+px) [^;\"]*", _font, svg)
    for variable, place in _PLACES.items():
        svg = svg.replace(place, f"var(--{variable})")
    return svg


def _font(found: re.Match[str]) -> str:
    return f"font-size: {found[1]}" if found[1] else ""


def panels(palette: Palette, number: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of panels side by side on one vertical axis, its frame in the palette."""
    figure, grid = plt.subplots(
        1, number, figsize=(8.2, height), sharey=True, squeeze=False, layout="constrained"
    )
    for axes in grid[0]:
        axes.tick_params(colors=palette.muted, labelcolor=palette.ink, length=3)
        for spine in axes.spines.values():
            spine.set_color(palette.muted)
        axes.xaxis.label.set_color(palette.ink)
        axes.yaxis.label.set_color(palette.ink)
        axes.set_axisbelow(True)
    return figure, list(grid[0])


class Label(NamedTuple):
    """A name beside its point."""

    x: float
    y: float
    text: str
    colour: str
    shift: float = 0.0
    """Points to move up, away from a line that leaves the point to the right."""


def place_labels(axes: Axes, labels: list[Label], palette: Palette, size: float = 8.5) -> None:
    """Write labels to the right of their points, pushed apart where they would overlap.

    Args:
        axes: with its limits already set.
        labels: in any order.
        palette: of the rendering.
        size: of the type, in points.
    """
    axes.figure.canvas.draw()
    # The page's stylesheet gives the inline text its halo; here it would turn text into outlines.
    halo = [] if palette is INLINE else [withStroke(linewidth=2.5, foreground=palette.paper)]
    scale = 72 / axes.figure.dpi
    taken: list[tuple[float, float, float]] = []
    for label in sorted(labels, key=lambda label: label.y):
        left, bottom = axes.transData.transform((label.x, label.y)) * scale
        width, height = len(label.text) * size * 0.62, bottom + label.shift
        for other_left, other_width, other in taken:
            if left < other_left + other_width and other_left < left + width:
                height = max(height, other + 1.3 * size)
        taken.append((left, width, height))
        axes.annotate(
            label.text,
            (label.x, label.y),
            xytext=(8, height - bottom),
            va="center",
            textcoords="offset points",
            color=label.colour,
            fontsize=size,
            annotation_clip=False,
            path_effects=halo,
        )
