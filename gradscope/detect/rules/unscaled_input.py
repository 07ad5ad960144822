"""The inputs are far from unit scale, as pixels of 0 to 255 or raw measurements are.

## What it detects

The scale of the network's input, estimated at the first recorded step from the first matrix of the network: random weights
of norm ||W|| over n outputs turn inputs of root mean square x into outputs of x ||W|| / sqrt(n). The rule holds where x is
above the threshold.

## Why it is bad

Initialisations are made for inputs of unit variance. Larger ones saturate tanh and sigmoid, make the logits and the first
loss large, and stretch the curvature of the first layer by the square of the scale, so that no learning rate serves it and
the rest.

## Known false alarms

A network that was trained before has weights that are not random any more; the estimate is then rough. A run that learned
well is reported as information.

## References

- LeCun, Bottou, Orr & Mueller 1998: efficient backprop, section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import LEARNED, Case
from gradscope.detect.rule import Threshold, confidence
from gradscope.numbers import number
from gradscope.record.finding import Finding, Severity
from gradscope.signals.input_scale import input_scale

CODE = "GS203"
NAME = "unscaled-input"
SEVERITY = Severity.WARNING
AFTER = ()
EXAMPLE = "unscaled-input"

SCALE = Threshold(
    "input scale",
    10.0,
    "root mean square",
    "LeCun-drawn weights turn inputs of 10 into pre-activations of standard deviation 10, where 83 % of tanh and 66 % of "
    "sigmoid entries are saturated; standardised data has 1, pixels of 0 to 255 about 100",
)
THRESHOLDS = (SCALE, *LEARNED)


def check(case: Case) -> Iterator[Finding]:
    found = input_scale(case.run)
    if found is None or not found.scale > SCALE.value:
        return
    size = number(found.scale, 2) if found.scale < 100.0 else f"{found.scale:,.0f}"
    yield Finding(
        CODE,
        NAME,
        Severity.INFO if case.achieved else SEVERITY,
        f"The inputs of {found.layer} have a root mean square of about {size}, where initialisations expect 1.",
        "input_scale",
        found.scale,
        SCALE.value,
        confidence=confidence(found.scale, SCALE.value),
        layers=(found.layer,),
        steps=(found.step, found.step),
    )
