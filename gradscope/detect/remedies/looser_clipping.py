"""Clip only what stands out, at a learning rate that makes up for it.

A gradient that is cut in every step is a gradient of constant size: the learning rate that is set is not the one that trains.
The threshold goes to a norm that few steps reach, and the learning rate down by what clipping took, so that steps stay as
large as they were.

Source: Pascanu, Mikolov & Bengio 2013, section 3.2: the threshold from the run's average norm.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, rounded, setting
from gradscope.numbers import number
from gradscope.signals.events import series

ANSWERS = ("clipping-always-on",)
COST = 1
TORCH = """
# a norm that few steps reach, and a lower lr
nn.utils.clip_grad_norm_(model.parameters(), max_norm=10.0)
"""

ROOM = 2.0
"""Times the largest of nearly all norms of the run: gradients grow once they are not cut."""


def propose(case: Case) -> Iterator[Proposal]:
    limit, rate = setting(case, "training.clip_norm"), setting(case, "optimizer.lr")
    coefficient, total = series(case.run, "clip_coefficient").measured, series(case.run, "total_norm").measured.values
    first = min((finding.steps[0] for finding in case.found.get(ANSWERS[0], ())), default=0)  # what the finding speaks of
    cut, total = coefficient.values[coefficient.steps >= first], total[np.isfinite(total)]
    cut = cut[(cut > 0.0) & (cut < 1.0)]
    if limit is None or rate is None or not len(cut) or not len(total):
        return
    usual = float(np.median(cut))
    yield Proposal(
        "looser-clipping",
        {"training.clip_norm": rounded(ROOM * float(np.quantile(total, 0.95))), "optimizer.lr": rounded(rate * usual)},
        f"steps as large as now, when clipping leaves {number(usual, 2)} of the gradient",
    )
