"""The gradient's size at every layer and every step, as a map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator

from gradscope.record.finding import Report
from gradscope.record.run import Run
from gradscope.render import marks, rows, scales, theme
from gradscope.render.figures.profile import NORMS, gradients
from gradscope.render.words import count, plain
from gradscope.signals.profiles import Profile
from gradscope.signals.reduce import Condensed, condense
from gradscope.signals.states import State

NAME = "heatmap"
TITLE = "Gradient by layer and step"

DECADES = 2.0
"""Least span of the colours: over less, level gradients would look uneven."""


def size(runs: Sequence[Run], reports: Sequence[Report]) -> tuple[float, float]:
    return 9.0, 1.6 + 3.6 * min(len(runs), 2) + 2.0 * max(len(runs) - 2, 0)


def data(runs: Sequence[Run]) -> Iterator[rows.Row]:
    for name, profile in zip(rows.labels(runs), gradients(runs), strict=True):
        yield from rows.of_profile(name, profile)


def draw(figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report]) -> None:
    profiles, names = [p.measured for p in gradients(runs)], rows.labels(runs)
    drawn = [i for i, profile in enumerate(profiles) if not profile.empty]
    if not drawn:
        top = theme.head(figure, TITLE, "", runs=names)
        return theme.say(theme.stack(figure, [1], top=top)[0], "no gradient by layer was recorded")
    end, label = scales.last_step(runs)
    top = theme.head(figure, TITLE, "From the input (bottom) to the output (top).", _legend(profiles), runs=names)
    top += 0.12 if len(drawn) > 1 else 0.0
    panels = theme.stack(figure, [1] * len(drawn), top=top, right=0.95, gap=0.3 if len(drawn) > 1 else 0.0)
    colours = Normalize(*_limits(profiles))
    for axes, i in zip(panels, drawn, strict=True):
        wide, tall = theme.inches(axes)
        dpi = figure.dpi
        own_end = min(max(runs[i].step_count - 1, int(profiles[i].steps[-1])), end)
        raster = condense(profiles[i], int(tall * dpi), int(wide * dpi), end=own_end)
        _map(axes, raster, colours, len(profiles[i].layers))
        scales.step_axis(axes, end, label=label + _shared(raster) if axes is panels[-1] else "")
        axes.tick_params(axis="x", labelbottom=axes is panels[-1])
        scales.layer_axis(axes, profiles[i].layers, axis="y", inches=tall)
        if reports:
            marks.boxes(axes, runs[i], reports[i], profiles[i].layers, end)
        if len(drawn) > 1:
            axes.set_title(plain(names[i], 60), size=8.5, loc="left", pad=4, color=theme.run_look(i).colour)
    _bar(figure, panels, colours, NORMS[profiles[0].signal])
    return None


def _map(axes: Axes, raster: Condensed, colours: Normalize, layers: int) -> None:
    """Sizes in one image, and over it what has no size on a logarithmic scale, in colours and hatches of its own."""
    finite = raster.states == State.FINITE
    logs = np.log10(raster.values, where=finite, out=np.full(raster.values.shape, np.nan))
    extent = (raster.step_edges[0] - 0.5, raster.step_edges[-1] - 0.5, 0.5, layers + 0.5)
    look: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "none", "extent": extent}
    axes.imshow(np.ma.masked_invalid(logs), cmap=theme.MAGNITUDE, norm=colours, **look)
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
    height, width = raster.states.shape
    x = extent[0] + np.array([0.0, *(np.arange(width) + 0.5), width]) * (extent[1] - extent[0]) / width
    y = extent[2] + np.array([0.0, *(np.arange(height) + 0.5), height]) * (extent[3] - extent[2]) / height
    for state, look in theme.STATES.items():
        here = np.pad(raster.states == state, 1, mode="edge")  # out to the edges of the outermost cells
        if look.hatch and here.any():
            axes.contourf(x, y, here.astype(float), levels=[0.5, 1.5], colors="none", hatches=[look.hatch])


def _limits(profiles: Sequence[Profile]) -> tuple[float, float]:
    """Powers of ten of the smallest and largest size over all runs: one scale, and nothing beyond its ends."""
    sizes = np.concatenate([p.values[p.states == State.FINITE] for p in profiles])
    low, high = (float(np.log10(sizes.min())), float(np.log10(sizes.max()))) if sizes.size else (0.0, 0.0)
    short = max(DECADES - (high - low), 0.0) / 2.0
    return low - short, high + short


def _legend(profiles: Sequence[Profile]) -> list[Artist]:
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


def _bar(figure: theme.Page, panels: Sequence[Axes], colours: Normalize, label: str) -> None:
    """The colours' scale, beside all panels."""
    width, _ = theme.page(figure)
    low, high = panels[-1].get_position().y0, panels[0].get_position().y1
    beside = figure.add_axes((1.0 - 0.8 / width, low, 0.13 / width, high - low), label="colours")
    ends = (float(colours.vmin or 0.0), float(colours.vmax or 0.0))
    shades = np.linspace(*ends, 256)[:, None]
    beside.imshow(shades, origin="lower", aspect="auto", extent=(0.0, 1.0, *ends), cmap=theme.MAGNITUDE, norm=colours)
    beside.spines[:].set_visible(False)
    beside.set_xticks([])
    ticks = scales.log_ticks(*ends)
    beside.yaxis.tick_right()
    beside.yaxis.set_major_locator(FixedLocator([float(np.log10(height)) for height, _ in ticks]))
    beside.yaxis.set_major_formatter(FixedFormatter([text for _, text in ticks]))
    beside.yaxis.set_label_position("right")
    beside.set_ylabel(label)


def _shared(raster: Condensed) -> str:
    """How many values share a cell of the map, in words, where not each has its own."""
    parts = []
    if raster.layers_per_row > 1:
        parts.append(count(raster.layers_per_row, "layer"))
    if raster.steps_per_column > 1:
        parts.append(count(raster.steps_per_column, "step"))
    return f" (each cell: the most unusual of {' x '.join(parts)})" if parts else ""
