"""A number over two axes, a cell a place, with the sign of its verdict; over it where theory sees the edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedFormatter, FixedLocator

from gradscope.errors import UsageError
from gradscope.numbers import number
from gradscope.record.grid import Floats
from gradscope.render import scales, theme
from gradscope.render.words import plain
from gradscope.signals.states import State, states
from gradscope.sweep.axes import Cell
from gradscope.sweep.picture import View, label_axis, places, trained
from gradscope.sweep.predicted import DEPTH, GAIN, typical_edge
from gradscope.sweep.table import Column

TITLE = "{signal} over {across} and {up}"
FILL = 0.42
"""Inches of a cell that has room for its number."""


def size(view: View) -> tuple[float, float]:
    tall = len(view.cells(view.up)) if view.up else 1
    return 9.0, min(max(2.2 + 0.4 * tall, 4.2), 9.0)


def draw(figure: theme.Page, view: View) -> None:
    up = view.up
    if up is None:
        raise UsageError("a map has two axes, and the sweep has one", hint="draw a curve, or add an axis")
    x, y = view.cells(view.across), view.cells(up)
    values, there = np.full((len(y), len(x)), np.nan), np.zeros((len(y), len(x)), bool)
    signs: dict[tuple[int, int], tuple[str, str]] = {}
    for group in view.groups:
        at = y.index(group.at[up.key]), x.index(group.at[view.across.key])
        spread = group.spread(view.signal)
        values[at], there[at] = view.centre(spread), spread is not None
        verdict = group.verdicts.most_common(1)[0][0]
        signs[at] = theme.VERDICT_SIGN.get(verdict, ""), verdict
    found = states(values, there)
    size_like = ((found == State.FINITE) | (found == State.UNDERFLOW)) if view.log else np.isfinite(values) & there
    heights = np.log10(values, where=size_like & (values > 0.0), out=np.full(values.shape, np.nan)) if view.log else values
    edge = _edge(view, up, x, y)
    keys = f"{plain(view.across.key, 40)} and {plain(up.key, 40)}"
    legend: list[Artist] = [
        _patch(state) for state in theme.STATES if (found == state).any() and (state > 0 or not there.all())
    ]
    if edge is not None:
        legend.append(Line2D([], [], color=theme.INK, lw=1.8, ls="--", label=edge[2]))
    seeds = f" The {'median' if view.log else 'mean'} of {view.seeds} seeds." if view.seeds > 1 else ""
    reading = f"In each cell the number and the verdict: ✓ healthy, ✗ pathological.{seeds}"
    top = theme.head(figure, f"{plain(view.table.name, 40)}: {view.signal} over {keys}", reading, legend)
    (axes,) = theme.stack(figure, [1.0], top=top, right=0.95)
    colours = Normalize(*_limits(heights[size_like], log=view.log))
    _cells(axes, heights, found, size_like, colours)
    _words(axes, values, there, signs, heights, colours)
    if edge is not None:
        outline = [withStroke(linewidth=3.6, foreground="white")]
        axes.plot(edge[0], edge[1], color=theme.INK, lw=1.8, ls="--", path_effects=outline, zorder=6, gid="theory-edge")
    axes.set_xlim(-0.5, len(x) - 0.5)
    axes.set_ylim(-0.5, len(y) - 0.5)
    label_axis(axes, view.across, x, np.arange(float(len(x))))
    label_axis(axes, up, y, np.arange(float(len(y))), side="y")
    _bar(figure, axes, colours, view)


def _cells(axes: Axes, heights: Floats, found: Any, size_like: Any, colours: Normalize) -> None:
    axes.imshow(np.ma.masked_where(~size_like, heights), cmap=theme.MAGNITUDE, norm=colours, origin="lower", aspect="auto")
    axes.spines[:].set_visible(False)
    for row, column in zip(*np.nonzero(~size_like), strict=True):
        state = State(int(found[row, column]))
        if (look := theme.STATES.get(state)) is not None:
            box: dict[str, Any] = {"facecolor": look.colour, "hatch": look.hatch, "edgecolor": "white", "lw": 0.0}
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1.0, 1.0, **box))


def _words(
    axes: Axes, values: Floats, there: Any, signs: dict[tuple[int, int], tuple[str, str]], heights: Floats, colours: Normalize
) -> None:
    """The sign of each cell's verdict, and its number where there is room."""
    wide, tall = theme.inches(axes)
    rows, columns = values.shape
    room = wide / columns >= FILL + 0.2 and tall / rows >= 0.2
    middle = ((colours.vmin or 0.0) + (colours.vmax or 0.0)) / 2
    for (row, column), (sign, verdict) in signs.items():
        text = sign
        if room and there[row, column]:
            text = f"{sign} {number(float(values[row, column]), 2)}"
        elif not sign:
            text = verdict if room else "-"
        dark = np.isfinite(heights[row, column]) and heights[row, column] < middle
        colour = "white" if dark else theme.INK
        axes.text(column, row, text, size=7.5, color=colour, ha="center", va="center", zorder=5)


