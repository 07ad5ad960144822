"""Lower the learning rate.

A step is to move the weights by a hundredth of themselves or less. Updates of a fifth of the weights and more turn over what
the initialisation gave within a few steps. The number is derived from the run: the first step's displacement is proportional
to the learning rate. No cure for a profile: the ratio of the gradients between layers does not change by it.

Source: Karpathy, CS231n notes: updates of about 1e-3 of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, rounded, setting
from gradscope.numbers import number
from gradscope.signals.events import series

ANSWERS = ("learning-rate-too-high", "loss-instability", "non-finite", "dead-units", "loss-spike")
COST = 1
TORCH = """
optimizer = torch.optim.SGD(model.parameters(), lr=lr / 10)
"""

TARGETS = (1e-2, 5e-2, 2e-3)
"""Shares of the weights that a first step may move: runs that learn begin between 1e-3 and 5e-2."""
LEAST = 1.5
"""Factor below which a change of the learning rate is not worth a trial."""


def propose(case: Case) -> Iterator[Proposal]:
    rate, moved = setting(case, "optimizer.lr"), first_move(case)
    if rate is None:
        return
    if moved is None:
        yield Proposal("learning-rate-down", {"optimizer.lr": rounded(rate / 10)}, "a tenth of what it is")
        return
    for target in TARGETS:
        if moved > LEAST * target:
            told = f"the first step then moves the weights by {percent(target)} of themselves, in place of {percent(moved)}"
            yield Proposal("learning-rate-down", {"optimizer.lr": rounded(rate * target / moved)}, told)


def percent(share: float) -> str:
    """0.00067%, 1.5%, 285%."""
    return f"{number(100.0 * share, 2)}%" if share < 1.0 else f"{share:,.0%}"


def first_move(case: Case) -> float | None:
    """The norm of the first step's change of all parameters over their norm before; None where it was not recorded."""
    moved = series(case.run, "displacement").measured
    known = np.flatnonzero(np.isfinite(moved.values) & (moved.values > 0.0))
    return float(moved.values[known[0]]) if len(known) else None
