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


LETTERS = 17.0
"""Letters of an ordinary text that stand on an inch, at the size of a figure's sentences."""
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
    large: dict[str, Any] = {"size": 11.5, "weight": "bold"}
    if len(runs) == 1 and isinstance(figure, Figure):
        room = width - 2 * left - wide(figure, f"{title}: ", **large)
        title = f"{title}: {cut(figure, plain(runs[0], 60), room, **large)}"
    figure.text(left / width, 1.0 - down / height, title, va="top", **large)
    down += 0.24
    for line in wrapped(figure, reading, width - 2 * left, size=8.5):
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


def wide(figure: Page, text: str, **look: Any) -> float:
    """The inches that a text takes."""
    drawn = figure.text(0.0, 0.0, text, **look)
    inches = drawn.get_window_extent().width / figure.dpi
    drawn.remove()
    return inches


def wrapped(figure: Page, text: str, room: float, **look: Any) -> list[str]:
    """Lines of a text none of which takes more than ``room`` inches, whatever its letters are."""
    signs = max(int(room * LETTERS), 1)
    while True:
        lines = textwrap.wrap(text, signs)
        widest = max((wide(figure, line, **look) for line in lines), default=0.0)
        if widest <= room or signs == 1:
            return lines
        signs = max(min(int(signs * room / widest), signs - 1), 1)


def cut(figure: Page, name: str, room: float, **look: Any) -> str:
    """A name cut in the middle to what ``room`` inches hold."""
    lengths = range(len(name), 1, -1)
    return next((text for n in lengths if wide(figure, text := plain(name, n), **look) <= room), plain(name, 1))


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


def beside(axes: Axes) -> float:
    """Inches between axes and the right edge of the page, or of the part of one that they stand in."""
    figure = axes.get_figure()
    return float((figure.bbox.x1 - axes.bbox.x1) / figure.dpi) if figure is not None else RIGHT


def up(axes: Axes, value: float) -> float:
    """How far a value of the y axis stands above the page's lower edge, in inches."""
    figure = axes.get_figure()
    dpi = figure.dpi if figure is not None else STYLE["figure.dpi"]
    return float(axes.transData.transform((0.0, value))[1] / dpi)


def caption(axes: Axes, text: str, *, pad: float = 4.0, colour: str = INK) -> None:
    """Words over axes, at the left, cut in the middle to their width."""
    figure = axes.get_figure()
    shown = cut(figure, text, inches(axes)[0], size=8.5) if figure is not None else text
    axes.set_title(shown, size=8.5, loc="left", pad=pad, color=colour)


def say(axes: Axes, text: str) -> None:
    """Axes that have nothing to show say why."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=QUIET)
