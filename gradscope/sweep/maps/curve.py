"""A number over one axis, a line for each place on the others, with theory's line; below it how the verdicts fell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from gradscope.errors import UsageError
from gradscope.numbers import number
from gradscope.record.grid import Floats
from gradscope.render import scales, theme
from gradscope.render.words import plain
from gradscope.signals.states import states
from gradscope.sweep.grouping import Group
from gradscope.sweep.picture import View, label_axis, over_seeds, places, trained
from gradscope.sweep.predicted import typical_edge

TITLE = "{signal} over {across}"
MOST = 12
"""Lines that can be told apart on one page."""
LANE = 0.24
"""Inches of one line's verdicts."""


def size(view: View) -> tuple[float, float]:
    return 9.0, 4.8 + LANE * len(view.lines())


def draw(figure: theme.Page, view: View) -> None:
    lines = view.lines()
    if len(lines) > MOST:
        raise UsageError(
            f"{len(lines)} lines on one page cannot be told apart",
            hint="draw a map, or a sweep with fewer values on the other axes",
        )
    cells = view.cells(view.across)
    at = dict(zip(cells, places(view.across, cells), strict=True))
    theory = {name: np.array([view.theory(group) for group in line]) for name, line in lines.items()}
    edges = {name: typical_edge([row for g in line for row in trained(g)], view.across.key) for name, line in lines.items()}
    title = TITLE.format(signal=view.signal, across=plain(view.across.key, 60))
    top = theme.head(figure, f"{plain(view.table.name, 40)}: {title}", _reading(view, edges), _legend(lines, theory, edges))
    below = LANE * len(lines)
    above, lane = theme.stack(figure, [theme.page(figure)[1] - top - theme.BOTTOM - below, below], top=top, gap=0.06)
    shelf = _scale(above, view, theory)
    if view.across.log:
        above.set_xscale("log")
        lane.set_xscale("log")
    for i, (name, line) in enumerate(lines.items()):
        x = np.array([at[group.at[view.across.key]] for group in line])
        _line(above, shelf, view, x, line, theory[name], i)
    _edges(above, edges, (min(at.values()), max(at.values())))
    above.set_ylabel(view.signal)
    _verdicts(lane, view, lines, at)
    label_axis(lane, view.across, cells, np.array(list(at.values())))
    _limits(lane, np.array(list(at.values())), log=view.across.log)
    above.set_xlim(lane.get_xlim())
    above.xaxis.set_major_locator(NullLocator())
    above.xaxis.set_minor_locator(NullLocator())


def _scale(axes: Axes, view: View, theory: Mapping[str, Floats]) -> scales.Shelf:
    values = [view.centre(group.spread(view.signal)) for group in view.groups]
    measured = [group.spread(view.signal) is not None for group in view.groups]
    ends = [v for g in view.groups if (s := g.spread(view.signal)) and s.finite for v in _bar(view, g)]
    predicted = [v for line in theory.values() for v in line if np.isfinite(v)]
    found = np.array([*values, *ends, *predicted])
    there = np.array([*measured, *[True] * (len(ends) + len(predicted))])
    axis = scales.share_axis if view.share else scales.log_axis if view.log else scales.linear_axis
    return axis(axes, [(found, states(found, there))])


def _line(axes: Axes, shelf: scales.Shelf, view: View, x: Floats, line: Sequence[Group], theory: Floats, i: int) -> None:
    look = theme.run_look(i)
    spreads = [group.spread(view.signal) for group in line]
    values = np.array([view.centre(spread) for spread in spreads])
    there = np.array([spread is not None for spread in spreads])
    shelf.draw(axes, x, values, states(values, there), **look.line(linestyle="-", markersize=5.0, zorder=3 + i))
    for place, group, spread in zip(x, line, spreads, strict=True):
        if spread is not None and spread.finite > 1:
            low, high = _bar(view, group)
            style: dict[str, Any] = {"color": look.colour, "lw": 1.1, "zorder": 2 + i}
            axes.plot([place, place], [low, high], marker="_", markersize=6.0, label="_spread", **style)
    if np.isfinite(theory).any():
        axes.plot(x, theory, color=look.colour, lw=1.1, ls="--", zorder=2, label="_theory")


def _bar(view: View, group: Group) -> tuple[float, float]:
    """Ends of the error bar of a group that has a finite value."""
    spread = group.spread(view.signal)
    assert spread is not None
    if view.log or spread.deviation is None:
        return spread.low, spread.high
    return spread.mean - spread.deviation, spread.mean + spread.deviation


def _edges(axes: Axes, edges: Mapping[str, tuple[float, str] | None], ends: tuple[float, float]) -> None:
    """A vertical line where theory sees the edge, in its line's colour, where it lies between the ends of the axis."""
    several = len(edges) > 1
    for i, found in enumerate(edges.values()):
        if found is not None and ends[0] <= found[0] <= ends[1]:
            colour = theme.run_look(i).colour if several else theme.INK
            axes.axvline(found[0], color=colour, lw=1.1, ls=(0, (1, 1.5)), zorder=1.5, gid="theory-edge")


def _verdicts(axes: Axes, view: View, lines: Mapping[str, Sequence[Group]], at: Mapping[Any, float]) -> None:
    """A row for each line: the sign of each place's verdict, and how many of its seeds have it where they differ."""
    axes.set_ylim(len(lines), 0)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "clip_on": False}
    for row, line in enumerate(lines.values()):
        if len(lines) > 1:
            look = theme.run_look(row)
            axes.plot([-0.012], [row + 0.5], color=look.colour, marker=look.marker, ms=4.5, label="_line", **beside)
        for group in line:
            verdict, times = group.verdicts.most_common(1)[0]
            sign = theme.VERDICT_SIGN.get(verdict, "-") + ("" if times == len(group.rows) else f"{times}/{len(group.rows)}")
            colour = theme.VERDICT.get(verdict, theme.QUIET)
            axes.text(at[group.at[view.across.key]], row + 0.5, sign, size=8, color=colour, ha="center", va="center")


def _limits(axes: Axes, at: Floats, *, log: bool) -> None:
    low, high = float(at.min()), float(at.max())
    if log and low > 0.0:
        edge = (high / low) ** 0.04 if high > low else 2.0
        axes.set_xlim(low / edge, high * edge)
    else:
        edge = 0.04 * (high - low) or 0.5
        axes.set_xlim(low - edge, high + edge)


def _legend(
    lines: Mapping[str, Sequence[Group]], theory: Mapping[str, Floats], edges: Mapping[str, tuple[float, str] | None]
) -> list[Artist]:
    entries: list[Artist] = []
    if len(lines) > 1:
        entries += [Line2D([], [], **theme.run_look(i).line(linestyle="-", label=plain(n, 50))) for i, n in enumerate(lines)]
    colour = theme.QUIET if len(lines) > 1 else theme.run_look(0).colour
    if any(np.isfinite(values).any() for values in theory.values()):
        entries.append(Line2D([], [], color=colour, lw=1.1, ls="--", label="theory, before training"))
    for words in dict.fromkeys(found[1] for found in edges.values() if found):
        entries.append(Line2D([], [], color=theme.INK, lw=1.1, ls=(0, (1, 1.5)), label=words))
    return entries


def _reading(view: View, edges: Mapping[str, tuple[float, str] | None]) -> str:
    parts = [over_seeds(view), "Below: the verdict of each point."]
    if len(edges) == 1 and (found := next(iter(edges.values()))) is not None:
        parts.append(f"Theory sees the edge at {plain(view.across.key, 60)} {number(found[0])}.")
    return " ".join(part for part in parts if part)
