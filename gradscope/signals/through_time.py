"""The gradient through time: how much of the gradient at the last time step reaches each earlier one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.record.grid import Bools, Floats, Grid, Ints
from gradscope.record.run import Run
from gradscope.signals.ratios import divide

FEWEST_STEPS = 4
"""Calls of a module within one forward pass from which it counts as a loop over time."""


@dataclass(frozen=True, eq=False)
class TimeProfile:
    """One layer's backward norms over time: ``steps`` (S,), ``times`` (T,), ``values`` and ``present`` (S, T), relative to
    the last time step that a step has.
    """

    layer: str
    steps: Ints
    times: Ints
    values: Floats
    present: Bools


def time_ratio(run: Run) -> tuple[TimeProfile, ...]:
    """||dL_T/dh_t|| / ||dL_T/dh_T|| of each recurrent layer (Pascanu et al. 2013, eq. 5), in forward order.

    From the table ``timesteps``; for a loop written by hand, whose cell is called once a time step, from the calls. There the
    gradient is that of all time steps that have a loss. Where the loop's recurrent weight is in the table already, the other
    modules that the loop calls, as often or once more, would only say the same again.
    """
    replayed = run.grid("timesteps", "backward_norm")
    names = tuple(dict.fromkeys(replayed.names))
    found = [_profile(name, replayed) for name in names]
    calls = run.grid("layers", "backward_norm")
    counted: dict[str, int] = {}
    for name, call in calls.entities:
        counted[name] = max(counted.get(name, 0), call + 1)
    lengths = {len(profile.times) + more for profile in found for more in (0, 1)}
    found += [
        _profile(name, calls) for name, n in counted.items() if n >= FEWEST_STEPS and n not in lengths and name not in names
    ]
    return tuple(profile for profile in found if len(profile.steps))


def reads_every_step(run: Run, layer: str) -> bool:
    """Whether the loss reaches the time steps directly, not through the last one alone.

    The gradient at a recurrent module's whole output is that of its last time step, unless more of them are read; then it is
    larger by about the root of their number.
    """
    whole, states = run.grid("layers", "backward_norm"), run.grid("timesteps", "backward_norm")
    if (layer, 0) not in whole.entities or layer not in states.names:
        return False
    output = whole.only([(layer, 0)])
    last = states.only([max(e for e in states.entities if e[0] == layer)])
    _, a, b = np.intersect1d(output.steps, last.steps, return_indices=True)
    above, below = output.values[a, 0], last.values[b, 0]
    there = output.present[a, 0] & last.present[b, 0] & np.isfinite(above) & np.isfinite(below) & (below > 0.0)
    return bool(there.any() and np.median(above[there] / below[there]) > 1.5)


def _profile(name: str, grid: Grid) -> TimeProfile:
    at = sorted((t, i) for i, (entity, t) in enumerate(grid.entities) if entity == name)
    columns = [i for _, i in at]
    values, present = grid.values[:, columns], grid.present[:, columns]
    rows = np.flatnonzero(present.any(axis=1))
    values, present = values[rows], present[rows]
    last = values.shape[1] - 1 - present[:, ::-1].argmax(axis=1)
    below = np.broadcast_to(values[np.arange(len(rows)), last][:, None], values.shape)
    ratio, there = divide(values, below, present)
    return TimeProfile(name, grid.steps[rows], np.array([t for t, _ in at], np.int64), ratio, there)
