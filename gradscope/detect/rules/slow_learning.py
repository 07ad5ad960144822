"""The learning rate is far too small: the gradient points somewhere, steadily, and the weights hardly follow.

## What it detects

A run that has not learned and that no other pathology explains, where all of these hold: the trainable weights moved by less
than the threshold in all; they moved in a line, not in a random walk; successive gradients agree; and one of two signs that
training has hardly begun:

- The output's offset or scale, which any training settles first, is still wrong: dL/d(output) has a mean, or correlates with
  the output.
- Batches agree on the gradient as they do before training only, and there is much to win along it of which the way so far
  won next to nothing. Both are to first order: the gradient's steady part, times the way, over the loss. A network whose head
  starts at 0, or small, has no offset or scale that could be wrong, and shows itself by this sign alone.

A run in which no weight moved at all has no direction either, and needs the other signs alone.

They tell a slow run from one that began converged, whose gradients are small and may agree as well.

## Why it is bad

At this pace the run needs hundreds of times its steps.

## Known false alarms

A learning rate that is still warming up is left alone. So are frozen parameters: only what is trainable counts.

## What to do

- Look whether a schedule, or a loss that is scaled down, makes it small.
- Where no weight moved at all: look whether the optimizer was given this model's parameters, or those of another copy of it,
  and whether `zero_grad` stands between `backward` and `step`.

## References

- Karpathy, CS231n notes: the ratio of updates to weights should be near 1e-3.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import LEARNED, PATIENCE, Case
from gradscope.detect.rule import Threshold, confidence
from gradscope.numbers import number
from gradscope.record.finding import Finding, Severity
from gradscope.record.grid import Floats
from gradscope.signals.activations import batch_rows
from gradscope.signals.events import Series, series
from gradscope.signals.motion import Motion, motion, warming_up, won

CODE = "GS303"
NAME = "slow-learning"
SEVERITY = Severity.WARNING
AFTER = (
    "vanishing-gradients",
    "exploding-gradients",
    "non-finite",
    "dead-units",
    "saturated-activations",
    "loss-instability",
    "learning-rate-too-high",
    "gradient-underflow",
)
EXAMPLE = "slow-learning"

DISPLACEMENT = Threshold(
    "displacement",
    1e-2,
    "of the trainable weights, in all",
    "a network of ordinary width needs a few per cent to learn anything; a hundredth is ten steps at the usual 1e-3",
)
STRAIGHT = Threshold(
    "straightness",
    3.0,
    "over the root of the steps",
    "a random walk of n steps ends 1/sqrt(n) of its length away; three times that is a direction",
)
COSINE = Threshold("cosine", 0.05, "cosine", "successive gradients have 0 where they are noise, 0.2 to 1 before training")
OFFSET = Threshold(
    "offset", 2.0, "times the share that chance gives", "n independent rows leave 1/n of the squared gradient to their mean"
)
OFFSET_LEAST = Threshold("least offset", 0.01, "of the squared output gradient", "below a hundredth the offset is learned")
SCALE = Threshold(
    "scale", 3.0, "standard errors", "the correlation of dL/d(output) with the output, over the batches seen; 0 when trained"
)
SCALE_LEAST = Threshold("least scale", 0.02, "correlation", "below that the scale of the output is right")
AGREED = Threshold(
    "agreement",
    0.2,
    "cosine",
    "a fifth of the squared gradient is signal. Batches of 32 to 64 rows have 0.3 to 0.95 before training; what is left of a "
    "converged run's gradient is noise, 0.2 and less",
)
ORDINARY_WAY = Threshold(
    "ordinary way",
    0.1,
    "of the trainable weights",
    "how far networks of ordinary width move when they learn: a few per cent to all",
)
OPEN = Threshold(
    "open",
    0.01,
    "of the loss",
    "what the ordinary way along the gradient would win at the least: at a minimum it wins nothing, if gradients agree or not",
)
WON = Threshold(
    "won", 0.05, "of the loss", "what the way so far won at the most: at this pace the run needs twenty times its steps or more"
)
THRESHOLDS = (
    DISPLACEMENT,
    STRAIGHT,
    COSINE,
    OFFSET,
    OFFSET_LEAST,
    SCALE,
    SCALE_LEAST,
    AGREED,
    ORDINARY_WAY,
    OPEN,
    WON,
    *LEARNED,
    PATIENCE,
)


def check(case: Case) -> Iterator[Finding]:
    explained = any(f.severity is not Severity.INFO for name in AFTER for f in case.found.get(name, ()))
    moved = motion(case.run, case.broken)
    if case.achieved or explained or moved is None or not case.patient or warming_up(case.run):
        return
    cosine = _known(series(case.run, "grad_cosine"))
    steps = moved.step - case.steps[0] + 1
    still = moved.displacement == 0.0  # no way at all has no direction
    if not (
        moved.displacement < DISPLACEMENT.value
        and (still or moved.straightness > STRAIGHT.value / np.sqrt(steps))
        and len(cosine)
        and np.median(cosine) > COSINE.value
        and (_untrained(case) or _hardly_begun(case, moved, float(np.median(cosine))))
    ):
        return
    what = f"the weights moved by {number(moved.displacement, 2)} of their norm, in a steady direction"
    why = "the learning rate is far too small"
    if still:
        what = "no weight moved at all, although the gradient points somewhere steadily"
        kept = _known(series(case.run, "clip_coefficient"))
        why = "the learning rate is next to 0, or the optimizer holds other parameters than the model's"
        if len(kept) and np.median(kept) == 0.0:
            why = "something clears the gradient between the backward pass and the optimizer's step"
    yield Finding(
        CODE,
        NAME,
        SEVERITY,
        f"In {steps} steps {what}, and {case.learned}: {why}.",
        "displacement",
        moved.displacement,
        DISPLACEMENT.value,
        confidence=confidence(moved.displacement, DISPLACEMENT.value),
        steps=case.span(None, moved.step),
    )


def _untrained(case: Case) -> bool:
    """Whether the output's offset or scale is still open: the first things that any training settles."""
    offset = _late(_known(series(case.run, "output_offset")))
    rows = case.of(batch_rows) or 1
    if len(offset) and np.median(offset) ** 2 > max(OFFSET.value / rows, OFFSET_LEAST.value):
        return True
    correlation = _late(_known(series(case.run, "output_correlation")))
    if not len(correlation):
        return not len(offset)  # neither was recorded: the other signs must do
    error = float(correlation.std()) / np.sqrt(len(correlation))
    return bool(correlation.mean() > max(SCALE.value * error, SCALE_LEAST.value))


def _hardly_begun(case: Case, moved: Motion, cosine: float) -> bool:
    """Whether there is much to win along a gradient that the batches agree on, and next to nothing was won so far."""
    to_win, was_won = (won(case.run, way, case.broken) for way in (ORDINARY_WAY.value, moved.displacement))
    return cosine > AGREED.value and to_win > OPEN.value and was_won < WON.value


def _known(of: Series) -> Floats:
    return of.values[of.present & np.isfinite(of.values)]


def _late(values: Floats) -> Floats:
    """The second half of the samples."""
    return values[len(values) // 2 :]
