"""Let the learning rate rise over the first steps.

The first gradients are the largest, and Adam's first updates are all of full size, whatever the gradient. A rise over the
first tenth of the training keeps early steps small; a learning rate that is too high throughout stays so.

Source: Goyal et al. 2017; Xiong et al. 2020, for transformers that normalise after the sum.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, setting
from gradscope.numbers import number

ANSWERS = ("learning-rate-too-high", "loss-instability", "loss-spike", "dead-units")
COST = 1
TORCH = """
warmup = torch.optim.lr_scheduler.LinearLR(
    optimizer, start_factor=0.01, total_iters=100
)
warmup.step()  # after each optimizer.step()
"""


def propose(case: Case) -> Iterator[Proposal]:
    steps = setting(case, "training.steps")
    if steps is None or steps < 20 or setting(case, "schedule.warmup_steps"):
        return
    over = max(10, steps // 10)
    yield Proposal("warm-up", {"schedule.warmup_steps": over}, f"the first step is {number(1 / over, 2)} of what it is now")
