"""Compute in a format that small gradients fit into, or scale the loss.

float16 holds nothing below 6e-8. bfloat16 has the range of float32; a gradient scaler multiplies the loss, so that gradients
rise into the range of float16, and divides them again before the step.

Source: Micikevicius et al. 2018; torch.amp.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, setting

ANSWERS = ("gradient-underflow", "non-finite")
COST = 1
TORCH = """
torch.autocast(device, dtype=torch.bfloat16)  # or a scaler:
scaler = torch.amp.GradScaler()  # watch(..., scaler=scaler)
scaler.scale(loss).backward()
scaler.step(optimizer)
scaler.update()
"""


def propose(case: Case) -> Iterator[Proposal]:
    if setting(case, "training.precision") == "float16":
        yield Proposal(
            "wider-numbers", {"training.precision": "bfloat16"}, "the smallest number is then 1e-38 in place of 6e-8"
        )
