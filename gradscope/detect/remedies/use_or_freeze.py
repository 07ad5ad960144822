"""Call the layer in forward, or freeze it on purpose.

A parameter that no loss depends on is trained by nothing. It is either forgotten in forward, detached from the graph, or
meant to stand still, and then says so.

Source: torch.autograd, notes on requires_grad.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal

ANSWERS = ("missing-gradient",)
COST = 0
TORCH = """
parameter.requires_grad_(False)  # where it is meant
"""


def propose(case: Case) -> Iterator[Proposal]:
    yield from ()
