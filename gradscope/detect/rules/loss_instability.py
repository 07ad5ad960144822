"""The loss is won and lost again: time after time it stands far above what was reached before.

## What it detects

The running median of the loss over five steps, against the lowest mean of five steps before it. The rule holds where, in the
given share of the steps, it is over a multiple of that best, and the rise is a good part of what the run began with: twice or
more, or for a fifth of the run. Losses of batches under 16 rows are averaged to that many first, so that single hard examples
do not count; in a run that learned well only the second half counts, and only what the differences of its batches cannot make:
sqrt(2 ln n) standard errors of the best mean and of the level, n the number of steps.

## Why it is bad

The updates undo what earlier ones achieved. The run ends wherever it is stopped, not where it would have converged.

Where the loss depends on parameters that are not watched (a generator's on its discriminator's), another training may have
raised it, and no record of this one can tell: then it is told as information. So is what the discriminator loses, where it has
a scope of its own. That is seen in the loss, which has to reach ``scope.step`` as a tensor with its graph, and in parameters
that are not frozen while the other network learns.

## Known false alarms

Data that change on purpose (a new task, a harder stage of a curriculum) raise the loss in the same way.

## What to do

- With momentum, lower it or the learning rate: the largest stable rate is 2 (1 + momentum) / sharpness.

## References

- Cohen et al. 2021: gradient descent at the edge of stability.
- Lewkowycz et al. 2020: the large learning rate phase, catapults.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import LEARNED, Case
from gradscope.detect.rule import Threshold, confidence
from gradscope.numbers import number
from gradscope.record.finding import Finding, Severity
from gradscope.signals.instability import excursions

CODE = "GS301"
NAME = "loss-instability"
SEVERITY = Severity.WARNING
AFTER = ()
EXAMPLE = "loss-instability"

FACTOR = Threshold(
    "factor", 3.0, "times the best level before", "batches of 16 rows or more leave a median of five well within a factor of 2"
)
RISE = Threshold(
    "rise",
    0.25,
    "of the first loss",
    "a converged run's loss is small and noisy; what it loses again there matters to nobody. Healthy runs of the zoo and of "
    "the tests spend 0 % of their steps above, sick ones 20 % and more",
)
SHARE = Threshold("share of steps", 0.05, "of the steps", "one in twenty, in two excursions or more")
LONG = Threshold("share of one excursion", 0.2, "of the steps", "a fifth of the run; a shorter one alone is a loss-spike")
FEWEST = Threshold("fewest", 3, "steps", "fewer are a spike")
THRESHOLDS = (FACTOR, RISE, SHARE, LONG, FEWEST, *LEARNED)
SHARED = ". It depends on parameters that are not watched, and whoever trains them may have raised it"


def check(case: Case) -> Iterator[Finding]:
    found = excursions(case.run, case.broken)
    beyond = found.beyond(FACTOR.value, RISE.value)
    if case.achieved:  # what was overcome in the first half did no harm, nor what batches alone make of a level
        beyond &= found.steps >= sum(case.steps) / 2
        far = np.flatnonzero(beyond)
        beyond[far] = found.level[far] - found.best[far] > found.chance(far)
    share = float(beyond.mean()) if len(beyond) else 0.0
    times = int(np.count_nonzero(np.diff(beyond.astype(int), prepend=0) == 1))
    threshold = SHARE.value if times > 1 else LONG.value
    if share < threshold or beyond.sum() < FEWEST.value:
        return
    at = np.flatnonzero(beyond)
    worst = int(at[found.level[at].argmax()])
    first, last = int(found.steps[at[0]]), int(found.steps[at[-1]])
    shared = case.run.manifest.shared_loss
    yield Finding(
        CODE,
        NAME,
        Severity.INFO if shared else SEVERITY,
        f"In {share:.0%} of the steps the loss stands far above what was reached before: {number(found.level[worst])} at step "
        f"{int(found.steps[worst])}, after {number(found.best[worst])}{SHARED if shared else ''}.",
        "unstable_share",
        share,
        threshold,
        confidence=confidence(share, threshold),
        steps=case.span(first, last),
    )
