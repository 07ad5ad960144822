"""Maps of a signal over layers (or time steps) and training steps: sizes or ratios in colour, what has no size in its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator

from gradscope.record.grid import Floats, Ints
from gradscope.render import scales, theme
from gradscope.render.words import count
from gradscope.signals.profiles import Profile
from gradscope.signals.reduce import Condensed
from gradscope.signals.states import State

LARGE = 100
"""Cells along an axis up to which a hatch follows the edges of each."""
DECADES = 2.0
"""Least span of the colours: over less, level gradients would look uneven."""


def draw(axes: Axes, raster: Condensed, colours: Normalize, rows: int, *, cmap: str | Colormap = theme.MAGNITUDE) -> None:
    """Sizes in one image, and over it what has no size on a logarithmic scale, in colours and hatches of its own."""
    finite = raster.states == State.FINITE
    logs = np.log10(raster.values, where=finite, out=np.full(raster.values.shape, np.nan))
    extent = (raster.step_edges[0] - 0.5, raster.step_edges[-1] - 0.5, 0.5, rows + 0.5)
    look: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "none", "extent": extent}
    axes.imshow(np.ma.masked_invalid(logs), cmap=cmap, norm=colours, **look)
    marked = list(theme.STATES)
    special = np.isin(raster.states, marked)
    if special.any():
        palette = ListedColormap([theme.STATES[s].colour if s in theme.STATES else "none" for s in State])
        codes = np.ma.masked_where(~special, raster.states)
        axes.imshow(codes, cmap=palette, vmin=-0.5, vmax=len(State) - 0.5, **look)
        _hatch(axes, raster, extent)
    axes.spines[:].set_visible(False)


def _hatch(axes: Axes, raster: Condensed, extent: tuple[float, float, float, float]) -> None:
    """Hatches over the special values, for eyes and printers without colour."""
    cells = raster.states
    rows, y = _corners(cells.shape[0], *extent[2:])
    columns, x = _corners(cells.shape[1], *extent[:2])
    for state, look in theme.STATES.items():
        here = cells == state
        if look.hatch and here.any():
            shown = here[np.ix_(rows, columns)].astype(float)
            axes.contourf(x, y, shown, levels=[0.5, 1.5], colors="none", hatches=[look.hatch])


def _corners(many: int, low: float, high: float) -> tuple[Ints, Floats]:
    """Where a contour is to know the cells along an axis from ``low`` to ``high``: their numbers, and the places.

    Of few cells either edge, so that its lines follow them; of many the middle, and the edges of the outermost.
    """
    if many <= LARGE:
        at = np.repeat(np.arange(many), 2)
        places = at + np.tile([1e-6, 1.0 - 1e-6], many)
    else:
        at = np.array([0, *range(many), many - 1])
        places = np.array([0.0, *(np.arange(many) + 0.5), many])
    return at, low + (high - low) * places / many


def sizes(profiles: Sequence[Profile]) -> Normalize:
    """Powers of ten of the smallest and largest size over all runs: one scale, and nothing beyond its ends."""
    found = np.concatenate([p.values[p.states == State.FINITE] for p in profiles])
    low, high = (float(np.log10(found.min())), float(np.log10(found.max()))) if found.size else (0.0, 0.0)
    short = max(DECADES - (high - low), 0.0) / 2.0
    return Normalize(low - short, high + short)


def around_one(profiles: Sequence[Profile]) -> Normalize:
    """The same for ratios: as far below 1 as above, so that the middle of the colours is 1."""
    ends = sizes(profiles)
    reach = max(abs(float(ends.vmin or 0.0)), abs(float(ends.vmax or 0.0)), DECADES / 2.0)
    return Normalize(-reach, reach)


def legend(profiles: Sequence[Profile]) -> list[Artist]:
    """One entry per kind of special value that occurs, with its first step."""
    entries: list[Artist] = []
    for state, look in theme.STATES.items():
        first = [int(p.steps[at.argmax()]) for p in profiles if (at := (p.states == state).any(axis=1)).any()]
        if first:
            since = "" if state == State.ABSENT else f" (from step {min(first):,})"
            label, edge = state.words + since, "white" if look.hatch else theme.REFERENCE
            entries.append(
                Patch(facecolor=look.colour, edgecolor=edge, lw=0.0 if look.hatch else 0.8, hatch=look.hatch, label=label)
            )
    return entries


def bar(
    figure: theme.Page, panels: Sequence[Axes], colours: Normalize, label: str, *, cmap: str | Colormap = theme.MAGNITUDE
) -> None:
    """The colours' scale, beside all panels."""
    width, _ = theme.page(figure)
    low, high = panels[-1].get_position().y0, panels[0].get_position().y1
    beside = figure.add_axes((1.0 - 0.8 / width, low, 0.13 / width, high - low), label="colours")
    ends = (float(colours.vmin or 0.0), float(colours.vmax or 0.0))
    shades = np.linspace(*ends, 256)[:, None]
    beside.imshow(shades, origin="lower", aspect="auto", extent=(0.0, 1.0, *ends), cmap=cmap, norm=colours)
    beside.spines[:].set_visible(False)
    beside.set_xticks([])
    ticks = scales.log_ticks(*ends)
    beside.yaxis.tick_right()
    beside.yaxis.set_major_locator(FixedLocator([float(np.log10(height)) for height, _ in ticks]))
    beside.yaxis.set_major_formatter(FixedFormatter([text for _, text in ticks]))
    beside.yaxis.set_label_position("right")
    beside.set_ylabel(label)


def shared(raster: Condensed, noun: str = "layer") -> str:
    """How many values share a cell of the map, in words, where not each has its own."""
    parts = []
    if raster.layers_per_row > 1:
        parts.append(count(raster.layers_per_row, noun))
    if raster.steps_per_column > 1:
        parts.append(count(raster.steps_per_column, "step"))
    return f" (each cell: the most unusual of {' x '.join(parts)})" if parts else ""
