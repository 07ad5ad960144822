"""Fewer values for a small screen, without losing what stands out: extremes, zeros and non-finite values survive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.record.grid import Floats, Ints
from gradscope.signals.events import Series
from gradscope.signals.profiles import Profile
from gradscope.signals.states import State, States


def extremes(values: Floats, buckets: int) -> Ints:
    """Positions to keep of a series (S,), ascending: of each of ``buckets`` equal stretches its smallest and its largest
    finite value and its first that is not finite, and both ends. A line through them looks like the line through all.
    """
    count = len(values)
    if count <= 2 * buckets:
        return np.arange(count)
    size = -(-count // buckets)
    padded = np.full(size * buckets, np.nan)
    padded[:count] = values
    table = padded.reshape(buckets, size)
    finite = np.isfinite(table)
    starts = np.arange(buckets) * size
    kept = [
        np.array([0, count - 1]),
        (starts + np.where(finite, table, np.inf).argmin(axis=1))[finite.any(axis=1)],
        (starts + np.where(finite, table, -np.inf).argmax(axis=1))[finite.any(axis=1)],
        (starts + (~finite).argmax(axis=1))[~finite.all(axis=1)],
    ]
    kept_positions = np.unique(np.concatenate(kept))
    return kept_positions[kept_positions < count]


def across_layers(profile: Profile) -> tuple[Series, Series, Series]:
    """The smallest, median and largest value over the layers, step by step. A NaN among them makes all three NaN."""
    shown = profile.measured
    ordered = np.sort(np.where(shown.present, shown.values, np.inf), axis=1)
    last = shown.present.sum(axis=1) - 1
    broken = (shown.present & np.isnan(shown.values)).any(axis=1)
    at = np.arange(len(shown.steps))

    def of(places: Ints) -> Series:
        values = np.where(broken, np.nan, ordered[at, places])
        return Series(profile.signal, shown.steps, values, np.ones(len(at), bool))

    return of(np.zeros_like(last)), of(last // 2), of(last)


def stretches(values: Floats, buckets: int) -> tuple[Floats, Floats, Floats, Floats]:
    """A positive series (n,) in stretches: the mean position, smallest, geometric mean and largest finite value of each.

    NaN where a stretch has no finite, positive value.
    """
    edges = np.linspace(0, len(values), min(buckets, len(values)) + 1).astype(np.int64)
    usable = np.isfinite(values) & (np.where(np.isfinite(values), values, 0.0) > 0.0)
    logs = np.log(values, where=usable, out=np.zeros_like(values))
    counted = np.add.reduceat(usable, edges[:-1])
    seen = np.where(counted > 0, 1.0, np.nan)
    low = np.minimum.reduceat(np.where(usable, values, np.inf), edges[:-1])
    high = np.maximum.reduceat(np.where(usable, values, 0.0), edges[:-1])
    middle = np.exp(np.add.reduceat(logs, edges[:-1]) / np.maximum(counted, 1))
    return (edges[:-1] + edges[1:] - 1) / 2.0, np.where(counted, low, np.nan), middle * seen, high * seen


def mean_stretches(values: Floats, buckets: int) -> tuple[Floats, Floats, Floats, Floats]:
    """The same with the arithmetic mean, of a series that may be 0; NaN where a stretch has no finite value."""
    edges = np.linspace(0, len(values), min(buckets, len(values)) + 1).astype(np.int64)
    usable = np.isfinite(values)
    counted = np.add.reduceat(usable, edges[:-1])
    low = np.minimum.reduceat(np.where(usable, values, np.inf), edges[:-1])
    high = np.maximum.reduceat(np.where(usable, values, -np.inf), edges[:-1])
    total = np.add.reduceat(np.where(usable, values, 0.0), edges[:-1])
    middle = np.where(counted, total / np.maximum(counted, 1), np.nan)
    return (edges[:-1] + edges[1:] - 1) / 2.0, np.where(counted, low, np.nan), middle, np.where(counted, high, np.nan)


@dataclass(frozen=True, eq=False)
class Condensed:
    """A profile on a small raster: ``values`` and ``states`` (rows, columns), rows are layers, columns are steps.

    Row r stands for the layers ``row_edges[r]`` up to ``row_edges[r + 1]`` (positions), column c for the steps from
    ``step_edges[c]`` up to ``step_edges[c + 1]``; ``layers_per_row`` and ``steps_per_column`` are the most that share a cell.
    """

    values: Floats
    states: States
    row_edges: Ints
    step_edges: Floats
    steps_per_column: int

    @property
    def layers_per_row(self) -> int:
        return int(np.diff(self.row_edges).max(initial=1))


def condense(profile: Profile, rows: int, columns: int, *, end: int | None = None) -> Condensed:
    """A profile (steps x layers), one of each at least, on at most ``rows`` x ``columns`` cells over the steps 0 to ``end``.

    Where several values share a cell, the one that stands out most is shown: NaN, then infinity, then exactly zero, then
    underflow, then the value furthest from its layer's usual size. A column without a recorded step repeats the one
    recorded before it; before the first recorded step everything is absent.
    """
    values, found = profile.values, profile.states
    score = _prominence(values, found)

    stop = 1 + (int(profile.steps[-1]) if end is None else end)
    step_edges = np.linspace(0.0, stop, min(columns, stop) + 1)
    first, last = (np.searchsorted(profile.steps, edges, side="left") for edges in (step_edges[:-1], step_edges[1:]))
    held = np.where(last > first, first, np.maximum(first - 1, 0))
    kept = _strongest(score, held, np.maximum(last, held + 1))
    layers = np.arange(len(profile.layers))
    values, found, score = values[kept, layers], found[kept, layers], score[kept, layers]
    found[step_edges[1:] <= profile.steps[0]] = State.ABSENT

    row_edges = np.unique(np.linspace(0, len(layers), min(rows, len(layers)) + 1).astype(np.int64))
    kept = _strongest(score.T, row_edges[:-1], row_edges[1:])
    at = np.arange(len(step_edges) - 1)
    return Condensed(values.T[kept, at], found.T[kept, at], row_edges, step_edges, max(1, int((last - first).max())))


def joined(earlier: Profile | None, later: Profile, most: int) -> Profile:
    """Two profiles one after the other, on half of ``most`` steps where they have more than it: see ``condense``.

    Of other layers than before, the later one alone.
    """
    if earlier is None or earlier.layers != later.layers:
        whole = later
    else:
        steps = np.concatenate([earlier.steps, later.steps])
        values, present = (
            np.concatenate([a, b]) for a, b in ((earlier.values, later.values), (earlier.present, later.present))
        )
        whole = Profile(later.signal, steps, later.layers, values, present, later.reference)
    if len(whole.steps) <= most:
        return whole
    few = condense(whole, len(whole.layers), most // 2)
    known = (few.states != State.ABSENT).T
    steps = np.ceil(few.step_edges[1:]).astype(np.int64) - 1
    return Profile(whole.signal, steps, whole.layers, few.values.T, known, whole.reference)


def _prominence(values: Floats, found: States) -> Floats:
    """How much each value (S, L) must not be missed: its state, and under 1 the decades from its layer's mean."""
    usual = (found == State.FINITE) | (found == State.UNDERFLOW)
    logs = np.log10(np.abs(values), where=usual, out=np.zeros_like(values))
    middle = logs.sum(axis=0) / np.maximum(usual.sum(axis=0), 1)
    distance = np.abs(logs - middle)
    score = np.where(found == State.FINITE, distance / (1.0 + distance), found)
    return np.where(found == State.ABSENT, -1.0, score)


def _strongest(score: Floats, starts: Ints, stops: Ints) -> Ints:
    """Of each span of rows [start, stop) the row with the highest score, per column: (spans, columns)."""
    return np.stack([start + score[start:stop].argmax(axis=0) for start, stop in zip(starts, stops, strict=True)])
