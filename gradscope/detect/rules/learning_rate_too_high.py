"""Each update changes the weights by a good part of themselves, and the run does not learn.

## What it detects

The norm of the change of all matrices in one step, over the norm of the matrices after it (of a LeCun-drawn one where they are
smaller, so that a tiny initialisation does not look overthrown). So it goes to 1 where a step leaves nothing of what was there.
The rule holds where it is above the upper threshold in a run that has not learned, or above the lower one in a run whose loss
is unstable, or whose gradient was level at the first step and vanished after such an update.

## Why it is bad

The gradient is a local direction. A step as long as the weights leaves the region where it means anything: the loss jumps,
rectifiers die, tanh units saturate, or everything ends in NaN.

## Known false alarms

A convex model (one linear layer) learns with updates of any size, and is not reported when it has.

## References

- Karpathy, CS231n notes: the ratio of updates to weights.
- Cohen et al. 2021: gradient descent at the edge of stability.
- You, Gitman & Ginsburg 2017 (LARS): updates relative to weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import LEARNED, PATIENCE, THROWN, Case
from gradscope.detect.rule import Threshold, confidence
from gradscope.record.finding import Finding, Severity
from gradscope.signals.events import series

CODE = "GS304"
NAME = "learning-rate-too-high"
SEVERITY = Severity.ERROR
AFTER = ("exploding-gradients", "vanishing-gradients", "loss-instability", "non-finite")
EXAMPLE = "learning-rate-too-high"

UNSTABLE = Threshold(
    "update of an unstable run",
    0.1,
    "of the weights, a step",
    "a hundred times the usual 1e-3. Healthy runs of the zoo reach 0.16; together with an unstable loss none does",
)
THRESHOLDS = (THROWN, UNSTABLE, *LEARNED, PATIENCE)


def check(case: Case) -> Iterator[Finding]:
    update = series(case.run, "relative_update").measured
    until = case.broken if case.broken is not None else np.inf
    known = np.where(np.isnan(update.values) | (update.steps >= until), 0.0, update.values)
    if not known.size:
        return
    unstable = any(f.severity is not Severity.INFO for f in case.found.get("loss-instability", ()))
    hopeless = not case.achieved and (case.patient or case.broken is not None)
    vanished = any(f.cause_code == CODE for f in case.found.get("vanishing-gradients", ()))
    threshold = THROWN.value if hopeless and known.max() > THROWN.value else UNSTABLE.value
    if not known.max() > threshold or not (unstable or vanished or threshold == THROWN.value):
        return
    at = np.flatnonzero(known > threshold)
    worst = int(known.argmax())
    value = float(known[worst])
    exploding = case.found.get("exploding-gradients", ())
    ending = "the gradient vanished after it" if vanished else "the loss is unstable" if unstable else case.learned
    if case.broken is not None:
        ending = case.learned
    yield Finding(
        CODE,
        NAME,
        Severity.INFO if exploding else SEVERITY,
        f"The update of step {int(update.steps[worst])} is {value:.0%} of the weights after it, and {ending}.",
        "relative_update",
        value,
        threshold,
        confidence=confidence(value, threshold),
        steps=case.span(int(update.steps[at[0]]), int(update.steps[at[-1]])),
        cause="exploding gradients size the first updates" if exploding else None,
        cause_code=exploding[0].code if exploding else None,
    )
