"""Some layers' updates are nothing beside their weights, while other layers learn.

## What it detects

The norm of a layer's update over the norm of its weights, against the median over the layers of the same step. The rule holds
where, in most of the recorded steps, a layer stays under the threshold, in a run that has not learned. Where the gradient
vanishes, units are dead or activations saturated, that is the cause, and this is information.

## Why it is bad

The layer stays as it was drawn; the others have to make do with it.

## Known false alarms

Layers with a learning rate of their own, made small on purpose. Frozen layers do not count.

## What to do

- Where the gradient itself is small, see vanishing-gradients.

## References

- Karpathy, CS231n notes: the ratio of updates to weights.
- You, Gitman & Ginsburg 2017 (LARS): updates relative to weights, layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.detect.case import LEARNED, PATIENCE, Case
from gradscope.detect.rule import Threshold, confidence
from gradscope.numbers import number
from gradscope.record.finding import Finding, Severity
from gradscope.signals.ratios import update_ratio

CODE = "GS106"
NAME = "stalled-layers"
SEVERITY = Severity.WARNING
AFTER = (
    "vanishing-gradients",
    "exploding-gradients",
    "dead-units",
    "saturated-activations",
    "missing-gradient",
    "slow-learning",
    "learning-rate-too-high",
)
EXAMPLE = "stalled-layers"

RATIO = Threshold(
    "relative update",
    1e-3,
    "of the median layer's",
    "a thousand steps of such a layer do what one does elsewhere; layers of healthy nets lie within a factor of 30",
)
SHARE = Threshold("share of steps", 0.5, "of the recorded steps", "a majority: branches that start at 0 stand still for a step")
THRESHOLDS = (RATIO, SHARE, *LEARNED, PATIENCE)


def check(case: Case) -> Iterator[Finding]:
    ratio = case.before_break(case.of(update_ratio))
    if case.achieved or not case.patient or len(ratio.layers) < 3 or len(ratio.steps) < 3:
        return
    fixed = _unmoved_on_purpose(case)
    kept = [i for i, name in enumerate(ratio.layers) if name not in fixed]
    if len(kept) < 3:
        return
    values = np.where(ratio.present[:, kept] & np.isfinite(ratio.values[:, kept]), ratio.values[:, kept], np.nan)
    values = values[~np.isnan(values).all(axis=1)]
    middle = np.nanmedian(values, axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(middle > 0.0, values / middle, np.nan)
        low = (relative < RATIO.value).mean(axis=0) > SHARE.value
    if not low.any():
        return
    layers = tuple(ratio.layers[i] for i, is_low in zip(kept, low, strict=True) if is_low)
    value = float(np.nanmin(np.nanmedian(relative[:, low], axis=0)))
    named, still = layers[0], "it stands still"
    if len(layers) > 1:
        named, still = f"{layers[0]} and {len(layers) - 1} more", "they stand still"
    size = f"{number(value, 2)} of" if value else "exactly 0 beside"
    cause = next((f for name in AFTER for f in case.found.get(name, ()) if f.severity is not Severity.INFO), None)
    yield Finding(
        CODE,
        NAME,
        Severity.INFO if cause else SEVERITY,
        f"Updates of {named}, relative to the weights, are {size} the typical layer's: {still} while others move, and "
        f"{case.learned}.",
        "update_ratio",
        value,
        RATIO.value,
        confidence=confidence(value, RATIO.value),
        layers=layers,
        steps=case.span(int(ratio.steps[0]), int(ratio.steps[-1])),
        cause=f"{cause.rule} explains it" if cause else None,
        cause_code=cause.code if cause else None,
    )


def _unmoved_on_purpose(case: Case) -> frozenset[str]:
    """Layers that have a frozen matrix, or one without any gradient."""
    frozen, gradient = case.run.grid("parameters", "frozen"), case.run.grid("parameters", "grad_norm")
    owners = {p.name: p.layer for p in case.run.catalogue.parameters if p.is_matrix}
    still = (np.where(frozen.present, frozen.values, 0.0) == 1.0).any(axis=0) | ~gradient.present.any(axis=0)
    return frozenset(owners[name] for name, is_still in zip(frozen.names, still, strict=True) if is_still and name in owners)
