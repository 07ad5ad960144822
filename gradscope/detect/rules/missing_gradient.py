"""A trainable parameter never got a gradient.

## What it detects

Parameters with `requires_grad` whose `.grad` was None in every recorded step, while others had one. That is another state than
a gradient of 0, and than a frozen parameter.

## Why it is bad

The optimizer skips the parameter without a word. It is not connected to the loss: a layer that is built and not called, a
`detach()` or `no_grad` in the way, a branch that the loss leaves out.

## Known false alarms

Parameters that are used now and then, as the experts of a mixture are, may miss every recorded step of a short run; with few
recorded steps the rule says so by its confidence.

## What to do

- Look for `detach()`, `.data`, `torch.no_grad()` and in-place assignments on the way to the loss.

## References

- PyTorch, autograd mechanics: leaf tensors and requires_grad.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import Case
from gradscope.detect.rule import Threshold
from gradscope.record.finding import Finding, Severity

CODE = "GS105"
NAME = "missing-gradient"
SEVERITY = Severity.WARNING
AFTER = ()
EXAMPLE = "missing-gradient"

SEEN = Threshold(
    "recorded steps",
    8,
    "steps with a gradient elsewhere",
    "a layer that every other forward skips, as under stochastic depth, misses eight in a row once in 256 times",
)
THRESHOLDS = (SEEN,)


def check(case: Case) -> Iterator[Finding]:
    gradient, frozen = case.run.grid("parameters", "grad_norm"), case.run.grid("parameters", "frozen")
    seen = int(gradient.present.any(axis=1).sum())
    if seen < SEEN.value:
        return
    trainable = {p.name for p in case.run.catalogue.parameters if p.trainable}
    ever = gradient.present.any(axis=0)
    still = np.any(np.where(frozen.present, frozen.values, 0.0) == 1.0, axis=0)
    names = [gradient.names[i] for i in np.flatnonzero(~ever & ~still) if gradient.names[i] in trainable]
    names = [name for name in names if case.run.series("parameters", "grad_norm", name).empty]  # at every step that there is
    if not names:
        return
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    steps = gradient.steps[gradient.present.any(axis=1)]
    yield Finding(
        CODE,
        NAME,
        SEVERITY,
        f"{names[0]}{more} never got a gradient in {seen} recorded steps: no loss that was seen depends on "
        f"{'them' if more else 'it'}.",
        "steps_without_gradient",
        float(seen),
        SEEN.value,
        confidence=1.0 - 0.5 / seen,
        layers=tuple(names),
        steps=case.span(int(steps[0]), int(steps[-1])),
    )
