"""Activations that sit on their flat parts: their slope is next to 0, and so is the gradient that they pass.

## What it detects

For each two-sided activation (tanh, sigmoid, softsign and any that is flat at both ends) the share of entries where its slope
is under 5 % of its largest: tanh beyond 2.2, the sigmoid beyond 4.4. The rule holds where that share is above the
threshold in half of the recorded steps and was so from the first, or came to be so late in a run that learned next to
nothing.

## Why it is bad

A saturated unit says the same for every input and hands back a twentieth of the gradient or less. Weights that are too
large keep it there, since what could make them smaller does not reach them.

## Known false alarms

A sigmoid at the output saturates when the run is sure of its answers; it is judged by its start alone. A network that was
trained before may be sure, and right, from the first step on: where dL/d(output) calls for more of the output's spread there,
this is information. Gates are closed on purpose: activations inside branches count only where the run has not learned.

## What to do

- For a sigmoid at the output use a cross-entropy loss on logits in place of the squared error.

## References

- Glorot & Bengio 2010: saturation of sigmoid and tanh nets.
- LeCun, Bottou, Orr & Mueller 1998: efficient backprop, scaling of inputs.
- Nielsen 2015, chapter 3: the learning slowdown of the squared error.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import LEARNED, PATIENCE, STALLED, Case
from gradscope.detect.preactivation import held_by
from gradscope.detect.rule import Threshold, confidence
from gradscope.record.finding import Finding, Severity
from gradscope.signals.activations import at_output, on_main_path, saturated_share

CODE = "GS202"
NAME = "saturated-activations"
SEVERITY = Severity.WARNING
AFTER = ("unscaled-input",)
EXAMPLE = "saturated-tanh"

SHARE = Threshold(
    "saturated share",
    0.5,
    "of the entries",
    "a majority; pre-activations of unit variance put 3 % of tanh and 0.001 % of sigmoid entries there, those of a healthy "
    "trained net up to a third, those of the sick runs of the zoo 80 % and more",
)
STEPS = Threshold("share of steps", 0.5, "of the recorded steps", "a majority: what passes is no state")
THRESHOLDS = (SHARE, STEPS, *LEARNED, STALLED, PATIENCE)


def check(case: Case) -> Iterator[Finding]:
    share = case.before_break(case.of(saturated_share))
    if not share.layers or not len(share.steps):
        return
    main, outputs = on_main_path(case.run), at_output(case.run)
    late = case.late(case.of(saturated_share), 0.5)
    high = np.where(share.present, share.values, 0.0) > SHARE.value
    from_start = high[0] & (high.mean(axis=0) >= STEPS.value)
    from_start &= np.array([name in main or name in outputs or not case.achieved for name in share.layers])
    came = (np.where(late.present, late.values, 0.0) > SHARE.value).mean(axis=0) > STEPS.value
    came &= (
        np.array([name in main and name not in outputs for name in share.layers])
        & case.stalled
        & case.patient
        & (case.broken is None)
    )
    sick = from_start | came if case.stalled and case.patient and case.broken is None else from_start
    if not sick.any():
        return
    typical = np.median(np.where(share.present, share.values, 0.0), axis=0)
    worst = int(np.where(sick, typical, -1.0).argmax())
    value = float(typical[worst]) if from_start[worst] else float(np.median(late.values[:, worst]))
    layers = tuple(name for name, is_sick in zip(share.layers, sick, strict=True) if is_sick)
    since = "from the first step on" if from_start[worst] else "in the second half of the run"
    harmless = case.began_right and not (sick & ~from_start).any()
    cause, code = _cause(case, layers, came_late=not from_start.any())
    if cause is None:
        cause = held_by(case.run, share.layers[worst], int(share.steps[0] if from_start[worst] else late.steps[-1]))
    yield Finding(
        CODE,
        NAME,
        Severity.INFO if harmless else SEVERITY,
        f"{value:.0%} of the entries of {share.layers[worst]} sit where its slope is under 5% of its largest, {since}: "
        "next to no gradient passes, " + ("but its outputs were right already." if harmless else f"and {case.learned}."),
        "saturated_share",
        value,
        SHARE.value,
        confidence=confidence(1.0 - SHARE.value, 1.0 - value) if value < 1.0 else 1.0,
        layers=layers,
        steps=case.span(int(share.steps[0] if from_start[worst] else late.steps[0]), int(share.steps[-1])),
        cause=cause,
        cause_code=code,
    )


def _cause(case: Case, layers: tuple[str, ...], *, came_late: bool) -> tuple[str | None, str | None]:
    unscaled = case.found.get("unscaled-input", ())
    first = next((i.name for i in case.run.catalogue.layers if i.activation == "two-sided"), None)
    if unscaled and first in layers:
        return "inputs far larger than 1 drive the first layer to its ends", unscaled[0].code
    if came_late and case.thrown is not None:
        return f"an update as large as a fifth of the weights or more, at step {case.thrown}", "GS304"
    return None, None
