"""One number for a whole run, by name: what a table of many runs has as its columns.

A name alone is the value at the end: of a column of ``steps`` its last value, of a profile over depth that of the last step at
which all layers are finite. ``initial_`` before it is the value at the first step. None is what was not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

import numpy as np

from gradscope.record.grid import Floats
from gradscope.record.run import Run
from gradscope.record.schema import STEPS
from gradscope.signals.achievement import achievement
from gradscope.signals.events import broke_at, series
from gradscope.signals.motion import motion
from gradscope.signals.profiles import Profile
from gradscope.signals.ratios import (
    backward_gain,
    backward_ratio,
    forward_gain,
    forward_ratio,
    geometric_mean,
    hidden_backward_ratio,
    sensitivity,
    update_ratio,
)
from gradscope.signals.through_time import time_ratio

Scalar = Callable[[Run], float | None]

INITIAL = "initial_"
RATIOS: Mapping[str, Callable[[Run], Profile]] = {
    "backward_ratio": backward_ratio,
    "hidden_backward_ratio": hidden_backward_ratio,
    "forward_ratio": forward_ratio,
    "sensitivity": sensitivity,
}
"""Profiles of which the first station's value counts: it stands against the last one's."""
GAINS: Mapping[str, Callable[[Run], Profile]] = {
    "backward_gain": backward_gain,
    "forward_gain": forward_gain,
    "update_ratio": update_ratio,
}
"""Profiles of which the geometric mean over the layers counts: a typical layer's."""


@cache
def scalars() -> Mapping[str, Scalar]:
    """Every number by name, those of the loss first."""
    return dict(_all())


def measured(run: Run) -> dict[str, float | None]:
    """Every number of a run, by name."""
    return {name: scalar(run) for name, scalar in scalars().items()}


def _all() -> Iterator[tuple[str, Scalar]]:
    for column in STEPS.column_names:
        yield column, partial(_end, column=column, at=-1)
        yield INITIAL + column, partial(_end, column=column, at=0)
    yield "lowest_loss", lowest_loss
    yield "residual", residual
    yield "broke_at", broke
    yield "straightness", straightness
    for name, of in RATIOS.items():
        yield name, partial(_first, of=of, last=True)
        yield INITIAL + name, partial(_first, of=of, last=False)
    for name, of in GAINS.items():
        yield name, partial(_mean, of=of, last=True)
        yield INITIAL + name, partial(_mean, of=of, last=False)
    for start, row in (("", -1), (INITIAL, 0)):
        yield start + "time_ratio", partial(_over_time, row=row)
        yield start + "time_gain", partial(_gain_over_time, row=row)


def lowest_loss(run: Run) -> float | None:
    """The smallest finite loss of all steps."""
    values = series(run, "loss").measured.values
    finite = values[np.isfinite(values)]
    return float(finite.min()) if finite.size else None


def residual(run: Run) -> float:
    """The share of the mean-only residual that is left at the end; its square is 1 - R^2."""
    return achievement(run, broke_at(run)).residual


def broke(run: Run) -> float | None:
    """The step from which on the loss was never finite again; None where there is none."""
    step = broke_at(run)
    return None if step is None else float(step)


def straightness(run: Run) -> float | None:
    """The way of the weights over the length of their path: 1 on a line, 1/sqrt(steps) for a random walk."""
    found = motion(run, broke_at(run))
    return None if found is None else found.straightness


def through_time(run: Run, row: int) -> tuple[float, int] | None:
    """Of the first recurrent layer, at one of the recorded steps: the share of the last time step's gradient that reaches the
    first one, and how many time steps lie between them.
    """
    for profile in time_ratio(run):
        at = np.flatnonzero(profile.present[row])
        if len(at) > 1:
            return float(profile.values[row, at[0]]), int(profile.times[at[-1]] - profile.times[at[0]])
    return None


def _over_time(run: Run, row: int) -> float | None:
    found = through_time(run, row)
    return found[0] if found else None


def _gain_over_time(run: Run, row: int) -> float | None:
    """The factor of the gradient per time step, going back."""
    found = through_time(run, row)
    return float(found[0] ** (1.0 / found[1])) if found else None


def _end(run: Run, column: str, at: int) -> float | None:
    values = series(run, column).measured.values
    return float(values[at]) if values.size else None


def _first(run: Run, of: Callable[[Run], Profile], last: bool) -> float | None:
    values = _row(of(run), last=last)
    return float(values[0]) if values.size else None


def _mean(run: Run, of: Callable[[Run], Profile], last: bool) -> float | None:
    return geometric_mean(_row(of(run), last=last))


def _row(profile: Profile, *, last: bool) -> Floats:
    """The layers' values that are present, (k,), at the first step that has any, or at the last one that is all finite."""
    shown = profile.measured
    if shown.empty:
        return np.empty(0)
    row = shown.last_finite_row if last else 0
    values: Floats = shown.values[row][shown.present[row]]
    return values
