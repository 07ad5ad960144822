"""From a sweep's table to a picture: which number, along which axes, and the file. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from gradscope.errors import UsageError, did_you_mean
from gradscope.plugins import Registry
from gradscope.record.grid import Floats
from gradscope.record.schema import STEPS
from gradscope.render import scales, theme
from gradscope.render.words import plain
from gradscope.signals.scalars import INITIAL, scalars
from gradscope.sweep.axes import SEED, Cell
from gradscope.sweep.grouping import Group, Spread, groups
from gradscope.sweep.predicted import predicted
from gradscope.sweep.table import Column, Row, Table
from gradscope.sweep.text import shown

MAPS = Registry("gradscope.sweep.maps", noun="picture of a sweep")
VERDICT = "verdict"
LOG_FROM = 20.0
"""Ratio of largest to smallest value from which a number is drawn by its powers of ten."""


@dataclass(frozen=True)
class View:
    """What is drawn: the number ``signal`` (or the verdict) of the groups, along ``across`` and, if any, ``up``.

    ``lines`` are the values of all other axes together, in the order of the table, empty without other axes.
    """

    table: Table
    signal: str
    across: Column
    up: Column | None
    groups: tuple[Group, ...]

    @property
    def seeds(self) -> int:
        return max(len(group.rows) for group in self.groups)

    def cells(self, axis: Column) -> list[Cell]:
        """The values of an axis, ascending where they are numbers, else in the order of the table."""
        found = list(dict.fromkeys(group.at[axis.key] for group in self.groups))
        return sorted(found, key=_number) if axis.numeric else found

    def lines(self) -> dict[str, list[Group]]:
        """The groups along ``across``, by what they have on the other axes."""
        found: dict[str, list[Group]] = {}
        for group in self.groups:
            rest = [f"{k}={shown(v)}" for k, v in group.at.items() if k != self.across.key]
            found.setdefault(" ".join(rest), []).append(group)
        order = {cell: i for i, cell in enumerate(self.cells(self.across))}
        return {name: sorted(line, key=lambda g: order[g.at[self.across.key]]) for name, line in found.items()}

    @property
    def share(self) -> bool:
        """Whether the number is a share, as an accuracy is."""
        return self.signal.removeprefix(INITIAL) in {column.name for column in STEPS.columns if column.unit == "share"}

    @property
    def log(self) -> bool:
        """Whether the number is drawn by its powers of ten: it is positive, no share, and spans much."""
        if self.share:
            return False
        values = [v for group in self.groups if (s := group.spread(self.signal)) for v in (s.low, s.high) if s.finite]
        sizes = [v for v in values if v != 0.0]
        return bool(sizes) and min(values) >= 0.0 and max(sizes) / min(sizes) > LOG_FROM

    def centre(self, spread: Spread | None) -> float:
        """What stands for a group: the mean, of numbers drawn by their powers of ten the median; NaN where there is none."""
        return math.nan if spread is None else spread.middle if self.log else spread.mean

    def theory(self, group: Group) -> float:
        """What theory predicts of the number, NaN where it has no word."""
        found = [p for row in group.rows if (p := predicted(row, self.signal)) is not None]
        return float(np.median(found)) if found else math.nan


def draw(table: Table, signal: str | None = None, figure: str | None = None) -> Figure:
    """A picture of a sweep: ``curve`` of a number over one axis, ``map`` over two, ``verdicts`` over either.

    Without a signal it is the first number that the sweep measures. Raises ``UsageError`` for an unknown signal or picture,
    and where nothing was trained, or the axes are too many for a map.
    """
    signal = signal or (VERDICT if figure == "verdicts" else table.measure[0] if table.measure else VERDICT)
    if signal != VERDICT and signal not in scalars():
        known = [VERDICT, *table.measure, *scalars()]
        raise UsageError(f"no number is called {signal!r}{did_you_mean(signal, known)}", hint=f"such as {', '.join(known[:8])}")
    view = _view(table, signal)
    name = figure or ("verdicts" if signal == VERDICT else "curve" if view.up is None else "map")
    if (name == "verdicts") != (signal == VERDICT):
        raise UsageError(
            f"a {name} of {signal} cannot be drawn", hint="verdicts shows the verdict, curve and map show a number"
        )
    drawn = MAPS.load(name)
    if name != "curve" and len(table.own_axes) > 2:
        raise UsageError(f"a {name} has two axes, and the sweep has {len(table.own_axes)}", hint="draw a curve instead")
    with theme.style():
        page = Figure(figsize=drawn.size(view))
        FigureCanvasAgg(page)
        drawn.draw(page, view)
    return page


def _view(table: Table, signal: str) -> View:
    found = groups(table)
    if not any(row.outcome.trained for row in table.rows):
        raise UsageError(f"the sweep {table.name!r} has no finished point: nothing to plot")
    axes = sorted(table.own_axes, key=lambda axis: not axis.numeric)  # numbers go across
    if not axes:
        axes = [axis for axis in table.axes if axis.key == SEED]
        found = tuple(Group(row.at, (row,)) for row in table.rows)
    return View(table, signal, axes[0], axes[1] if len(axes) == 2 else None, found)


def places(axis: Column, cells: Sequence[Cell]) -> Floats:
    """Where the values of an axis stand: numbers where they are, the rest side by side."""
    return np.array([_number(cell) for cell in cells] if axis.numeric else range(len(cells)), np.float64)


def label_axis(axes: Axes, axis: Column, cells: Sequence[Cell], at: Floats, *, side: str = "x") -> None:
    """Ticks at the values of an axis, as many as there is room for, and its key as the label. Call it when the scale is set."""
    wide, tall = theme.inches(axes)
    along = axes.xaxis if side == "x" else axes.yaxis
    names = [plain(shown(cell), 22) for cell in cells]
    room = 0.075 * max(map(len, names)) + 0.16 if side == "x" else 0.24
    long, scale = (wide, axes.get_xscale()) if side == "x" else (tall, axes.get_yscale())
    kept = _apart(np.log(at) if scale == "log" else at, room / long, scales.spread(len(cells), max(2, int(long / room))))
    along.set_major_locator(FixedLocator([float(at[i]) for i in kept]))
    along.set_major_formatter(FixedFormatter([names[i] for i in kept]))
    along.set_minor_locator(NullLocator())
    along.set_label_text(plain(axis.key, 60))


def _apart(at: Floats, share: float, wanted: Sequence[int]) -> list[int]:
    """Those of the ``wanted`` places that lie this share of the axis apart, its ends before the others."""
    span = float(at.max() - at.min()) or 1.0
    kept: list[int] = []
    for i in sorted(wanted, key=lambda i: (at[i] not in (at.min(), at.max()), at[i])):
        if all(abs(at[i] - at[j]) >= 0.999 * share * span for j in kept):
            kept.append(i)
    return sorted(kept)


def over_seeds(view: View) -> str:
    """What stands for several seeds, in a sentence."""
    if view.seeds == 1:
        return ""
    middle, ends = ("median", "the smallest to the largest") if view.log else ("mean", "one standard deviation")
    return f"The {middle} of {view.seeds} seeds; bars are {ends}."


def trained(group: Group) -> list[Row]:
    return [row for row in group.rows if row.outcome.trained]


def _number(cell: Cell) -> float:
    return float(cell)  # type: ignore[arg-type]  # of an axis that is numeric
