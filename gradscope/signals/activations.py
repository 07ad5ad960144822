"""Shares of dead units and of saturated entries, by activation, and which activations everything has to pass."""

from __future__ import annotations

import numpy as np

from gradscope.record.run import Run
from gradscope.signals.profiles import Profile, layer_profile


def dead_share(run: Run) -> Profile:
    """Share of the units of each one-sided activation that passed nothing on for any row of the batch."""
    return layer_profile(run, "dead_share", [i.name for i in run.catalogue.layers if i.activation == "one-sided"])


def dead_from_start(run: Run, layers: tuple[str, ...], share: float = 0.9) -> tuple[str, ...]:
    """Those of the layers that were dead in the first recorded step already."""
    first = dead_share(run).measured
    if not len(first.steps):
        return ()
    dead = first.present[0] & (np.where(first.present[0], first.values[0], 0.0) >= share)
    return tuple(name for name, is_dead in zip(first.layers, dead, strict=True) if is_dead and name in layers)


def saturated_share(run: Run) -> Profile:
    """Share of the entries of each two-sided activation where its slope is under 5 % of its largest."""
    return layer_profile(run, "saturated_share", [i.name for i in run.catalogue.layers if i.activation == "two-sided"])


def on_main_path(run: Run) -> frozenset[str]:
    """The activations that no path avoids: those that follow a matrix of the trunk, not one inside a branch or a gate."""
    matrices = _owners_of_matrices(run)
    found, trunk = set(), False
    for info in run.catalogue.layers:
        if info.trunk or info.name in matrices:
            trunk = info.trunk
        if info.activation is not None and trunk:
            found.add(info.name)
    return frozenset(found)


def at_output(run: Run) -> frozenset[str]:
    """The activations after the last matrix: a sigmoid there is flat where the run is sure of its answer."""
    matrices = _owners_of_matrices(run)
    last = max((i.order for i in run.catalogue.layers if i.name in matrices), default=-1)
    return frozenset(i.name for i in run.catalogue.layers if i.activation is not None and i.order > last)


def batch_rows(run: Run) -> int | None:
    """Rows of the batch of a step, as far as statistics were taken on them; None where no layer was recorded."""
    grid = run.grid("layers", "rows")
    known = grid.values[grid.present]
    return int(np.nanmax(known)) if known.size else None


def _owners_of_matrices(run: Run) -> frozenset[str]:
    return frozenset(p.layer for p in run.catalogue.parameters if p.is_matrix)
