"""Start the biases at 0.

A bias far below 0 keeps every rectifier shut for every input, and one far from 0 drives a two-sided activation to an end;
neither has a slope there that could bring it back.

Source: He et al. 2015; Lu, Shin, Su & Karniadakis 2020, on rectifiers that are born dead.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, Value, setting

ANSWERS = ("dead-units", "saturated-activations")
COST = 1
TORCH = """
nn.init.zeros_(layer.bias)  # of each layer
"""


def propose(case: Case) -> Iterator[Proposal]:
    layers = setting(case, "model.init.layers") or {}
    changes: dict[str, Value] = {"model.init.bias": 0.0} if setting(case, "model.init.bias") else {}
    if any(own.get("bias") for own in layers.values()):
        changes["model.init.layers"] = {
            name: {key: value for key, value in own.items() if value is not None and key != "bias"}
            for name, own in layers.items()
        }
    if changes:
        yield Proposal("zero-bias", changes, "half of the units are then open at the start")
