"""Look at the layer's parameter group and its learning rate.

A layer that stands still while others learn may have been given a learning rate of 0, or was never given to the optimizer.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal

ANSWERS = ("stalled-layers",)
COST = 0
TORCH = """
print([g["lr"] for g in optimizer.param_groups])
"""


def propose(case: Case) -> Iterator[Proposal]:
    yield from ()
