"""A long profile as a few frames, each a recorded row with the range of the rows that it stands for: a spike stays visible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.record.grid import Bools, Floats, Ints
from gradscope.signals.states import State, States, states


@dataclass(frozen=True, eq=False)
class Frames:
    """``rows`` (F,) are the recorded rows that are shown as they are; frame f stands for those up to the next frame's.

    ``values`` and ``states`` (F, L) are what was recorded at ``steps`` (F,); ``until`` (F,) is the last step that a frame
    stands for. ``low`` and ``high`` (F, L) are the smallest and the largest finite value in it, NaN without any; ``marks``
    (F, L) the state in it that must be missed least; ``falls`` says that of low and high the low one lies further from the
    layer's usual size. Where every row has its own frame, ``reduced`` is false and low and high are the values.
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
    """Of ``values`` (S, L) that were recorded at ``steps`` (S,), one at least of each."""
    rows, found = frame_rows(len(steps), most), states(values, present)
    until = np.append(steps[rows[1:] - 1], steps[-1])
    finite = (found == State.FINITE) | (found == State.UNDERFLOW)
    low, high, marks = values, values, found
    if len(rows) < len(steps):
        low = np.minimum.reduceat(np.where(finite, values, np.inf), rows, axis=0)
        high = np.maximum.reduceat(np.where(finite, values, -np.inf), rows, axis=0)
        marks = np.maximum.reduceat(found, rows, axis=0)
    known = np.isfinite(low) & np.isfinite(high) & (low > 0.0)
    middle = _usual_logs(values, finite)
    with np.errstate(invalid="ignore", divide="ignore"):
        falls = known & (middle - np.log10(np.where(known, low, 1.0)) > np.log10(np.where(known, high, 1.0)) - middle)
        low, high = np.where(np.isfinite(low), low, np.nan), np.where(np.isfinite(high), high, np.nan)
    return Frames(rows, steps[rows], until, values[rows], found[rows], low, high, marks, falls, reduced=len(rows) < len(steps))


def _usual_logs(values: Floats, finite: Bools) -> Floats:
    """The mean of log10 of each column's finite, positive values (L,)."""
    usable = finite & (np.where(finite, values, 0.0) > 0.0)
    logs = np.log10(values, where=usable, out=np.zeros_like(values))
    mean: Floats = logs.sum(axis=0) / np.maximum(usable.sum(axis=0), 1)
    return mean
