"""Axes for gradients: a logarithmic scale with shelves for what it cannot hold, layers from input to output, steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from gradscope.record.grid import Floats
from gradscope.render import theme
from gradscope.render.words import number, plain, power_of_ten
from gradscope.signals.states import State, States

SHELVES = (State.ZERO, State.INF, State.NAN)
"""What a logarithmic axis has no place for: zero stands below it, infinity and NaN above."""


@dataclass(frozen=True)
class Shelf:
    """Heights at which values are marked that a logarithmic axis cannot hold; only those that occur have one."""

    heights: Mapping[State, float]

    def draw(self, axes: Axes, x: Floats, values: Floats, found: States, **style: Any) -> Line2D:
        """A curve (n,): finite values as a line that breaks where there is none, the others as marks on their shelf."""
        finite = (found == State.FINITE) | (found == State.UNDERFLOW)
        (line,) = axes.plot(x, np.where(finite, values, np.nan), **style)
        for state, height in self.heights.items():
            at = found == state
            if at.any():
                axes.plot(
                    x[at],
                    np.full(int(at.sum()), height),
                    linestyle="none",
                    marker=line.get_marker(),
                    markersize=max(float(line.get_markersize()), 3.5),
                    color=line.get_color(),
                    markeredgecolor=theme.STATES[state].colour,
                    markeredgewidth=0.8,
                    clip_on=False,
                    label=f"_{state.words}",
                    markevery=max(1, int(at.sum()) // 60),
                    zorder=line.get_zorder() + 1,
                )
        return line


def log_axis(axes: Axes, shown: Iterable[tuple[Floats, States]], *, least: float = 100.0, also: Sequence[float] = ()) -> Shelf:
    """Make the y axis logarithmic over all that is shown, with a shelf for each kind of value that has no place on it.

    It spans a factor of ``least`` at least, so that level values look level, and ``also`` holds more heights to be seen.
    """
    pairs = list(shown)
    kinds = {State(int(s)) for _, found in pairs for s in np.unique(found)}
    finite = [v[(s == State.FINITE) | (s == State.UNDERFLOW)] for v, s in pairs]
    sizes = np.concatenate([*finite, np.array([a for a in also if math.isfinite(a) and a > 0.0])])
    low, high = (math.log10(sizes.min()), math.log10(sizes.max())) if sizes.size else (0.0, 0.0)
    short = max(math.log10(least) - (high - low), 0.0) / 2
    low, high = low - short, high + short
    pad = 0.05 * (high - low)
    low, high = low - pad, high + pad

    axes.set_yscale("log")
    ticks = dict(log_ticks(low, high))
    tall = max(theme.inches(axes)[1], 0.2)
    shelf = (high - low) * min(0.19 / tall, 0.2)
    heights: dict[State, float] = {}
    if State.ZERO in kinds:
        low -= shelf
        heights[State.ZERO] = _power(low + shelf / 2)
        axes.axhspan(_power(low), _power(low + shelf), color="#f2f2f2", lw=0, zorder=0)
    for state in (State.INF, State.NAN):
        if state in kinds:
            heights[state] = _power(high + shelf / 2)
            axes.axhspan(_power(high), _power(high + shelf), color="#f7ebe8", lw=0, zorder=0)
            high += shelf
    labels = {State.ZERO: "0", State.INF: "inf", State.NAN: "NaN"}
    ticks |= {height: labels[state] for state, height in heights.items()}
    axes.set_ylim(_power(low), _power(high))
    axes.yaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.yaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    return Shelf(heights)


def log_ticks(low: float, high: float, most: int = 7) -> list[tuple[float, str]]:
    """Heights and labels of at most about ``most`` ticks between 10**low and 10**high: decades, or 1, 2, 5 within few."""
    if high - low <= 2.6:
        exponents = range(math.floor(low), math.ceil(high) + 1)
        steps = (1, 2, 5) if high - low > 1.0 else (1, 1.5, 2, 3, 5, 7)
        heights = [m * 10.0**e for e in exponents for m in steps]
        return [(h, number(h)) for h in heights if low <= math.log10(h) <= high]
    stride = next(s for s in (1, 2, 3, 5, 10, 20, 50, 100) if (high - low) / s <= most)
    exponents = range(math.ceil(low / stride) * stride, math.floor(high) + 1, stride)
    return [(_power(e), power_of_ten(e)) for e in exponents if _power(e) > 0.0]


def layer_axis(axes: Axes, layers: Sequence[str] | int, *, axis: str = "x", inches: float, label: str | None = None) -> None:
    """Positions 1 to L from input to output, named as densely as ``inches`` allow; a number of layers numbers them."""
    count = layers if isinstance(layers, int) else len(layers)
    along = axes.xaxis if axis == "x" else axes.yaxis
    (axes.set_xlim if axis == "x" else axes.set_ylim)(0.5, max(count, 1) + 0.5)
    names = [f"{i + 1:,}" for i in range(count)] if isinstance(layers, int) else [plain(name, 18) for name in layers]
    room = 0.075 * max((len(name) for name in names), default=1) + 0.14 if axis == "x" else 0.24
    places = spread(count, max(2, int(inches / room)))
    along.set_major_locator(FixedLocator([p + 1 for p in places]))
    along.set_major_formatter(FixedFormatter([names[p] for p in places]))
    along.set_minor_locator(NullLocator())
    if label:
        along.set_label_text(label)
    if axis == "x" and names and 0.0325 * len(names[-1]) > theme.RIGHT + 0.5 * inches / count:
        along.get_ticklabels()[-1].set_horizontalalignment("right")  # else the page would cut the last name off


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` positions of 0..count-1, evenly, the first and the last among them."""
    if count <= most:
        return list(range(count))
    stride = -(-(count - 1) // (most - 1))
    places = list(range(0, count - 1, stride))
    if len(places) > 1 and count - 1 - places[-1] < stride * 0.6:
        places.pop()
    return [*places, count - 1]


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
    return float(10.0 ** min(max(exponent, -307.0), 307.0))
