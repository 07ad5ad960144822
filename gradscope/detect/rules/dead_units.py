"""Units of a rectifier that pass nothing on, whatever the input: no gradient reaches them or what lies below.

## What it detects

For each one-sided activation (ReLU, GELU, SiLU and any that is flat below) the share of units that pass no gradient for any
row of the batch. The rule holds where, in every sample of the last quarter of the run, that share is above the threshold in one
layer, or on average over all layers of a run that has not learned.

## Why it is bad

A unit whose input is negative for every example has a slope of 0 for every example: its weights receive no gradient, and
nothing but luck brings it back. A layer of such units cuts off everything below it.

## Known false alarms

With very small batches a unit that fires rarely looks dead in each batch: there a layer's threshold rises by what such units
add to the share, and below 16 rows the average is not judged. A sparse layer beside the main path of a run that learned is
reported as information, and so is what a run left behind that ended in NaN.

## References

- Lu, Shin, Su & Karniadakis 2020: dying ReLU and initialisation.
- Maas, Hannun & Ng 2013: leaky rectifiers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import LEARNED, Case
from gradscope.detect.preactivation import held_by
from gradscope.detect.rule import Threshold, confidence
from gradscope.record.finding import Finding, Severity
from gradscope.signals.activations import batch_rows, dead_from_start, dead_share, on_main_path

CODE = "GS201"
NAME = "dead-units"
SEVERITY = Severity.WARNING
AFTER = ()
EXAMPLE = "dead-units"

LAYER = Threshold(
    "dead share of a layer",
    0.9,
    "of its units",
    "nine units in ten: what is left passes a third of the gradient's norm at most. Healthy runs of the zoo reach 0.44 in a "
    "layer, sick ones 0.95 and more",
)
MEAN = Threshold(
    "mean dead share",
    0.5,
    "of all units",
    "half of the network; symmetric weights alone make a deep ReLU layer lose up to 0.45 of its units at initialisation",
)
ROWS = Threshold(
    "rows", 16, "rows of the batch", "a unit that fires for one input in ten is silent in a batch of 16 with probability 0.19"
)
RARE = Threshold(
    "rare unit",
    0.1,
    "of the inputs",
    "how often a unit fires that a small batch may miss: it is silent in r rows with probability 0.9^r. What the tenth of a "
    "layer that is not dead adds to the share, if it is of such units, is added to the threshold: 0.0001 at 64 rows, 0.07 at 4",
)
THRESHOLDS = (LAYER, MEAN, ROWS, RARE, *LEARNED)


def check(case: Case) -> Iterator[Finding]:
    share = case.late(case.of(dead_share), 0.25)
    if not share.layers or not len(share.steps):
        return
    rows = case.of(batch_rows) or int(ROWS.value)
    silent = np.where(share.present, share.values, np.inf).min(axis=0)
    lasting = np.where(np.isfinite(silent), silent, 0.0)  # what is dead is silent in every batch: no more than in the liveliest
    limit = LAYER.value + (1.0 - LAYER.value) * (1.0 - RARE.value) ** rows
    dead = lasting >= limit
    mean = float(lasting.mean())
    broad = mean >= MEAN.value and rows >= ROWS.value and not case.achieved and len(share.layers) > 1
    if not dead.any() and not broad:
        return
    layers = tuple(name for name, is_dead in zip(share.layers, dead, strict=True) if is_dead)
    at_start = dead_from_start(case.run, layers)
    harmless = case.achieved and not set(layers) & on_main_path(case.run)
    wreckage = case.broken is not None and not at_start
    worst = int(lasting.argmax())
    value, threshold = (float(lasting[worst]), limit) if layers else (mean, MEAN.value)
    if layers:
        what = f"{value:.0%} of the units of {share.layers[worst]} pass no gradient for any input"
        what += f", and {limit:.0%} or more in {len(layers)} of {len(share.layers)} layers" if len(layers) > 1 else ""
    else:
        what = f"{mean:.0%} of all units pass no gradient for any input"
    thrown = case.thrown is not None and case.thrown < share.steps[-1] and not at_start
    held = held_by(case.run, share.layers[worst], int(share.steps[-1])) if layers else None
    yield Finding(
        CODE,
        NAME,
        Severity.INFO if harmless or wreckage else SEVERITY,
        f"{what}: nothing reaches their weights, and {case.learned}.",
        "dead_share",
        value,
        threshold,
        confidence=confidence(1.0 - threshold, 1.0 - value) if value < 1.0 else 1.0,
        layers=layers or share.layers,
        steps=case.span(int(share.steps[0]), int(share.steps[-1])),
        cause=f"an update as large as a fifth of the weights or more, at step {case.thrown}" if thrown else held,
        cause_code="GS304" if thrown else None,
    )
