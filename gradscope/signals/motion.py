"""How far and how straight the weights moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.record.run import Run
from gradscope.signals.events import Series, series


@dataclass(frozen=True)
class Motion:
    """Up to ``step``, the last at which weights were read.

    ``displacement`` is the way of the trainable parameters from where they began over their norm there; ``straightness``
    that way over the length of the path: 1 on a line, 1/sqrt(steps) for a random walk.
    """

    step: int
    displacement: float
    straightness: float


def motion(run: Run, stop: int | None = None) -> Motion | None:
    """None where no weights were read. The updates of steps that were not read are interpolated between those that were."""
    moved, update = _finite(series(run, "displacement_norm"), stop), _finite(series(run, "update_norm"), stop)
    start = _trainable_norm(run)
    if not len(moved.steps) or not len(update.steps) or not start > 0.0:
        return None
    last = int(moved.steps[-1])
    path = float(np.interp(np.arange(int(update.steps[0]), last + 1), update.steps, update.values).sum())
    way = float(moved.values[-1])
    return Motion(last, way / start, way / path if path > 0.0 else float("nan"))


def won(run: Run, displacement: float, stop: int | None = None) -> float:
    """The share of the loss that moving the weights by ``displacement`` along the gradient wins, to first order.

    |g| |w| displacement / |loss|, with |g| the part of the gradient that successive batches agree on: where each is the mean
    gradient plus noise of its own, their cosine is the mean's share of the square. NaN where that was not recorded.
    """
    cosine, norm, loss = (_finite(series(run, column), stop).values for column in ("grad_cosine", "total_norm", "loss"))
    if not len(cosine) or not len(norm) or not len(loss):
        return float("nan")
    steady = np.sqrt(max(float(np.median(cosine)), 0.0)) * float(np.median(norm))
    level = abs(float(np.median(loss)))
    return steady * _trainable_norm(run) * displacement / level if level > 0.0 else float("nan")


def warming_up(run: Run) -> bool:
    """Whether the learning rate was still rising at the end."""
    rate = series(run, "lr").measured.values
    if len(rate) < 5:
        return False
    before = rate[int(0.8 * len(rate))]
    return bool(rate[-1] >= rate.max() and rate[-1] > 1.05 * before)


def _trainable_norm(run: Run) -> float:
    """L2 norm of all trainable parameters where they were first read."""
    weights, frozen = run.grid("parameters", "weight_norm"), run.grid("parameters", "frozen")
    fixed = {p.name for p in run.catalogue.parameters if not p.trainable}
    for row in range(len(weights.steps)):
        there = weights.present[row] & np.isfinite(weights.values[row])
        if there.any():
            still = frozen.present[row] & (frozen.values[row] == 1.0) if frozen.values.size else np.zeros(len(there), bool)
            mine = there & ~still & np.array([name not in fixed for name in weights.names])
            return float(np.linalg.norm(weights.values[row][mine]))
    return float("nan")


def _finite(of: Series, stop: int | None) -> Series:
    at = np.flatnonzero(of.present & np.isfinite(of.values) & (of.steps < (np.inf if stop is None else stop)))
    return Series(of.signal, of.steps[at], of.values[at], of.present[at])
