"""The loss or a gradient became NaN or infinite.

## What it detects

The first step whose loss, or whose gradient (at a step that was taken), is not finite, and where it began: the first layer in
forward order whose output is not finite; where all are finite, the loss function; where the loss is finite too, the backward
pass, from the last layer whose back-propagated gradient is not finite.

## Why it is bad

One NaN in a gradient makes every weight NaN in the same step, and nothing that is computed afterwards means anything.
Optimizers do not recover: their moments are NaN as well.

## Known false alarms

None known. Steps that a gradient scaler skips because of infinite gradients are its normal work and do not count. A run
that stays finite after single bad steps is reported as a warning.

## What to do

- Where gradients explode or the learning rate is too high as well, cure that first: overflow is its end.
- Where it began in the loss function: use the fused, stable form (`cross_entropy` on logits, `logsumexp`,
  `binary_cross_entropy_with_logits`), and clamp what `exp`, `log`, `sqrt` and divisions take.
- Where it began at the first layer: look for NaN and outliers in the data.
- Where it began in the backward pass: look for `sqrt`, `norm` or a division at 0, whose value is finite and whose slope is not.

## References

- Goodfellow, Bengio & Courville 2016, section 4.1: overflow and underflow.
- Micikevicius et al. 2018: mixed precision training.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import Case
from gradscope.detect.rule import Threshold
from gradscope.record.finding import Finding, Severity
from gradscope.signals.events import series
from gradscope.signals.origin import origin

CODE = "GS103"
NAME = "non-finite"
SEVERITY = Severity.ERROR
AFTER = ("exploding-gradients",)
EXAMPLE = "non-finite"
FOR_GOOD = True

LARGEST = Threshold(
    "largest number", float(np.finfo(np.float32).max), "as the value", "IEEE 754: what lies beyond float32's range is infinite"
)
THRESHOLDS = (LARGEST,)


def check(case: Case) -> Iterator[Finding]:
    bad = case.events.nonfinite
    if not len(bad):
        return
    first, last = int(bad[0]), int(bad[-1])
    loss, total = series(case.run, "loss"), series(case.run, "total_norm")
    at = int(np.searchsorted(loss.steps, first))
    broken_loss = bool(loss.present[at] and not np.isfinite(loss.values[at]))
    value = float(loss.values[at] if broken_loss else total.values[at])
    found = origin(case.run, first, loss_is_finite=not broken_loss)
    what = "The loss" if broken_loss else "The gradient"
    lasting = case.broken is not None
    ending = "and nothing is finite from there on" if lasting else f"in {len(bad)} of {case.run.step_count} steps"
    cause, code = _cause(case, first)
    yield Finding(
        CODE,
        NAME,
        SEVERITY if lasting else Severity.WARNING,
        f"{what} is {'NaN' if np.isnan(value) else 'infinite'} at step {first}, {ending}. {found.words}",
        "loss" if broken_loss else "total_norm",
        value,
        LARGEST.value,
        layers=found.layers,
        steps=case.span(first, last),
        cause=cause,
        cause_code=code,
    )


def _cause(case: Case, first: int) -> tuple[str | None, str | None]:
    exploding = case.found.get("exploding-gradients", ())
    if exploding:
        return "exploding gradients: the first updates were sized by them", exploding[0].code
    if case.thrown is not None and case.thrown < first:
        return f"an update as large as the weights at step {case.thrown}: the learning rate is too high", "GS304"
    return None, None
