"""Raise the learning rate.

A step is to move the weights by some thousandths of themselves. Where successive gradients agree and the weights follow by a
hundred thousandth a step, nothing but the step's size is in the way. The number is derived from the run: the first step's
displacement is proportional to the learning rate.

Source: Karpathy, CS231n notes: updates of about 1e-3 of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedies.learning_rate_down import LEAST, first_move, percent
from gradscope.detect.remedy import Proposal, rounded, setting

ANSWERS = ("slow-learning",)
COST = 1
TORCH = """
optimizer = torch.optim.SGD(model.parameters(), lr=lr * 30)
"""

TARGETS = (5e-3, 2e-2, 1e-3)
"""Shares of the weights that a first step should move: runs of the zoo that learn begin between 1e-3 and 2e-2."""


def propose(case: Case) -> Iterator[Proposal]:
    rate, moved = setting(case, "optimizer.lr"), first_move(case)
    if rate is None or moved is None:
        return
    for target in TARGETS:
        if moved * LEAST < target:
            told = f"the first step then moves the weights by {percent(target)} of themselves, in place of {percent(moved)}"
            yield Proposal("learning-rate-up", {"optimizer.lr": rounded(rate * target / moved)}, told)
