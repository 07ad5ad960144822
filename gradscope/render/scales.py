"""Axes for gradients: a logarithmic scale with shelves for what it cannot hold, layers from input to output, steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from gradscope.numbers import number
from gradscope.record.grid import Floats, Ints
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.render.words import plain, power_of_ten
from gradscope.signals.events import broke_at
from gradscope.signals.states import State, States

LONGEST = {"x": 18, "y": 12}
"""Letters of a layer's name: more would fill the axis with few names, or leave the page at its side."""
NEAR = 0.13
"""Inches between a shelf's label and the next one of the axis, or they would stand in each other."""
AFTERMATH = 3
"""Steps that are drawn after the one at which a run broke, at least."""
Shown = Iterable[tuple[Floats, States]]
"""Everything that an axis has to hold: values and what they are."""


@dataclass(frozen=True)
class Shelf:
    """Heights at which values are marked that the axis has no place for: infinity and NaN, on a logarithmic axis also 0.

    Only those that occur have one.
    """

    heights: Mapping[State, float]

    def draw(self, axes: Axes, x: Floats | Ints, values: Floats, found: States, **style: Any) -> Line2D:
        """A curve (n,): a line through the values, broken where there is none, and marks on the shelves for the rest."""
        on_axis = ~np.isin(found, [State.ABSENT, *self.heights])
        (line,) = axes.plot(x, np.where(on_axis, values, np.nan), **style)
        for state, height in self.heights.items():
            at = np.flatnonzero(found == state)
            if at.size:
                axes.plot(
                    x[at],
                    np.full(at.size, height),
                    linestyle="none",
                    marker=line.get_marker() if line.get_marker() != "None" else "o",
                    markersize=max(float(line.get_markersize()), 3.5),
                    markerfacecolor=line.get_markerfacecolor(),
                    markeredgecolor=theme.STATES[state].colour,
                    markeredgewidth=0.8,
                    clip_on=False,
                    label=f"_{state.words}",
                    markevery=max(1, at.size // 60),
                    zorder=line.get_zorder() + 1,
                )
        return line


def log_axis(axes: Axes, shown: Shown, *, least: float = 100.0, also: Sequence[float] = ()) -> Shelf:
    """Make the y axis logarithmic over all that is shown, with shelves for zero below and what is not finite above.

    It spans a factor of ``least`` at least, so that level values look level, and ``also`` holds more heights to be seen.
    """
    pairs = list(shown)
    on_axis = [v[(s == State.FINITE) | (s == State.UNDERFLOW)] for v, s in pairs]
    sizes = np.concatenate([*on_axis, np.array([a for a in also if math.isfinite(a) and a > 0.0])])
    low, high = (math.log10(sizes.min()), math.log10(sizes.max())) if sizes.size else (0.0, 0.0)
    short = max(math.log10(least) - (high - low), 0.0) / 2
    low, high = low - short, high + short
    pad = 0.05 * (high - low)
    axes.set_yscale("log")
    ticks = log_ticks(low - pad, high + pad, _most(axes))
    return _shelves(axes, pairs, low - pad, high + pad, (State.ZERO,), ticks, _power)


def linear_axis(axes: Axes, shown: Shown) -> Shelf:
    """Make the y axis linear over all that is shown, with shelves for what is not finite at the top.

    It spans a quarter of the largest size at least, so that the ripple of a series that stands still looks like one.
    """
    pairs = list(shown)
    sizes = np.concatenate([np.empty(0), *(v[(s != State.ABSENT) & np.isfinite(v)] for v, s in pairs)])
    low, high = (float(sizes.min()), float(sizes.max())) if sizes.size else (0.0, 1.0)
    short = max(0.25 * max(abs(low), abs(high)) - (high - low), 0.0) / 2
    low, high = low - short, high + short
    pad = 0.06 * (high - low) or 1.0
    low, high = low - pad, high + pad
    ticks = [t for t in MaxNLocator(nbins=_most(axes), steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= t <= high]
    return _shelves(axes, pairs, low, high, (), [(float(t), number(float(t), 6)) for t in ticks], float)


def share_axis(axes: Axes, shown: Shown) -> Shelf:
    """Make the y axis one of shares, 0 to 100 % whatever is shown, with shelves for what is not finite at the top."""
    every = 0.25 if _most(axes) >= 5 else 0.5
    ticks = [(float(t), f"{t:.0%}") for t in np.arange(0.0, 1.01, every)]
    return _shelves(axes, list(shown), -0.03, 1.03, (), ticks, float)


def _shelves(
    axes: Axes,
    pairs: Sequence[tuple[Floats, States]],
    low: float,
    high: float,
    below: Sequence[State],
    ticks: Sequence[tuple[float, str]],
    height: Callable[[float], float],
) -> Shelf:
    """Add a shelf for each kind of value that the axis from ``low`` to ``high`` has no place for, and set limits and ticks."""
    kinds = {State(int(s)) for _, found in pairs for s in np.unique(found)}
    step = (high - low) * min(0.19 / max(theme.inches(axes)[1], 0.2), 0.2)
    heights: dict[State, float] = {}
    for state in below:
        if state in kinds:
            heights[state] = height(low - step / 2)
            axes.axhspan(height(low - step), height(low), color="#f2f2f2", lw=0, zorder=0)
            low -= step
    for state in (State.INF, State.NAN):
        if state in kinds:
            heights[state] = height(high + step / 2)
            axes.axhspan(height(high), height(high + step), color="#f7ebe8", lw=0, zorder=0)
            high += step
    axes.set_ylim(height(low), height(high))
    taken = [theme.up(axes, at) for at in heights.values()]
    labels = {at: text for at, text in ticks if all(abs(theme.up(axes, at) - other) > NEAR for other in taken)}
    labels |= {at: _SHELF_LABELS[state] for state, at in heights.items()}
    axes.yaxis.set_major_locator(FixedLocator(list(labels)))
    axes.yaxis.set_major_formatter(FixedFormatter(list(labels.values())))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    return Shelf(heights)


_SHELF_LABELS = {State.ZERO: "0", State.INF: "inf", State.NAN: "NaN"}


def _most(axes: Axes) -> int:
    """Ticks that the y axis has room for."""
    return min(max(int(theme.inches(axes)[1] / 0.27), 2), 8)


def log_ticks(low: float, high: float, most: int = 8) -> list[tuple[float, str]]:
    """Heights and labels of at most about ``most`` ticks between 10**low and 10**high: decades, within few of them parts."""
    if high - low <= 2.6:
        for parts in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3)):
            heights = [m * _power(e) for e in range(math.floor(low), math.ceil(high) + 1) for m in parts]
            heights = [h for h in heights if low <= math.log10(h) <= high]
            if len(heights) <= most:
                return [(h, number(h)) for h in heights]
    stride = next(s for s in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500) if (high - low) / s <= most)
    exponents = range(math.ceil(low / stride) * stride, math.floor(high) + 1, stride)
    return [(_power(e), power_of_ten(e)) for e in exponents]


