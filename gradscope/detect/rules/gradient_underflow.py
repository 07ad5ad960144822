"""Gradients in float16 fall below its smallest number and become 0.

## What it detects

At each station whose output is float16 (half precision, with or without a loss scale), the root mean square of the entries of
the scaled back-propagated gradient. The rule holds where, in half of the recorded steps, it lies under the smallest number of
the format, or is exactly 0 while the loss is not, no rectifier is blocked, and the run has not learned.

## Why it is bad

float16 ends at 6e-8, and many gradients of ordinary nets are smaller. What falls below is 0, layer by layer, and the layers
below it stand still though nothing in float32 would keep them from learning.

## Known false alarms

Where the loss itself is learned to the last digit all gradients end there; a run that learned is not reported.

## References

- Micikevicius et al. 2018: mixed precision training, loss scaling.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import LEARNED, Case
from gradscope.detect.rule import Threshold, confidence
from gradscope.numbers import number
from gradscope.record.finding import Finding, Severity
from gradscope.signals.half_precision import scaled_entries

CODE = "GS104"
NAME = "gradient-underflow"
SEVERITY = Severity.WARNING
AFTER = ("vanishing-gradients", "dead-units")
EXAMPLE = "gradient-underflow"

SMALLEST = Threshold(
    "smallest number", 2.0**-24, "as the gradient, scaled", "IEEE 754: the smallest subnormal number of float16"
)
SHARE = Threshold("share of steps", 0.5, "of the recorded steps", "a majority: a loss scale needs some steps to settle")
THRESHOLDS = (SMALLEST, SHARE, *LEARNED)


def check(case: Case) -> Iterator[Finding]:
    entries = case.before_break(case.of(scaled_entries))
    if case.achieved or not entries.layers or len(entries.steps) < 3 or case.blocked:
        return
    below = entries.present & (np.where(entries.present, entries.values, np.inf) < SMALLEST.value)
    low = below.sum(axis=0) > SHARE.value * np.maximum(entries.present.sum(axis=0), 1)
    if not low.any():
        return
    layers = tuple(name for name, is_low in zip(entries.layers, low, strict=True) if is_low)
    value = float(np.nanmin(np.nanmedian(np.where(entries.present, entries.values, np.nan)[:, low], axis=0)))
    vanishing = [f for f in case.found.get("vanishing-gradients", ()) if f.severity is not Severity.INFO]
    yield Finding(
        CODE,
        NAME,
        Severity.INFO if vanishing else SEVERITY,
        f"In float16 the gradient at {layers[-1]} is {number(value, 2)} in a typical entry, scaled: below the smallest number "
        f"of the format most of it is 0, and {case.learned}.",
        "scaled_entries",
        value,
        SMALLEST.value,
        confidence=confidence(value, SMALLEST.value),
        layers=layers,
        steps=case.span(int(entries.steps[0]), int(entries.steps[-1])),
        cause="the gradient vanishes across depth whatever the format" if vanishing else None,
        cause_code=vanishing[0].code if vanishing else None,
    )
