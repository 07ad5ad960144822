"""The loss jumped far above what it was just before, for more than a single batch.

## What it detects

Steps whose loss is more than six robust deviations above the median of the fifty before them (of its logarithm, so that scale
and trend do not matter), where the running median of five steps rose as well, by a good part of what the run began with.
Where the loss is unstable altogether, `loss-instability` says so, and this rule keeps silent.

## Why it is bad

A spike throws away what was learned, sometimes for thousands of steps, sometimes for good. It is worth knowing which batch
or which update brought it about.

## Known false alarms

Data that change on purpose. A spike that the run has overcome is reported as information, and so is one that another training
may have brought about, as in `loss-instability`.

## What to do

- Skip steps whose gradient is an outlier. With Adam, a smaller beta2 forgets old second moments sooner.

## References

- Chowdhery et al. 2022 (PaLM), section 5.1: loss spikes, and skipping batches.
- Molybog et al. 2023: a theory on Adam instability.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import Case
from gradscope.detect.rule import Threshold, confidence
from gradscope.detect.rules.loss_instability import SHARED
from gradscope.numbers import number
from gradscope.record.finding import Finding, Severity
from gradscope.record.grid import Ints
from gradscope.signals.events import SPIKE_SCORE, series, spike_scores
from gradscope.signals.instability import excursions

CODE = "GS302"
NAME = "loss-spike"
SEVERITY = Severity.WARNING
AFTER = ("loss-instability", "non-finite")
EXAMPLE = "loss-spike"

SCORE = Threshold(
    "score",
    SPIKE_SCORE,
    "robust deviations of the log loss",
    "OLMo-core skips steps beyond six standard deviations; four healthy runs, one of them with batches of 8, have none there",
)
FACTOR = Threshold(
    "factor", 2.0, "times the best level before", "with its running median doubled, the loss rose, not one batch"
)
RISE = Threshold("rise", 0.25, "of the first loss", "as in loss-instability: a rise that matters on the scale of this run")
THRESHOLDS = (SCORE, FACTOR, RISE)


def check(case: Case) -> Iterator[Finding]:
    if case.found.get("loss-instability"):
        return
    loss = series(case.run, "loss")
    scores = spike_scores(loss)
    jumps = np.flatnonzero(np.isfinite(scores) & (np.nan_to_num(scores) > SCORE.value))
    if case.broken is not None:
        jumps = jumps[loss.steps[jumps] < case.broken]
    found = excursions(case.run, case.broken)
    beyond = found.beyond(FACTOR.value, RISE.value)
    lasting = [i for i in jumps if _follows(found.steps[beyond], int(loss.steps[i]), 5 * found.stride)]
    if not lasting:
        return
    worst = max(lasting, key=lambda i: scores[i])
    recovered, shared = not beyond[-5:].any(), case.run.manifest.shared_loss
    before = float(np.median(loss.values[max(0, worst - 50) : worst]))
    yield Finding(
        CODE,
        NAME,
        Severity.INFO if recovered or shared else SEVERITY,
        f"The loss jumped from about {number(before)} to {number(loss.values[worst])} at step {int(loss.steps[worst])}"
        + (f", one of {len(lasting)} spikes" if len(lasting) > 1 else "")
        + (", and came back" if recovered else ", and has not come back")
        + (f"{SHARED}." if shared else "."),
        "spike_score",
        float(scores[worst]),
        SCORE.value,
        confidence=confidence(float(scores[worst]), SCORE.value),
        steps=case.span(int(loss.steps[lasting[0]]), int(loss.steps[lasting[-1]])),
    )


def _follows(steps: Ints, jump: int, within: int) -> bool:
    """Whether one of ``steps`` is at the jump or shortly after it."""
    return bool(((steps >= jump) & (steps <= jump + within)).any())