def layer_axis(axes: Axes, layers: Sequence[str] | int, *, axis: str = "x", inches: float, label: str | None = None) -> None:
    """Positions 1 to L from input to output, named as densely as ``inches`` allow; a number of layers numbers them."""
    count = layers if isinstance(layers, int) else len(layers)
    along = axes.xaxis if axis == "x" else axes.yaxis
    (axes.set_xlim if axis == "x" else axes.set_ylim)(0.5, max(count, 1) + 0.5)
    names = [f"{i + 1:,}" for i in range(count)] if isinstance(layers, int) else _told_apart(layers, LONGEST[axis])
    room = 0.075 * max((len(name) for name in names), default=1) + 0.14 if axis == "x" else 0.24
    most = max(2, int(inches / room))
    if isinstance(layers, int):  # numbers are to be round, not places, which are one less
        places = list(dict.fromkeys(max(place - 1, 0) for place in spread(count + 1, most)))
    else:
        places = spread(count, most)
    along.set_major_locator(FixedLocator([p + 1 for p in places]))
    along.set_major_formatter(FixedFormatter([names[p] for p in places]))
    along.set_minor_locator(NullLocator())
    if label:
        along.set_label_text(label)
    half = 0.0325 * len(names[-1]) if names else 0.0
    if axis == "x" and half > theme.beside(axes) + 0.5 * inches / count:
        while len(places) > 1 and (places[-1] - places[-2]) * inches / count < 3.0 * half:
            places.pop(-2)  # or it would stand in the last name, which ends at its tick lest the page cut it off
        along.set_major_locator(FixedLocator([p + 1 for p in places]))
        along.set_major_formatter(FixedFormatter([names[p] for p in places]))
        along.get_ticklabels()[-1].set_horizontalalignment("right")


def _told_apart(names: Sequence[str], most: int) -> list[str]:
    """Names in at most ``most`` letters: first go dotted parts with which all begin, as many as must, then what is between."""
    shown = [plain(name) for name in names]
    parts = [name.split(".") for name in shown]
    alike = sum(1 for _ in takewhile(lambda same: len(set(same)) == 1, zip(*(p[:-1] for p in parts), strict=False)))
    for gone in range(1, alike + 1):
        if max(map(len, shown)) > most:
            shown = ["…" + ".".join(p[gone:]) for p in parts]
    return [plain(name, most) for name in shown]


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` positions of 0..count-1, at a round stride, the first and the last among them."""
    if count <= most:
        return list(range(count))
    round_ones = (int(part * 10**power) for power in range(20) for part in ((1, 2, 4, 5) if power == 0 else (1, 2, 2.5, 4, 5)))
    stride = next(s for s in round_ones if s * (most - 1) >= count - 1)
    places = list(range(0, count - 1, stride))
    if len(places) > 1 and count - 1 - places[-1] < stride * 0.6:
        places.pop()
    return [*places, count - 1]


def last_step(runs: Sequence[Run]) -> tuple[int, str]:
    """The last step to draw, and what to say of those after it.

    Of runs that soon broke for good what led to it is drawn, and a little of what followed: there is nothing in the rest.
    """
    ends = [run.step_count - 1 for run in runs]
    broke = [broke_at(run) for run in runs]
    shown = [end if at is None else min(end, at + max(at // 2, AFTERMATH)) for end, at in zip(ends, broke, strict=True)]
    if max(ends) < 3 * max(shown):
        return max(ends), "training step"
    return max(shown), f"training step (not drawn: {max(shown) + 1:,}-{max(ends):,}, where the loss is never finite again)"


def step_axis(axes: Axes, end: int, *, label: str = "training step") -> None:
    """Steps 0 to ``end``."""
    axes.set_xlim(-0.5, end + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.set_xlabel(label)


def _thousands(value: float, _: object) -> str:
    return f"{value:,.0f}"


def _power(exponent: float) -> float:
    """10**exponent, kept within what a float can hold."""
    return float(10.0 ** min(max(exponent, -323.3), 308.2))
