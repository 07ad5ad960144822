"""Clip the gradient's norm.

One batch can then no longer throw the weights. For spikes, and for gradients that grow through time. No cure for a profile:
all layers' gradients are multiplied by the same number, and their ratio stays what it was.

Source: Pascanu, Mikolov & Bengio 2013, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, Value, rounded, setting
from gradscope.signals.events import series

ANSWERS = ("loss-spike", "exploding-gradients/time", "loss-instability", "non-finite")
COST = 1
TORCH = """
# between loss.backward() and optimizer.step()
nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
"""


def propose(case: Case) -> Iterator[Proposal]:
    if setting(case, "training") is None or setting(case, "training.clip_norm") is not None:
        return
    total = case_norms(case)
    if total is None:
        return
    changes: dict[str, Value] = {"training.clip_norm": rounded(total)}
    if setting(case, "training.clip_value") is not None:
        changes["training.clip_value"] = None
    told = "the median norm of the run while it was sound; it keeps a spike from the weights, and changes no profile"
    yield Proposal("clip-norm", changes, told)


def case_norms(case: Case) -> float | None:
    """The median norm of the gradient before the run broke or was thrown; of its first step where that was at once."""
    total = series(case.run, "total_norm").measured
    ends = [step for step in (case.broken, case.thrown) if step is not None]
    sound = np.isfinite(total.values) & (total.values > 0.0) & (total.steps <= (min(ends) if ends else np.inf))
    return float(np.median(total.values[sound])) if sound.any() else None
