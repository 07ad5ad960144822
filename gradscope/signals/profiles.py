"""Profiles: one signal over depth and time, as a dense array steps x layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradscope.record.grid import Bools, Floats, Grid, Ints
from gradscope.record.manifest import LayerInfo
from gradscope.record.run import Run
from gradscope.signals.states import State, States, states


@dataclass(frozen=True, eq=False)
class Profile:
    """One signal along layers: ``steps`` (S,), ``layers`` (L,) in forward order, ``values`` and ``present`` (S, L).

    Where not present the value is NaN and means nothing; a NaN that is present was measured, or is what a measured NaN
    or infinity gives. ``reference`` is the layer that the values are relative to, where there is one.
    """

    signal: str
    steps: Ints
    layers: tuple[str, ...]
    values: Floats
    present: Bools
    reference: str | None = None

    @property
    def empty(self) -> bool:
        return not self.present.any()

    @property
    def states(self) -> States:
        """What each value is (S, L): finite, exactly zero, infinite, NaN, absent."""
        return states(self.values, self.present)

    @property
    def measured(self) -> Profile:
        """The same without the steps at which no layer has a value: the steps that sampled this signal."""
        rows = np.flatnonzero(self.present.any(axis=1))
        return Profile(self.signal, self.steps[rows], self.layers, self.values[rows], self.present[rows], self.reference)

    @property
    def last_finite_row(self) -> int:
        """The last row at which no layer is infinite or NaN; the first row if there is none. For a profile with a row."""
        whole = np.flatnonzero(~(self.states >= State.INF).any(axis=1))
        return int(whole[-1]) if whole.size else 0


def trunk(run: Run) -> tuple[LayerInfo, ...]:
    """The stations that every path from input to loss passes, in forward order."""
    return tuple(layer for layer in run.catalogue.layers if layer.trunk)


def depth_profile(run: Run, column: str = "backward_norm", *, call: int | None = None) -> Profile:
    """A column of the table ``layers`` along the trunk.

    With ``backward_norm`` this is the back-propagated gradient by depth (Frobenius over the batch), with ``forward_norm``
    the signal. Rows are all steps of the table, so that profiles of one run can be divided row by row. Raises ``KeyError``
    for a column that the table does not have.
    """
    return layer_profile(run, column, [layer.name for layer in trunk(run)], call=call)


def layer_profile(run: Run, column: str, names: Sequence[str], *, call: int | None = None) -> Profile:
    """A column of the table ``layers`` at these layers, at one call within the forward pass, by default each step's last:
    of a cell that is called once a time step that is the one nearest to the loss. Nothing is read for no layer.
    """
    if not names:
        return Profile(column, np.empty(0, np.int64), (), np.empty((0, 0)), np.empty((0, 0), bool))
    grid = run.grid("layers", column)
    if call is None:
        return _last_calls(grid, names)
    grid = grid.only((name, call) for name in names)
    return Profile(column, grid.steps, grid.names, grid.values, grid.present)


def _last_calls(grid: Grid, names: Sequence[str]) -> Profile:
    calls: dict[str, list[int]] = {}
    for i, (name, _) in enumerate(grid.entities):
        calls.setdefault(name, []).append(i)
    layers = tuple(name for name in names if name in calls)
    if all(len(calls[name]) == 1 for name in layers):
        alone = grid.only((name, 0) for name in layers)
        return Profile(grid.column, grid.steps, alone.names, alone.values, alone.present)
    values, present = np.full((len(grid.steps), len(layers)), np.nan), np.zeros((len(grid.steps), len(layers)), bool)
    for j, name in enumerate(layers):
        for i in calls[name]:  # ascending: a later call takes the place of an earlier one
            values[:, j] = np.where(grid.present[:, i], grid.values[:, i], values[:, j])
            present[:, j] |= grid.present[:, i]
    return Profile(grid.column, grid.steps, layers, values, present)


def parameter_profile(run: Run, column: str = "grad_norm", *, matrices: bool = True) -> Profile:
    """A norm of the table ``parameters`` by layer: the L2 norm over all parameters that the layer owns.

    ``matrices`` leaves out vectors (biases, the scales of norm layers). Absent only where none of them has a value.
    """
    owners = {p.name: p.layer for p in run.catalogue.parameters if p.is_matrix or not matrices}
    grid = run.grid("parameters", column)
    return by_owner(grid.only(e for e in grid.entities if e[0] in owners), owners, column)


def by_owner(grid: Grid, owners: dict[str, str], signal: str) -> Profile:
    """Columns of one owner as one: their L2 norm. ``np.hypot`` neither over- nor underflows, but lets infinity win over NaN."""
    layers = tuple(dict.fromkeys(owners[name] for name in grid.names))
    if not layers:
        return Profile(signal, grid.steps, (), np.empty((len(grid.steps), 0)), np.empty((len(grid.steps), 0), bool))
    place = {layer: i for i, layer in enumerate(layers)}
    at = np.array([place[owners[name]] for name in grid.names])
    order = np.argsort(at, kind="stable")
    starts = np.searchsorted(at[order], np.arange(len(layers)))
    known = np.where(grid.present, grid.values, 0.0)[:, order]
    values = np.hypot.reduceat(known, starts, axis=1)
    values[np.logical_or.reduceat(np.isnan(known), starts, axis=1)] = np.nan
    present = np.logical_or.reduceat(grid.present[:, order], starts, axis=1)
    return Profile(signal, grid.steps, layers, np.where(present, values, np.nan), present)
