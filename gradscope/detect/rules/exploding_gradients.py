"""The gradient grows from layer to layer, or from time step to time step, on its way back to the input.

## What it detects

- **Across depth.** At each station the norm of the back-propagated gradient, divided by that at the last hidden station.
  The rule holds where one of the first recorded steps has a station above the threshold, and above what chance makes of
  a level gradient at this width, exp(1.5 sqrt(5 sum 1/n)), and the run has not learned. Only the beginning is judged: one
  update later the weights are what the explosion left of them. Clipping hides an explosion from the norms; it leaves these
  ratios as they are.
- **Through time.** The same for the gradient of the last time step's output with respect to earlier states.

## Why it is bad

One step sized for the upper layers throws the lower ones away, and one sized for the lower layers leaves the upper ones
where they are. Often the first update ends in infinity. Clipping keeps the numbers finite and leaves the imbalance.

## Known false alarms

A chaotic net (tanh with large weights) has growing gradients and can be trained with care; it is reported until it has
learned.

## References

- Pascanu, Mikolov & Bengio 2013: exploding gradients, clipping.
- He et al. 2015: the gain of ReLU nets. Zhang et al. 2019 (Fixup): residual branches.
- Yang et al. 2019: batch norm causes gradient explosion.
- Hanin & Nica 2020: the spread of gradients at finite width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.blame import blame
from gradscope.detect.case import LEARNED, PATIENCE, THROWN, Case
from gradscope.detect.memory import blame_in_time
from gradscope.detect.rule import Threshold, confidence
from gradscope.numbers import number
from gradscope.record.finding import Finding, Severity
from gradscope.signals.profiles import Profile
from gradscope.signals.ratios import hidden_backward_ratio, noise_floor
from gradscope.signals.through_time import time_ratio

CODE = "GS102"
NAME = "exploding-gradients"
SEVERITY = Severity.ERROR
AFTER = ()
EXAMPLE = "large-init"

RATIO = Threshold(
    "ratio",
    1e2,
    "of the gradient at the last hidden station (across depth), at the last time step (through time)",
    "a hundredfold imbalance: no one learning rate serves both ends. In the zoo sick runs read 5e4 at the least, healthy ones "
    "7 at the most; a pre-norm residual net of 1,000 blocks would read 40 (its gradient grows as the root of depth)",
)
SEVERE = Threshold("severe ratio", 1e4, "as the ratio", "so far out that no patience is needed: float16 would overflow")
EARLY = Threshold(
    "early steps", 3, "recorded steps", "later profiles show what the first updates left, not what the net was made with"
)
THRESHOLDS = (RATIO, SEVERE, EARLY, *LEARNED, PATIENCE, THROWN)


def check(case: Case) -> Iterator[Finding]:
    if case.achieved:
        return
    yield from _across_depth(case)
    yield from _through_time(case)


def _across_depth(case: Case) -> Iterator[Finding]:
    ratio = case.start(case.of(hidden_backward_ratio), int(EARLY.value))
    if not len(ratio.steps) or len(ratio.layers) < 2:
        return
    floor = case.of(noise_floor).values[0, : len(ratio.layers)]
    limit = np.fmax(RATIO.value, floor)
    known = np.where(np.isnan(ratio.values), 0.0, ratio.values)
    row = int((known / limit).max(axis=1).argmax())
    above = known[row] > limit
    if not above.any():
        return
    worst = int(known[row].argmax())
    value = float(known[row, worst])
    if value < SEVERE.value and not case.patient:
        return
    yield Finding(
        CODE,
        NAME,
        SEVERITY,
        f"On its way back the gradient grows {_times(value)} from {ratio.reference}, the last hidden layer, to "
        f"{ratio.layers[worst]} at step {int(ratio.steps[row])}, and {case.learned}.",
        ratio.signal,
        value,
        RATIO.value,
        confidence=confidence(value, float(limit[worst])),
        layers=tuple(name for name, is_above in zip(ratio.layers, above, strict=True) if is_above),
        steps=case.span(int(ratio.steps[0]), int(ratio.steps[row])),
        noise_floor=float(floor[worst]) if np.isfinite(floor[worst]) else None,
        cause=blame(case.run, ratio.layers[worst], ratio.reference or "", (int(ratio.steps[i]) for i in (row, 0))),
    )


def _through_time(case: Case) -> Iterator[Finding]:
    for ratio in case.of(time_ratio):
        early = case.start(Profile("time_ratio", ratio.steps, (), ratio.values, ratio.present), int(EARLY.value))
        known = np.where(early.present & ~np.isnan(early.values), early.values, 0.0)
        if not known.size or not known.max() > RATIO.value:
            continue
        row, t = np.unravel_index(int(known.argmax()), known.shape)
        value = float(known[row, t])
        if value < SEVERE.value and not case.patient:
            continue
        above = np.flatnonzero(known[row] > RATIO.value)
        yield Finding(
            CODE,
            NAME,
            SEVERITY,
            f"Through time, the gradient of {ratio.layer} grows {_times(value)} from the last time step back to time step "
            f"{int(ratio.times[t])}, and {case.learned}.",
            "time_ratio",
            value,
            RATIO.value,
            confidence=confidence(value, RATIO.value),
            layers=(ratio.layer,),
            steps=case.span(int(early.steps[0]), int(early.steps[row])),
            timesteps=(int(ratio.times[above[0]]), int(ratio.times[above[-1]])),
            cause=blame_in_time(case.run, ratio.layer, value, int(ratio.times[-1] - ratio.times[t]), int(early.steps[row])),
        )


def _times(value: float) -> str:
    return f"{number(value, 2)} times" if np.isfinite(value) else "beyond the largest number"
