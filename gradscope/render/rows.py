"""The numbers behind a figure, one row each: what ``--data`` writes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gradscope.record.run import Run
from gradscope.render.words import plain
from gradscope.signals.events import Series
from gradscope.signals.profiles import Profile
from gradscope.signals.states import State, states
from gradscope.signals.through_time import TimeProfile


class Row(NamedTuple):
    """One number. ``state`` is finite, zero, underflow, inf or nan; ``layer`` is empty for a number of the whole step,
    ``timestep`` for one that belongs to no time step of a recurrent layer.
    """

    run: str
    signal: str
    step: int
    layer: str
    value: float
    state: str
    timestep: int | str = ""


def labels(runs: Sequence[Run]) -> list[str]:
    """A name for each run that no other has: its own, else its folder's, else with a number behind it."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [run.path.name if run.path else run.name for run in runs]
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def left_out(names: Sequence[str], drawn: Collection[int]) -> str:
    """A sentence on those of several runs that a figure has nothing to draw of; empty where there are none."""
    gone = [plain(name, 40) for i, name in enumerate(names) if i not in drawn]
    if not gone:
        return ""
    return f" Of {' and '.join([', '.join(gone[:-1]), gone[-1]] if len(gone) > 1 else gone)} there is nothing to draw."


def of_profile(run: str, profile: Profile) -> Iterator[Row]:
    """Every value that was recorded, by step and layer; what is absent has no row."""
    found = profile.states
    for row, column in zip(*np.nonzero(profile.present), strict=True):
        step, layer, value = int(profile.steps[row]), profile.layers[column], float(profile.values[row, column])
        yield Row(run, profile.signal, step, layer, value, _state(found[row, column]))


def of_time(run: str, signal: str, profile: TimeProfile) -> Iterator[Row]:
    """Every ratio of a recurrent layer, by step and time step."""
    found = states(profile.values, profile.present)
    for row, column in zip(*np.nonzero(profile.present), strict=True):
        value, state = float(profile.values[row, column]), _state(found[row, column])
        yield Row(run, signal, int(profile.steps[row]), profile.layer, value, state, int(profile.times[column]))


def of_series(run: str, series: Series) -> Iterator[Row]:
    found = series.states
    for at in np.flatnonzero(series.present):
        yield Row(run, series.signal, int(series.steps[at]), "", float(series.values[at]), _state(found[at]))


def _state(value: np.uint8) -> str:
    return State(int(value)).name.lower()
