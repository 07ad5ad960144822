"""How figures look: colours that hold in grey and for the colour-blind, type, and where axes stand on a page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import matplotlib
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure, SubFigure

from gradscope.record.finding import Severity
from gradscope.render.words import plain
from gradscope.signals.states import State

Page = Figure | SubFigure
"""What a figure is drawn into: a page of its own, or a part of one."""

STYLE: dict[str, Any] = {
    "figure.dpi": 120,
    "figure.facecolor": "white",
    "savefig.dpi": "figure",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": "#1a1a1a",
    "text.parse_math": False,  # names are data: a dollar sign in a layer's name is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8c8c8c",
    "axes.labelcolor": "#333333",
    "axes.linewidth": 0.8,
    "axes.grid": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "hatch.linewidth": 0.6,
    "hatch.color": "#ffffff",
    "svg.hashsalt": "gradscope",  # with it the same figure is the same bytes
    "pdf.fonttype": 42,
}

MAGNITUDE = "cividis"
"""The colour map of sizes: even in lightness, the same to all eyes."""
RATIO = LinearSegmentedColormap.from_list("gradscope-ratio", ["#08306b", "#4f86bd", "#b4b4b4", "#f0bd55", "#fff4bf"])
"""The colour map of ratios: blue below 1, grey at 1, yellow above; without colours, dark to light."""


def style() -> AbstractContextManager[None]:
    """Matplotlib's settings while a figure is made or written; they are as before afterwards."""
    return matplotlib.rc_context(cast(Any, STYLE))


INK, QUIET, REFERENCE = "#1a1a1a", "#666666", "#8c8c8c"
CHANCE = "#e9ecef"

SEVERITY = {Severity.ERROR: "#b2182b", Severity.WARNING: "#b35806", Severity.INFO: "#2166ac"}
VERDICT = {"healthy": "#1b7837", "pathological": "#b2182b", "inconclusive": "#666666"}
VERDICT_SIGN = {"healthy": "✓", "pathological": "✗", "inconclusive": "?"}


@dataclass(frozen=True)
class StateLook:
    """Colour and hatch of a value that has no place on a logarithmic scale."""

    colour: str
    hatch: str


STATES = {
    State.NAN: StateLook("#c51b1b", "xxx"),
    State.INF: StateLook("#f98a1b", "///"),
    State.ZERO: StateLook("#000000", "..."),
    State.UNDERFLOW: StateLook("#8e6bbf", "---"),
    State.ABSENT: StateLook("#ffffff", ""),
}

_HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1a1a1a")  # Okabe and Ito (2008)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 1.5, 1, 1.5, 1, 1.5)))


@dataclass(frozen=True)
class Look:
    """Colour, line and marker together, so that two curves differ even where one of them cannot be seen."""

    colour: str
    dash: Any
    marker: str

    def line(self, **more: Any) -> dict[str, Any]:
        return {"color": self.colour, "linestyle": self.dash, "marker": self.marker, **more}


def run_look(i: int) -> Look:
    """The look of the i-th of several runs."""
    return Look(_HUES[i % len(_HUES)], _DASHES[i % len(_DASHES)], _MARKERS[i % len(_MARKERS)])


def step_looks(count: int) -> list[Look]:
    """Looks for early to late: from light and broken to dark and solid, the last one the strongest."""
    late = count - 1
    return [
        Look(
            to_hex(colormaps[MAGNITUDE](0.78 * (late - i) / late if late else 0.0)),
            _DASHES[(late - i) % len(_DASHES)],
            _MARKERS[(late - i) % len(_MARKERS)],
        )
        for i in range(count)
    ]


@dataclass(frozen=True)
class Fill:
    """Colour and hatch of a part of a whole."""

    colour: str
    hatch: str

    def patch(self, **more: Any) -> dict[str, Any]:
        return {"facecolor": self.colour, "hatch": self.hatch, "edgecolor": "white", **more}


KINDS = {
    "weight": Fill("#56b4e9", ""),
    "activation": Fill("#d55e00", "///"),
    "norm": Fill("#009e73", "..."),
    "skip": Fill("#cc79a7", "xxx"),
    "fixed": Fill("#e6c229", "|||"),
    "other": Fill("#8c8c8c", "---"),
}
"""The kinds of operation that the gradient's decades are put down to."""


LEFT, RIGHT, BOTTOM, GAP = 0.85, 0.25, 0.5, 0.12
"""Room around axes, in inches: it stays the same when a figure grows."""


def page(figure: Page) -> tuple[float, float]:
    """Width and height of a figure, or of the part of one that a panel is drawn into, in inches."""
    return figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi


def head(figure: Page, title: str, reading: str, handles: Sequence[Artist] = (), *, runs: Sequence[str] = ()) -> float:
    """At the upper left what is shown, in grey how to read it, then the legend. Returns the inches that this takes.

    A page of its own also says of which run it is; a part of a page leaves that to the page.
    """
    width, height = page(figure)
    left, down = 0.15, 0.12
    if len(runs) == 1 and isinstance(figure, Figure):
        title = f"{title}: {plain(runs[0], 60)}"
    figure.text(left / width, 1.0 - down / height, title, size=11.5, weight="bold", va="top")
    down += 0.24
    for line in textwrap.wrap(reading, int((width - 2 * left) * 17.0)):
        figure.text(left / width, 1.0 - down / height, line, size=8.5, color=QUIET, va="top")
        down += 0.165
    if handles:
        columns = _columns([0.06 * len(str(handle.get_label())) + 0.48 for handle in handles], width - left)
        figure.legend(
            handles=[handle for column in range(columns) for handle in handles[column::columns]],  # filled column by column
            loc="upper left",
            bbox_to_anchor=((left - 0.04) / width, 1.0 - down / height),
            ncols=columns,
            borderaxespad=0.0,
            borderpad=0.3,
            columnspacing=1.4,
            handletextpad=0.5,
        )
        down += 0.08 + 0.185 * -(-len(handles) // columns)
    return down + 0.1


def _columns(widths: Sequence[float], room: float) -> int:
    """The most columns in which entries of these widths, one row after the other, fit into ``room``."""
    for columns in range(len(widths), 1, -1):
        if sum(max(widths[column::columns]) for column in range(columns)) <= room:
            return columns
    return 1


def stack(figure: Page, heights: Sequence[float], *, top: float, right: float = RIGHT, gap: float = GAP) -> list[Axes]:
    """Axes on top of each other below ``top`` inches, their heights in these proportions."""
    width, height = page(figure)
    wide, free = width - LEFT - right, max(height - top - BOTTOM - gap * (len(heights) - 1), 0.1)
    axes = []
    for share in heights:
        tall = free * share / sum(heights)
        top += tall
        panel = figure.add_axes((LEFT / width, 1.0 - top / height, wide / width, tall / height))
        panel.yaxis.set_label_coords(-0.62 / wide, 0.5)
        axes.append(panel)
        top += gap
    return axes


def inches(axes: Axes) -> tuple[float, float]:
    """Width and height of axes, in inches."""
    figure = axes.get_figure()
    dpi = figure.dpi if figure is not None else STYLE["figure.dpi"]
    return axes.bbox.width / dpi, axes.bbox.height / dpi


def up(axes: Axes, value: float) -> float:
    """How far a value of the y axis stands above the page's lower edge, in inches."""
    figure = axes.get_figure()
    dpi = figure.dpi if figure is not None else STYLE["figure.dpi"]
    return float(axes.transData.transform((0.0, value))[1] / dpi)


def say(axes: Axes, text: str) -> None:
    """Axes that have nothing to show say why."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=QUIET)
