"""Decades by what they are due to, as bars stacked from 0: up for what a layer adds to the gradient, down for what it takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from gradscope.record.grid import Floats, Ints
from gradscope.render import theme

MOST = 120
"""Bars side by side: of more layers neighbours are added up, which decades allow."""


def stacked(axes: Axes, parts: Mapping[str, Floats], edges: Ints) -> None:
    """For each kind one bar per stretch of layers, from the values (n,) of that kind; NaN draws nothing.

    Stretch i holds the layers from position ``edges[i]`` up to ``edges[i + 1]``, which stand at 1 to L.
    """
    up, down = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    middle, wide = (edges[:-1] + edges[1:] + 1) / 2.0, np.diff(edges)
    for kind, found in parts.items():
        values = np.nan_to_num(found)
        bottom = np.where(values > 0.0, up, down)
        look = theme.KINDS[kind].patch(lw=0.3 if len(middle) <= 60 else 0.0)
        axes.bar(middle, values, bottom=bottom, width=0.8 * wide, label=kind, **look)
        up, down = up + np.maximum(values, 0.0), down + np.minimum(values, 0.0)
    axes.axhline(0.0, color=theme.REFERENCE, lw=1.0)


def stride(count: int) -> int:
    """How many of so many layers one bar stands for."""
    return -(-count // MOST)


def together(parts: Mapping[str, Floats], count: int) -> tuple[dict[str, Floats], Ints]:
    """Neighbours of ``count`` layers added up until at most ``MOST`` stretches are left: the parts, and their edges."""
    edges = np.append(np.arange(0, count, stride(count)), count)
    return {kind: np.add.reduceat(values, edges[:-1]) for kind, values in parts.items()}, edges
