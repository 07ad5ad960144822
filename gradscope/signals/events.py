"""The loss over time and what happened on the way: skipped and clipped steps, spikes, the first number that is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gradscope.record.grid import Bools, Floats, Ints
from gradscope.record.run import Run
from gradscope.signals.states import States, states

WINDOW = 50
"""Earlier values that a spike is measured against."""
WARM_UP = 10
"""Values needed before anything can be called a spike."""
CHUNK = 1 << 16
"""Values that are scored at once: a million of them with their windows would fill the memory."""
LEAST_SPREAD = 0.15
"""Spread of the logarithm below which a series counts as this noisy: a still series would else spike at every ripple."""
SPIKE_SCORE = 6.0
"""Score from which a value is a spike (OLMo-core skips steps at the same six deviations)."""
END = 5
"""The last of so many equal parts of a series is its end."""


@dataclass(frozen=True, eq=False)
class Series:
    """One signal over time: ``steps``, ``values`` and ``present``, each (S,)."""

    signal: str
    steps: Ints
    values: Floats
    present: Bools

    @property
    def empty(self) -> bool:
        return not self.present.any()

    @property
    def states(self) -> States:
        return states(self.values, self.present)

    def upto(self, step: int) -> Series:
        """The same without what comes after a step."""
        stop = int(np.searchsorted(self.steps, step, side="right"))
        return Series(self.signal, self.steps[:stop], self.values[:stop], self.present[:stop])

    @property
    def measured(self) -> Series:
        """The same without the steps that have no value."""
        at = np.flatnonzero(self.present)
        return Series(self.signal, self.steps[at], self.values[at], self.present[at])


@dataclass(frozen=True, eq=False)
class Events:
    """The step numbers at which each kind of thing happened, ascending.

    ``skipped``: no optimizer took the step. ``clipped``: the gradient was cut before the update, among the steps ``read``, in
    which its norm was measured. ``spikes``: the loss jumped. ``nonfinite``: the loss was NaN or infinite, or the gradient was
    and the step was taken all the same.
    """

    skipped: Ints
    clipped: Ints
    read: Ints
    spikes: Ints
    nonfinite: Ints


def series(run: Run, column: str) -> Series:
    """A column of the table ``steps``. Raises ``KeyError`` for one that it does not have."""
    grid = run.grid("steps", column)
    if not grid.entities:
        return Series(column, grid.steps, np.full(len(grid.steps), np.nan), np.zeros(len(grid.steps), bool))
    return Series(column, grid.steps, grid.values[:, 0], grid.present[:, 0])


def events(run: Run) -> Events:
    loss, total = series(run, "loss"), series(run, "total_norm")
    clipped, skipped = series(run, "clip_coefficient"), series(run, "skipped")
    jumped = skipped.present & (skipped.values == 1.0)
    broken = (loss.present & ~np.isfinite(loss.values)) | (total.present & ~np.isfinite(total.values) & ~jumped)
    return Events(
        skipped=loss.steps[jumped],
        clipped=loss.steps[clipped.present & (clipped.values < 1.0)],
        read=loss.steps[total.present],
        spikes=loss.steps[spike_scores(loss) > SPIKE_SCORE],
        nonfinite=loss.steps[broken],
    )


def broke_at(run: Run) -> int | None:
    """The step from which on the loss was never finite again; None where it was finite at the end, or not recorded."""
    loss = series(run, "loss").measured
    finite = np.flatnonzero(np.isfinite(loss.values))
    after = int(finite[-1]) + 1 if finite.size else 0
    return int(loss.steps[after]) if after < len(loss.steps) else None


def at_end(of: Series) -> float | None:
    """What a series came to: the median of the finite values in the last fifth, since that of a single batch is mostly noise;
    the last value itself where it is not finite, None where there is no value.
    """
    values = of.measured.values
    if not values.size or not np.isfinite(values[-1]):
        return float(values[-1]) if values.size else None
    end = values[-max(1, len(values) // END) :]
    return float(np.median(end[np.isfinite(end)]))


def spike_scores(of: Series) -> Floats:
    """How far each value stands above the ones before it (S,): (ln x - median) / max(1.4826 MAD, 0.15) over the last 50.

    Median and MAD make it deaf to earlier spikes; the logarithm to scale. NaN for the first ten values and where a value
    is absent, not finite or not positive, which do not count as earlier values either.
    """
    scores = np.full(len(of.values), np.nan)
    usable = of.present & np.isfinite(of.values) & (np.where(of.present, of.values, 1.0) > 0.0)
    logs = np.log(of.values[usable])
    found = np.full(len(logs), np.nan)
    for i in range(WARM_UP, min(WINDOW, len(logs))):
        found[i] = _scores(logs[i : i + 1], logs[None, :i])[0]
    for i in range(WINDOW, len(logs), CHUNK):
        stop = min(i + CHUNK, len(logs))
        found[i:stop] = _scores(logs[i:stop], sliding_window_view(logs[i - WINDOW : stop - 1], WINDOW))
    scores[usable] = found
    return scores


def _scores(logs: Floats, before: Floats) -> Floats:
    middle = np.median(before, axis=1)
    spread = 1.4826 * np.median(np.abs(before - middle[:, None]), axis=1)
    return (logs - middle) / np.maximum(spread, LEAST_SPREAD)
