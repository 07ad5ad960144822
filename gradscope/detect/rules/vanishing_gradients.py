"""The gradient that reaches the early layers, or the early time steps, is a vanishing part of that at the output.

## What it detects

- **Across depth.** At each station (every layer of a plain net, the stream of a residual one) the norm of the
  back-propagated gradient is divided by that at the last hidden station. The rule holds where, in half of the recorded
  steps and at the end still, some station is under the threshold and under what chance makes of a level gradient at this
  width, exp(-1.5 sqrt(5 sum 1/n)), and the run has not learned. This sees *flat* vanishing too, where the signal dies with
  the gradient and all weight gradients look alike.
- **Through time.** The gradient of the last time step's output with respect to the state at each time step, against that at
  the last, in half of the recorded steps and at the end still, where the run learned next to nothing. Where the loss reads
  every time step, and so reaches each directly, the run must have learned nothing at all.
- **By underflow.** The gradient at a hidden station is exactly 0 although that at the output is not, and no rectifier is
  blocked: the product fell below the smallest number of the format.

Where the gradient across depth was level at the first step, and an update that was a good part of the weights came before it
fell, the first cause is `learning-rate-too-high`: that rule speaks, and this one is information.

## Why it is bad

Early layers receive next to no gradient and stay as they were drawn. The layers above learn on top of random features, or,
where the signal dies as well, learn nothing. More training does not help: the product of the layers' gains is exponential
in depth.

## Known false alarms

Ordinary recurrent cells forget over tens of time steps. A task that needs no long memory and is limited by noise can look
like one that needs it; what the run achieved is the only thing that tells them apart.

## References

- Hochreiter 1991; Bengio, Simard & Frasconi 1994: learning long-term dependencies is difficult.
- Glorot & Bengio 2010; He et al. 2015: initialisation of deep nets.
- Pascanu, Mikolov & Bengio 2013: the gradient through time, eq. 5.
- Hanin & Nica 2020: the spread of gradients at finite width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gradscope.detect.blame import blame
from gradscope.detect.case import LEARNED, PATIENCE, STALLED, THROWN, Case
from gradscope.detect.memory import blame_in_time
from gradscope.detect.rule import Threshold, confidence
from gradscope.detect.rules import learning_rate_too_high
from gradscope.numbers import number
from gradscope.record.finding import Finding, Severity
from gradscope.record.grid import Bools, Floats, Ints
from gradscope.signals.activations import dead_from_start
from gradscope.signals.events import series
from gradscope.signals.motion import motion
from gradscope.signals.profiles import Profile
from gradscope.signals.ratios import backward_ratio, hidden_backward_ratio, noise_floor
from gradscope.signals.through_time import TimeProfile, reads_every_step, time_ratio

CODE = "GS101"
NAME = "vanishing-gradients"
SEVERITY = Severity.ERROR
AFTER = ("dead-units", "saturated-activations")
EXAMPLE = "plain-sigmoid-20"

RATIO = Threshold(
    "ratio",
    1e-2,
    "of the gradient at the last hidden station (across depth), at the last time step (through time)",
    "a layer that receives a hundredth of the gradient moves a hundred times slower under gradient descent. In the zoo sick "
    "runs read 2e-5 at the most and healthy ones 0.2 at the least, so that the exact figure hardly matters",
)
SHARE = Threshold(
    "share of steps", 0.5, "of the recorded steps", "a majority: a profile that recovers after the first updates is none"
)
SEVERE = Threshold(
    "severe ratio",
    1e-4,
    "as the ratio",
    "so far out that no patience is needed: ten thousand steps of such a layer do what one step does at the output",
)
NOTHING_LEARNED = Threshold(
    "nothing learned",
    0.97,
    "of the mean-only residual",
    "R^2 = 0.06, for losses that read every time step: what lies near is learned without long memory",
)
NO_FALL = Threshold("no fall", 0.99, "of the first loss", "under such losses, one per cent is what class frequencies give")
FEWEST = Threshold("fewest", 3, "recorded steps", "a head or branch that starts at 0 passes nothing on at the first step")
TIME_PATIENCE = Threshold("patience in time", 64, "steps", "gated cells learn to remember within their first tens of steps")
MOVED = Threshold("moved", 1e-2, "of the weights", "a run that began converged and hardly moved says nothing of the gradient")
THRESHOLDS = (
    *(RATIO, SEVERE, SHARE, NOTHING_LEARNED, NO_FALL, MOVED, FEWEST, TIME_PATIENCE, *LEARNED, STALLED, PATIENCE, THROWN),
    learning_rate_too_high.UNSTABLE,
)

DEAD_WORDS = "dead units pass nothing on"


def check(case: Case) -> Iterator[Finding]:
    if not case.achieved:
        yield from _across_depth(case)
    if case.stalled and case.step_count >= TIME_PATIENCE.value:
        yield from through_time(case)


def _across_depth(case: Case) -> Iterator[Finding]:
    ratio = case.unthrown(case.of(hidden_backward_ratio))
    hidden = replace(ratio, layers=ratio.layers[:-1], values=ratio.values[:, :-1], present=ratio.present[:, :-1])
    if hidden.layers and len(hidden.steps):
        yield from _profile(case, hidden)
        yield from _underflow(case)


def _profile(case: Case, ratio: Profile) -> Iterator[Finding]:
    floor = 1.0 / case.of(noise_floor).values[0, : len(ratio.layers)]
    limit = np.fmin(RATIO.value, floor)
    known = np.where(np.isfinite(ratio.values) & (ratio.values > 0.0), ratio.values, np.nan)
    with np.errstate(invalid="ignore"):
        below = known < limit
    somewhere = np.asarray(below.any(axis=1))
    rows = np.flatnonzero(somewhere)
    if not len(rows) or not _lasts(somewhere):
        return
    typical = np.exp(_median(np.log(known[rows])))
    worst = int(np.nanargmin(typical))
    value = float(typical[worst])
    if value >= SEVERE.value and not case.patient:
        return
    small = tuple(name for name, v, most in zip(ratio.layers, typical, limit, strict=True) if v < most)
    cause, code, severity = _cause(case, ratio, typical)
    level = int(ratio.steps[0]) == case.steps[0] and np.isfinite(known[0]).all() and not somewhere[0]
    update = _largest_update(case, ratio.steps, known, int(rows[0])) if level else 0.0
    if cause is None and update > learning_rate_too_high.UNSTABLE.value:
        cause = f"learning-rate-too-high: it was level at step {int(ratio.steps[0])}, and fell after an update of {update:.0%}"
        code, severity = learning_rate_too_high.CODE, Severity.INFO
    if cause is None and ratio.reference is not None:
        by_size = rows[np.argsort(known[rows, worst])[: np.isfinite(known[rows, worst]).sum()]]
        typical_rows = [by_size[len(by_size) // 2], rows[0], rows[-1]]
        cause = blame(case.run, ratio.layers[worst], ratio.reference, (int(ratio.steps[i]) for i in typical_rows))
        if level:
            made = f"training made it so: it was level at step {int(ratio.steps[0])}"
            cause = f"{cause}; {made}" if cause else made
    receive = "receives" if len(small) == 1 else "receive"
    yield Finding(
        CODE,
        NAME,
        severity,
        f"The gradient at {ratio.layers[worst]} is {number(value, 2)} of that at {ratio.reference}, the last hidden layer: "
        f"{len(small)} of {len(ratio.layers) + 1} layers {receive} next to nothing, and {case.learned}.",
        ratio.signal,
        value,
        RATIO.value,
        confidence=confidence(value, float(limit[worst])),
        layers=small or (ratio.layers[worst],),
        steps=case.span(int(ratio.steps[rows[0]]), int(ratio.steps[rows[-1]])),
        noise_floor=float(floor[worst]) if np.isfinite(floor[worst]) else None,
        cause=cause,
        cause_code=code,
    )


def _cause(case: Case, ratio: Profile, typical: Floats) -> tuple[str | None, str | None, Severity]:
    """Saturated or dead layers explain the fall when most of it, in decades, happens at them."""
    falls = np.diff(np.log(np.append(typical, 1.0)))  # from each station to the next one, towards the output
    for name, words in (("saturated-activations", "the slopes of saturated units are next to 0"), ("dead-units", DEAD_WORDS)):
        for finding in case.found.get(name, ()):
            layers = finding.layers if name != "dead-units" else dead_from_start(case.run, finding.layers)
            through = case.passes(layers, (*ratio.layers, ratio.reference or ""))
            if np.nansum(falls[through[1:]]) > 0.5 * np.nansum(falls):
                return f"{finding.rule}: {words}", finding.code, Severity.INFO
    return None, None, SEVERITY


def _largest_update(case: Case, steps: Ints, known: Floats, below: int) -> float:
    """Of the weights, from the last row at which half of the first one's ratio was left up to the row ``below``; 0 where no
    update is known there.
    """
    least = np.nanmin(known[:below], axis=1)
    start = int(np.flatnonzero(least >= 0.5 * least[0])[-1])
    update = series(case.run, "relative_update").measured
    between = (update.steps >= steps[start]) & (update.steps < steps[below])
    return float(np.nanmax(update.values[between], initial=0.0))


def _underflow(case: Case) -> Iterator[Finding]:
    ratio = case.unthrown(case.of(backward_ratio))
    zero = ratio.present[:, :-1] & (ratio.values[:, :-1] == 0.0)
    rows = np.flatnonzero(zero.any(axis=1))
    if len(rows) < SHARE.value * len(ratio.steps) or len(rows) < FEWEST.value:
        return
    layers = tuple(name for name, is_zero in zip(ratio.layers, zero[rows].mean(axis=0) >= SHARE.value, strict=False) if is_zero)
    if not layers or case.blocked:
        return
    after = ratio.layers[ratio.layers.index(layers[-1]) + 1 : -1]  # up to the last hidden station it is measured
    yield Finding(
        CODE,
        NAME,
        SEVERITY,
        f"The gradient at {layers[-1]} and below is exactly 0 although that at the output is not: it fell below the smallest "
        f"number of its format, and {case.learned}.",
        ratio.signal,
        0.0,
        RATIO.value,
        layers=layers,
        steps=case.span(int(ratio.steps[rows[0]]), int(ratio.steps[rows[-1]])),
        cause=blame(case.run, after[0], after[-1], (int(ratio.steps[i]) for i in rows[[0, -1]])) if after else None,
    )


def through_time(case: Case) -> Iterator[Finding]:
    for ratio in case.of(time_ratio):
        rows = np.flatnonzero(ratio.steps < (case.broken if case.broken is not None else np.inf))
        known = np.where(ratio.present[rows] & np.isfinite(ratio.values[rows]), ratio.values[rows], np.nan)
        if not len(rows) or np.isnan(known).all():
            continue
        direct = reads_every_step(case.run, ratio.layer)
        if direct and not _tried_in_vain(case):
            continue
        least = np.fmin.reduce(known, axis=1)
        if not _lasts(np.asarray(least < RATIO.value)):
            continue
        value = float(np.nanmedian(least))
        yield _time_finding(case, ratio, known, value, direct=direct)


def _lasts(below: Bools) -> bool:
    """Whether it holds in most of the recorded steps (S,), and in most of the last fifth of them still."""
    last = below[-max(3, len(below) // 5) :]
    return bool(below.mean() >= SHARE.value and last.mean() >= SHARE.value)


def _tried_in_vain(case: Case) -> bool:
    """Whether the weights moved and nothing at all was learned: what lies near needs no long memory."""
    loss, moved = series(case.run, "loss").measured.values, motion(case.run)
    fell = np.median(loss[-max(3, len(loss) // 5) :]) < NO_FALL.value * np.median(loss[:5])
    learned_nothing = case.achievement.residual > NOTHING_LEARNED.value and not fell
    return learned_nothing and moved is not None and moved.displacement > MOVED.value


def _time_finding(case: Case, ratio: TimeProfile, known: Floats, value: float, *, direct: bool) -> Finding:
    typical = _median(known)
    with np.errstate(invalid="ignore"):
        reached = np.flatnonzero(typical < RATIO.value)
    until = int(ratio.times[reached[-1]]) if len(reached) else int(ratio.times[0])
    last, weakest = int(ratio.times[-1]), int(np.nanargmin(typical))
    what = "the loss reads each time step, but what happened up to" if direct else "what happened up to"
    ending = "cannot be remembered" if direct else "cannot be learned"
    return Finding(
        CODE,
        NAME,
        SEVERITY,
        f"Through time, {ratio.layer} passes {number(value, 2)} of the gradient at time step {last} on to its weakest time "
        f"step: {what} time step {until} {ending}, and {case.learned}.",
        "time_ratio",
        value,
        RATIO.value,
        confidence=0.5 if direct else confidence(value, RATIO.value),
        layers=(ratio.layer,),
        steps=case.span(int(ratio.steps[0]), int(ratio.steps[-1])),
        timesteps=(int(ratio.times[0]), until),
        cause=blame_in_time(
            case.run, ratio.layer, float(typical[weakest]), last - int(ratio.times[weakest]), int(ratio.steps[0])
        ),
    )


def _median(values: Floats) -> Floats:
    """Over the rows (S, L) -> (L,), without what is NaN; NaN where nothing is left."""
    there = ~np.isnan(values).all(axis=0)
    found = np.full(values.shape[1], np.nan)
    found[there] = np.nanmedian(values[:, there], axis=0)
    return found