def _edge(view: View, up: Column, x: Sequence[Cell], y: Sequence[Cell]) -> tuple[Floats, Floats, str] | None:
    """Theory's line through the map, in cells: along the gain at each depth, else along the depth at each gain."""
    for along, other, flipped in ((view.across, up, False), (up, view.across, True)):
        if along.key not in (GAIN, DEPTH) or not along.numeric:
            continue
        cells, others = (y, x) if flipped else (x, y)
        at: list[float] = []
        words = ""
        for cell in others:
            rows = [row for group in view.groups if group.at[other.key] == cell for row in trained(group)]
            found = typical_edge(rows, along.key)
            at.append(found[0] if found else np.nan)
            words = found[1] if found else words
        place = _between(along, cells, np.array(at))
        if np.isfinite(place).sum() > 1:
            index = np.arange(float(len(others)))
            return (index, place, words) if flipped else (place, index, words)
    return None


def _between(axis: Column, cells: Sequence[Cell], values: Floats) -> Floats:
    """Where values of an axis lie among its cells, NaN beyond their ends."""
    at = places(axis, cells)
    if axis.log:
        at, values = np.log(at), np.log(values)
    placed: Floats = np.interp(values, at, np.arange(float(len(at))), left=np.nan, right=np.nan)
    return placed


def _limits(values: Floats, *, log: bool) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    short = max((1.0 if log else 0.05 * max(abs(low), abs(high), 1e-12)) - (high - low), 0.0) / 2.0
    return low - short, high + short


def _bar(figure: theme.Page, axes: Axes, colours: Normalize, view: View) -> None:
    """The colours' scale."""
    width, _ = theme.page(figure)
    box = axes.get_position()
    beside = figure.add_axes((1.0 - 0.8 / width, box.y0, 0.13 / width, box.y1 - box.y0), label="colours")
    low, high = float(colours.vmin or 0.0), float(colours.vmax or 0.0)
    shades = np.linspace(low, high, 256)[:, None]
    beside.imshow(shades, origin="lower", aspect="auto", extent=(0.0, 1.0, low, high), cmap=theme.MAGNITUDE, norm=colours)
    beside.spines[:].set_visible(False)
    beside.set_xticks([])
    beside.yaxis.tick_right()
    if view.log:
        ticks = scales.log_ticks(low, high)
        beside.yaxis.set_major_locator(FixedLocator([float(np.log10(height)) for height, _ in ticks]))
        beside.yaxis.set_major_formatter(FixedFormatter([text for _, text in ticks]))
    beside.yaxis.set_label_position("right")
    beside.set_ylabel(view.signal)


def _patch(state: State) -> Patch:
    look = theme.STATES[state]
    edge = "white" if look.hatch else theme.REFERENCE
    return Patch(facecolor=look.colour, edgecolor=edge, lw=0.0 if look.hatch else 0.8, hatch=look.hatch, label=state.words)
