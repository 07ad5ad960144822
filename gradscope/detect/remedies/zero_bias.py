"""Start the biases at 0.

A bias far below 0 keeps every rectifier shut for every input, and one far from 0 drives a two-sided activation to an end;
neither has a slope there that could bring it back.

Source: He et al. 2015; Lu, Shin, Su & Karniadakis 2020, on rectifiers that are born dead.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, setting

ANSWERS = ("dead-units", "saturated-activations")
COST = 1
TORCH = """
nn.init.zeros_(layer.bias)  # of each layer
"""


def propose(case: Case) -> Iterator[Proposal]:
    now = setting(case, "model.init.bias")
    if now:
        yield Proposal("zero-bias", {"model.init.bias": 0.0}, "half of the units are then open at the start")
