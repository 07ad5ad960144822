"""The gradient is clipped in nearly every step: the learning rate that is set is not the one that acts.

## What it detects

The share of steps, after the first quarter of the run, in which the gradient's norm was cut before the update. Where the
median cut is to a tenth or less, in a run that has not learned, it is a warning.

## Why it is bad

Clipping is meant for single cliffs. Always on, it makes every step the same length whatever the gradient, so that the run
neither slows down near a minimum nor reacts to the schedule as expected. Hard clipping under plain gradient descent is a
learning rate divided by the coefficient.

## Known false alarms

Always-on clipping is common practice in language models, with optimizers to which the gradient's length does not matter; it is
reported as information.

## References

- Pascanu, Mikolov & Bengio 2013: clipping the norm.
- Zhang, He, Sra & Jadbabaie 2020: why gradient clipping accelerates training.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import LEARNED, Case
from gradscope.detect.rule import Threshold
from gradscope.numbers import number
from gradscope.record.finding import Finding, Severity
from gradscope.signals.events import series

CODE = "GS305"
NAME = "clipping-always-on"
SEVERITY = Severity.INFO
AFTER = ()
EXAMPLE = "clipping-always-on"

SHARE = Threshold("share of steps", 0.95, "of the recorded steps", "nearly all: an occasional quiet step does not change it")
COEFFICIENT = Threshold(
    "coefficient", 0.1, "clipped over raw norm", "a tenth of the learning rate that is set, the usual step of a search"
)
FEWEST = Threshold("fewest", 16, "recorded steps", "below that a share of 95 % means nothing")
THRESHOLDS = (SHARE, COEFFICIENT, FEWEST, *LEARNED)


def check(case: Case) -> Iterator[Finding]:
    total, cut = series(case.run, "total_norm"), series(case.run, "clip_coefficient")
    first, last = case.steps
    read = total.present & np.isfinite(total.values) & (total.steps >= first + 0.25 * (last - first))
    coefficients = np.where(cut.present, cut.values, 1.0)
    clipped = read & (coefficients < 1.0) & (coefficients > 0.0)  # what is exactly 0 was cleared, not clipped
    if read.sum() < FEWEST.value or clipped.sum() < SHARE.value * read.sum():
        return
    share, coefficient = float(clipped.sum() / read.sum()), float(np.median(cut.values[clipped]))
    strong = coefficient < COEFFICIENT.value and not case.achieved
    at = total.steps[clipped]
    signal, value, threshold = ("clip_coefficient", coefficient, COEFFICIENT) if strong else ("clipped_share", share, SHARE)
    yield Finding(
        CODE,
        NAME,
        Severity.WARNING if strong else SEVERITY,
        f"The gradient was clipped in {share:.0%} of the steps, to {number(coefficient, 2)} of its norm in the median: that is "
        "what the learning rate is multiplied by.",
        signal,
        value,
        threshold.value,
        confidence=share,
        steps=case.span(int(at[0]), int(at[-1])),
    )
