"""Loss that was won and lost again: excursions of its running level above the best that was reached before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gradscope.record.grid import Bools, Floats, Ints
from gradscope.record.run import Run
from gradscope.signals.activations import batch_rows
from gradscope.signals.events import series

WINDOW = 5
"""Values of the running median, and of the mean that counts as reached: a single hard batch moves neither much."""
ROWS = 16
"""Rows that one value stands for at the least: the losses of smaller batches are averaged over several steps."""
AROUND = 25
"""Values to either side of a window that tell how much batches differ there."""
LARGE_UPDATE = 0.1
"""Part of the weights from which the first updates may have left the first loss behind at once."""


@dataclass(frozen=True, eq=False)
class Excursions:
    """``level`` is the running median of the loss that ends at each of ``steps``, ``best`` the lowest mean before its window;
    ``start`` the loss that the run began with, ``losses`` all of them, and ``reached`` where in them the best begins. Steps are
    ``stride`` apart.
    """

    steps: Ints
    level: Floats
    best: Floats
    start: float
    stride: int
    losses: Floats
    reached: Ints

    def beyond(self, factor: float, share: float) -> Bools:
        """Where the level is over ``factor`` times the best, and that by more than ``share`` of the start.

        For a loss that can be negative a factor means nothing: where all that was won is lost twice over.
        """
        rise = self.level - self.best
        if self.best.min(initial=self.start) <= 0.0:
            return rise > 2.0 * (self.start - self.best) + share * abs(self.start)
        return (self.level > factor * self.best) & (rise > share * abs(self.start))

    def chance(self, at: Ints) -> Floats:
        """How far batches alone may have taken the level above the best, at these of the steps.

        The largest of n running medians stands above the lowest of n running means by sqrt(2 ln n) standard errors of each
        (Cramer 1946, section 28.6) where nothing but the batches differ. Their deviation is read from the differences of
        neighbours around the best window, where the run was at its calmest.
        """
        places, of = np.unique(self.reached[at], return_inverse=True)  # within an excursion the best stays where it is
        spread = np.empty(len(places))
        for i, place in enumerate(places):
            steps = np.diff(self.losses[max(0, place - AROUND) : place + WINDOW + AROUND])
            spread[i] = 1.4826 * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2.0)
        errors = (1.0 + np.sqrt(np.pi / 2.0)) / np.sqrt(WINDOW)
        chance: Floats = np.sqrt(2.0 * np.log(len(self.losses))) * errors * spread[of]
        return chance


def excursions(run: Run, stop: int | None = None) -> Excursions:
    """Of the finite losses before ``stop``; empty while there are fewer than two windows."""
    loss = series(run, "loss")
    keep = loss.present & np.isfinite(loss.values)
    if stop is not None:
        keep &= loss.steps < stop
    stride = max(1, -(-ROWS // (batch_rows(run) or ROWS)))
    count = len(loss.steps[keep]) // stride
    steps = loss.steps[keep][: count * stride].reshape(count, stride)[:, -1]
    values = loss.values[keep][: count * stride].reshape(count, stride).mean(axis=1)
    start = _start(run, values) if count else float("nan")
    if count < 2 * WINDOW:
        none = np.empty(0)
        return Excursions(np.empty(0, np.int64), none, none, start, stride, values, np.empty(0, np.int64))
    windows = sliding_window_view(values, WINDOW)
    level = np.median(windows, axis=1)[WINDOW:]
    means = windows.mean(axis=1)[: len(level)]
    best = np.minimum.accumulate(means)
    reached = np.maximum.accumulate(np.where(means == best, np.arange(len(means)), 0))
    return Excursions(steps[2 * WINDOW - 1 :], level, np.minimum(best, start), start, stride, values, reached)


def _start(run: Run, values: Floats) -> float:
    """The first loss, or the median of the first if that is larger and no update was so large as to have made it so."""
    update = series(run, "relative_update")
    with np.errstate(invalid="ignore"):
        large = update.present & (update.steps < WINDOW) & ~(update.values < LARGE_UPDATE)
    return float(values[0] if large.any() else max(values[0], np.median(values[:WINDOW])))
