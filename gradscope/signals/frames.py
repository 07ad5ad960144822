"""A long profile as a few frames, each a recorded row with the range of the rows that it stands for: a spike stays visible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.record.grid import Bools, Floats, Ints
from gradscope.signals.states import State, States, states

AT_ONCE = 4096
"""Rows that are looked at together: some hundred thousand with all that is worked out of them would fill the memory."""


@dataclass(frozen=True, eq=False)
class Frames:
    """``rows`` (F,) are the recorded rows that are shown as they are; frame f stands for those up to the next frame's.

    ``values`` and ``states`` (F, L) are what was recorded at ``steps`` (F,); ``until`` (F,) is the last step that a frame
    stands for. ``low`` and ``high`` (F, L) are the smallest and the largest finite value in it, NaN without any; ``marks``
    (F, L) the state in it that must be missed least; ``falls`` says that of low and high the low one lies further from the
    layer's usual size. Where every row has its own frame, ``reduced`` is false.
    """

    rows: Ints
    steps: Ints
    until: Ints
    values: Floats
    states: States
    low: Floats
    high: Floats
    marks: States
    falls: Bools
    reduced: bool


def frame_rows(count: int, most: int) -> Ints:
    """Which of ``count`` rows begin a frame, at most ``most`` (two at least): all, or evenly spread and dense at the start.

    Half of the frames are evenly spread, half on a logarithmic scale: most of what happens happens early.
    """
    if count <= most:
        return np.arange(count)
    half = (most - 1) // 2
    even = np.linspace(0, count - 1, most - half)
    early = np.geomspace(1, count, half) - 1
    return np.unique(np.round(np.concatenate([even, early])).astype(np.int64))


def frames(steps: Ints, values: Floats, present: Bools, most: int) -> Frames:
    """Of ``values`` (S, L) that were recorded at ``steps`` (S,), one at least of each. What it works in stays small."""
    rows = frame_rows(len(steps), most)
    until, shape = np.append(steps[rows[1:] - 1], steps[-1]), (len(rows), values.shape[1])
    low, high, marks = np.empty(shape), np.empty(shape), np.empty(shape, np.uint8)
    logs, known = np.zeros(shape[1]), np.zeros(shape[1])
    first = 0
    while first < len(rows):
        last = max(int(np.searchsorted(rows, rows[first] + AT_ONCE)), first + 1)
        part = slice(rows[first], rows[last] if last < len(rows) else None)
        these, found = values[part], states(values[part], present[part])
        finite, starts = (found == State.FINITE) | (found == State.UNDERFLOW), rows[first:last] - rows[first]
        low[first:last] = np.minimum.reduceat(np.where(finite, these, np.inf), starts, axis=0)
        high[first:last] = np.maximum.reduceat(np.where(finite, these, -np.inf), starts, axis=0)
        marks[first:last] = np.maximum.reduceat(found, starts, axis=0)
        usable = finite & (np.where(finite, these, 0.0) > 0.0)
        logs += np.log10(these, where=usable, out=np.zeros_like(these)).sum(axis=0)
        known += usable.sum(axis=0)
        first = last
    middle = logs / np.maximum(known, 1.0)
    positive = np.isfinite(low) & np.isfinite(high) & (low > 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        falls = positive & (middle - np.log10(np.where(positive, low, 1.0)) > np.log10(np.where(positive, high, 1.0)) - middle)
    low, high = np.where(np.isfinite(low), low, np.nan), np.where(np.isfinite(high), high, np.nan)
    shown, reduced = states(values[rows], present[rows]), len(rows) < len(steps)
    return Frames(rows, steps[rows], until, values[rows], shown, low, high, marks, falls, reduced)
