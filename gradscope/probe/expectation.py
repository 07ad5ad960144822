"""What the detector would say of a run that goes on as it begins, and at which depth that would set in."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gradscope.detect.case import Case
from gradscope.detect.engine import ordered, ranked
from gradscope.detect.rule import Threshold
from gradscope.detect.rules import exploding_gradients, vanishing_gradients
from gradscope.record.finding import Finding, Report
from gradscope.record.run import Run
from gradscope.signals.ratios import hidden_backward_ratio, noise_floor

BORN_AT_INITIALISATION = ("non-finite", "dead-units", "unscaled-input", "vanishing-gradients", "exploding-gradients")
"""Rules that need no training to be judged; what a learning rate does cannot be seen in one pass."""
EXPLAINING = ("saturated-activations",)
"""Rules that are heard only where they explain a finding of those, or one of those explains theirs: many nets begin saturated
and learn all the same."""
ROUNDED = Threshold(
    "lost in rounding",
    2.0**-23,
    "of the gradient at the last time step",
    "the weights' gradient is a sum over time steps: what is smaller than float32's spacing beside the largest term is rounded "
    "away. Ordinary cells forget over tens of steps and learn to remember, so that the rule's own limit is none for one pass",
)
LEVEL = 1e-3
"""A mean gain this near to 1 has no depth at which it would matter: a factor of 100 takes 4,600 layers."""


class Untrained(Case):
    """A case in which nothing was trained yet: no achievement speaks for the net, and the first pass is all there is."""

    @property
    def patient(self) -> bool:
        return True

    @property
    def achieved(self) -> bool:
        return False

    @property
    def learned(self) -> str:
        return "nothing is trained yet"


def expect(run: Run) -> Report:
    """The findings of the rules that judge how a net begins, by their own thresholds."""
    case = Untrained(run)
    for name, rule in ordered().items():
        if name in BORN_AT_INITIALISATION + EXPLAINING:
            case.found[name] = tuple(rule.check(case))
    forgotten = (replace(f, threshold=ROUNDED.value) for f in vanishing_gradients.through_time(case))
    case.found[vanishing_gradients.NAME] += tuple(f for f in forgotten if f.value < f.threshold)
    said = [f for name in BORN_AT_INITIALISATION for f in case.found[name]]
    causes, codes = {f.cause_code for f in said}, {f.code for f in said}
    said += [f for name in EXPLAINING for f in case.found[name] if f.code in causes or f.cause_code in codes]
    return Report(run.name, run.step_count, tuple(ranked(said)))


def over_depth(finding: Finding) -> bool:
    """Whether it is about the gradient from layer to layer, so that the attribution says what it is due to."""
    about = (vanishing_gradients.NAME, exploding_gradients.NAME)
    return finding.rule in about and finding.timesteps is None and finding.cause_code is None


@dataclass(frozen=True)
class Reach:
    """How deep a net of this kind may be. ``gain`` is the mean factor of the gradient's norm per hidden layer, going back.

    ``layers`` counts the weight layers, head included, of the deepest such net whose gradient stays within the detector's
    thresholds: measured where this net leaves them, else carried on at the gain of its inner half; infinite where that is
    level, or the whole change no more than chance. ``have`` is the number that this net has.
    """

    gain: float
    layers: float
    have: int


def reach(run: Run) -> Reach | None:
    """From the first row; None with fewer than two hidden stations, or where one's gradient is 0 or not finite."""
    ratio = hidden_backward_ratio(run).measured
    if len(ratio.layers) < 2 or not len(ratio.steps):
        return None
    values = ratio.values[0]
    if not ratio.present[0].all() or not (np.isfinite(values) & (values > 0.0)).all():
        return None
    logs, floor = np.log(values[::-1]), np.log(noise_floor(run).values[0, ::-1])
    floor = np.where(np.isnan(floor), 0.0, floor)
    low = np.fmin(math.log(vanishing_gradients.RATIO.value), -floor)
    high = np.fmax(math.log(exploding_gradients.RATIO.value), floor)
    outside = np.flatnonzero((logs < low) | (logs > high))
    count = len(logs)
    slope = float(logs[-1]) / (count - 1)
    if len(outside):
        layers = float(outside[0] + 1)
    else:
        inner = logs[count // 4 : max(count - count // 4, count // 4 + 2)]
        onward = float(np.mean(np.diff(inner))) if len(inner) > 1 else slope
        if abs(logs[-1]) <= floor[-1]:
            onward = 0.0  # no more than chance gives at this width: no trend to carry on
        limit = low[-1] if onward < 0.0 else high[-1]
        left = max((float(limit) - float(logs[-1])) / onward, 0.0) if abs(onward) > LEVEL else math.inf
        layers = count + 1 + (math.floor(left) if math.isfinite(left) else math.inf)
    return Reach(math.exp(slope), layers, count + 1)
