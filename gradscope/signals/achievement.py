"""What a run achieved: how much of the residual at its output is left of what predicting the mean alone would leave.

The gradient at the output, less its mean over the batch, is the residual once the mean is learned: for squared error a
constant times (o - y), for cross-entropy softmax(o) - y. A ratio of two such norms is free of the loss's scale and offset, of
the number of classes and of chance level, and "learnt only the mean" reads 1. The loss itself has none of this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gradscope.record.grid import Bools, Floats, Ints
from gradscope.record.run import Run
from gradscope.signals.events import Series, series

LATE = 0.2
"""The share of the steps, at the end, on which the residual that is left is read."""
FEWEST = 3
"""Samples that make it unnecessary to look further back."""
NEAR = 2
"""Steps to either side whose losses make the level at a step."""
OWN = 1e-6
"""How far a correlation with the output may be from 1, by rounding, where dL/d(output) is a multiple of the output."""
STILL = 1.02
"""Largest over smallest value of a residual that cannot move: L1 and hinge losses, and likelihoods of log-probabilities."""


@dataclass(frozen=True)
class Achievement:
    """``residual`` is the share of the mean-only residual that is left (its square is 1 - R^2), NaN where nothing tells.

    ``correlation`` is that of dL/d(output) with the output at the end: where it is large the output's own spread is the
    error. ``signal`` names what the residual was read from.
    """

    residual: float
    correlation: float
    signal: str


def achievement(run: Run, stop: int | None = None) -> Achievement:
    """From the gradient at the output; from the loss where that was not recorded, is 0, cannot move or is the output itself.

    ``stop`` is the first step that no longer counts. A sample taken before the end is carried to it by the loss, which is
    known at every step.
    """
    loss, norm = _until(series(run, "loss"), stop), _until(series(run, "output_backward_norm"), stop)
    by_loss = _loss_ratio(loss)
    if len(norm.steps) < 1 or not len(loss.steps) or not np.isfinite(norm.values[0]) or norm.values[0] == 0.0:
        return Achievement(by_loss, float("nan"), "loss")
    correlations = _until(series(run, "output_correlation"), stop)
    if np.isnan(by_loss) and len(correlations.values) and (correlations.values > 1.0 - OWN).all():
        # a likelihood of latent variables asks for small outputs, and of what they should be nothing is left over
        return Achievement(by_loss, float("nan"), "loss")
    if len(norm.steps) >= FEWEST and norm.values.min() > 0 and norm.values.max() < STILL * norm.values.min() and by_loss < 0.5:
        return Achievement(by_loss, float("nan"), "loss")
    first = correlations.values[0] if len(correlations.values) and np.isfinite(correlations.values[0]) else 0.0
    only_mean = norm.values[0] * np.sqrt(max(1.0 - first**2, 1e-6))  # the output's own spread is no residual of the mean
    late = _late(norm.steps, loss.steps)
    left = norm.values[late] * _carried(loss, norm, norm.steps[late])
    known = correlations.values[np.isin(correlations.steps, norm.steps[late])]
    known = known[np.isfinite(known)]
    return Achievement(
        float(np.median(left) / only_mean), float(np.median(known)) if known.size else float("nan"), "output_backward_norm"
    )


def _loss_ratio(loss: Series) -> float:
    """The late loss over the first one; NaN where it is not positive (a loss without a natural zero)."""
    if not len(loss.values) or loss.values.min() <= 0.0:
        return float("nan")
    return float(np.median(loss.values[-max(FEWEST, int(LATE * len(loss.values))) :]) / loss.values[0])


def _carried(loss: Series, norm: Series, steps: Ints) -> Floats:
    """What each of these steps' residuals is multiplied by to stand at the end of the run, (k,).

    The loss's ratio to the power at which this run's residual follows its loss: 1/2 for squared error and for cross-entropy
    that is being learned, 0 for the cross-entropy of outputs that are all too large.
    """
    if loss.values.min() <= 0.0 or norm.values.min() <= 0.0:
        return np.ones(len(steps))
    end = np.median(loss.values[-max(FEWEST, int(LATE * len(loss.values) / 2)) :])
    _, mine, theirs = np.intersect1d(loss.steps, norm.steps, return_indices=True)
    x, y = np.log(loss.values[mine]), np.log(norm.values[theirs])
    spread = float(((x - x.mean()) ** 2).sum())
    power = float(np.clip(((x - x.mean()) * y).sum() / spread, 0.0, 0.5)) if spread > 0.0 else 0.0
    carried: Floats = (end / _level(loss.values, np.searchsorted(loss.steps, steps))) ** power
    return carried


def _level(values: Floats, places: Ints) -> Floats:
    """The median around each of these places, (k,); at the ends of fewer values."""
    level = np.empty(len(places))
    inside = (places >= NEAR) & (places < len(values) - NEAR)
    if inside.any():
        windows = sliding_window_view(values, 2 * NEAR + 1)
        level[inside] = np.median(windows[places[inside] - NEAR], axis=1)
    for k in np.flatnonzero(~inside):
        level[k] = np.median(values[max(0, places[k] - NEAR) : places[k] + NEAR + 1])
    return level


def _late(sampled: Ints, steps: Ints) -> Bools:
    """Which samples tell of the end: those in the last fifth of the steps; if few, in the last half; or the last."""
    for part in (LATE, 0.5):
        late: Bools = sampled >= steps[-1] - part * (steps[-1] - steps[0])
        if late.sum() >= FEWEST:
            break
    late[-1] = True
    return late


def _until(of: Series, stop: int | None) -> Series:
    """Finite values before ``stop``."""
    at = np.flatnonzero(of.present & np.isfinite(of.values) & (of.steps < (stop if stop is not None else np.inf)))
    return Series(of.signal, of.steps[at], of.values[at], of.present[at])
