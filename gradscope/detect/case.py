"""What the rules share about one run: what it achieved, when it broke, and the findings so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from gradscope.detect.rule import Threshold
from gradscope.record.finding import Finding
from gradscope.record.grid import Bools
from gradscope.record.run import Run
from gradscope.record.thinned import ThinnedRun
from gradscope.signals.achievement import Achievement, achievement
from gradscope.signals.activations import batch_rows
from gradscope.signals.events import Events, events, series
from gradscope.signals.profiles import Profile

ACHIEVED = Threshold(
    "achieved",
    math.sqrt(0.5),
    "of the mean-only residual",
    "R^2 = 1/2: the inputs explain more of the output's error than is left. The residual is read from the gradient at the "
    "output, free of the loss's scale and of chance level; healthy runs of the zoo end between 0.01 and 0.85",
)
STALLED = Threshold(
    "stalled",
    math.sqrt(0.75),
    "of the mean-only residual",
    "R^2 = 1/4: next to nothing beyond the mean was learned",
)
OWN_SPREAD = Threshold(
    "own spread",
    math.sqrt(0.5),
    "correlation",
    "half of the output's error is the output's own spread: its scale is still wrong, whatever the residual's size",
)
THROWN = Threshold(
    "thrown",
    0.2,
    "of the weights, a step",
    "an update of a fifth of a LeCun-sized matrix, in a direction that the initialisation does not know, turns the features "
    "over within a handful of steps; what profiles show afterwards is the learning rate's doing",
)
PATIENCE = Threshold(
    "patience",
    32,
    "steps",
    "before this many steps a run that has not learned yet is no evidence: slow starts of healthy runs last tens of steps",
)
FEWEST_BAD = 3
"""Steps in a row that are no accident where none of them was taken."""
GRADIENTS = (("parameters", "grad_norm"), ("layers", "backward_norm"), ("timesteps", "backward_norm"))
"""Where gradients are recorded, by table and column. Without any of them there is nothing to call healthy."""
LEARNED = (ACHIEVED, OWN_SPREAD)
"""What ``Case.achieved`` compares with."""

T = TypeVar("T")


class Case:
    """One run before the rules; everything is computed once, when it is first asked for.

    What was recorded by layer is judged at evenly spread steps where it is long and deep (``record.thinned``), up to the one at
    which the run broke.
    """

    def __init__(self, run: Run) -> None:
        self.run: Run = run
        self.found: dict[str, tuple[Finding, ...]] = {}
        """Findings by rule name, of the rules judged so far."""
        self._signals: dict[Callable[[Run], Any], Any] = {}
        self.run = ThinnedRun(run, until=self.broken)

    def of(self, signal: Callable[[Run], T]) -> T:
        """A signal of the run, computed once however many rules ask for it. Its arrays are not to be written to."""
        if signal not in self._signals:
            self._signals[signal] = signal(self.run)
        found: T = self._signals[signal]
        return found

    @cached_property
    def events(self) -> Events:
        return events(self.run)

    @cached_property
    def steps(self) -> tuple[int, int]:
        """First and last step of the run."""
        at = self.run.grid("steps", "loss").steps
        return int(at[0]), int(at[-1])

    @property
    def step_count(self) -> int:
        return self.steps[1] - self.steps[0] + 1

    @cached_property
    def blind(self) -> bool:
        """Whether no gradient was recorded at any step, those left out of a thinned table included."""
        seen = ((table, column, self.run.grid(table, column)) for table, column in GRADIENTS)
        return all(
            grid.empty and all(self.run.series(table, column, name).empty for name in dict.fromkeys(grid.names))
            for table, column, grid in seen
        )

    @property
    def patient(self) -> bool:
        """Whether the run is long enough for what it has not learned yet to mean something."""
        return self.step_count >= PATIENCE.value

    @cached_property
    def broken(self) -> int | None:
        """The first step from which numbers stopped being finite for good; None where the run recovered or never broke."""
        bad = self.events.nonfinite
        if not len(bad):
            return None
        loss = series(self.run, "loss")
        last = loss.steps[-FEWEST_BAD:]
        if np.isin(bad, self.events.skipped).all() and not np.isin(last, bad).all():
            return None  # no such step was taken: the weights are as they were
        late = loss.values[loss.steps >= loss.steps[-1] - 0.2 * (loss.steps[-1] - loss.steps[0])]
        return None if np.isfinite(late).all() and bad[-1] < loss.steps[-1] else int(bad[0])

    @cached_property
    def thrown(self) -> int | None:
        """The first sampled step whose update was a large part of the weights."""
        update = series(self.run, "relative_update")
        with np.errstate(invalid="ignore"):
            at = np.flatnonzero(update.present & (update.values > THROWN.value))
        return int(update.steps[at[0]]) if len(at) else None

    @cached_property
    def achievement(self) -> Achievement:
        return achievement(self.run, self.broken)

    @property
    def achieved(self) -> bool:
        """Whether the run learned well, or began so and kept it: then a profile or a share that looks odd did no harm."""
        a = self.achievement
        learned = a.residual < ACHIEVED.value and not a.correlation > OWN_SPREAD.value
        kept = self.began_right and a.correlation < -self._chance
        return self.broken is None and (learned or kept)

    @cached_property
    def began_right(self) -> bool:
        """Whether the output's spread was right at the first recorded step: the error called for more of it, not for less.

        dL/d(output) of outputs drawn at random grows with them or knows nothing of them; of a run that goes on from what was
        trained before it points the other way.
        """
        first = series(self.run, "output_correlation").measured.values[:1]
        return bool(len(first) and first[0] < -self._chance)

    @cached_property
    def _chance(self) -> float:
        """Three standard errors of a correlation over the entries of one batch's output."""
        widths = [i.width for i in self.run.catalogue.layers if i.width]
        return 3.0 / math.sqrt((self.of(batch_rows) or 1) * (widths[-1] if widths else 1))

    @property
    def stalled(self) -> bool:
        """Whether it learned next to nothing; not where that cannot be told."""
        a = self.achievement
        if math.isnan(a.residual):
            return False
        return not self.achieved and not (a.residual <= STALLED.value and not a.correlation > OWN_SPREAD.value)

    def before_break(self, profile: Profile) -> Profile:
        """The measured rows of a profile before the step at which the run broke."""
        return self._rows(profile, None)

    def late(self, profile: Profile, part: float, fewest: int = 3) -> Profile:
        """The rows in the last ``part`` of the steps before the run broke, at least the last ``fewest`` of them."""
        rows = self._rows(profile, None)
        if not len(rows.steps):
            return rows
        first, last = self.steps
        end = last if self.broken is None else self.broken
        keep = rows.steps >= end - part * (end - first)
        keep[-fewest:] = True
        return replace(rows, steps=rows.steps[keep], values=rows.values[keep], present=rows.present[keep])

    def unthrown(self, profile: Profile) -> Profile:
        """The rows before the run broke, and up to the first update that turned the features over: what came after is its
        doing. All rows up to the break where there was none.
        """
        return self._rows(profile, self.thrown)

    def start(self, profile: Profile, most: int) -> Profile:
        """The first recorded rows, ``most`` of them, up to the first update that turned the features over.

        Counts the step at which the run broke where its loss is finite still: there the gradient itself overflowed.
        """
        kept = self._rows(profile, self.thrown, overflow=True)
        return replace(kept, steps=kept.steps[:most], values=kept.values[:most], present=kept.present[:most])

    def _rows(self, profile: Profile, last: int | None, *, overflow: bool = False) -> Profile:
        keep = profile.present.any(axis=1)
        if last is not None:
            keep &= profile.steps <= last
        if self.broken is not None:
            loss = series(self.run, "loss")
            at = loss.values[loss.steps == self.broken]
            keep &= profile.steps < self.broken + (overflow and bool(np.isfinite(at).all()))
        return replace(profile, steps=profile.steps[keep], values=profile.values[keep], present=profile.present[keep])

    def span(self, start: int | None = None, stop: int | None = None) -> tuple[int, int]:
        """An inclusive range of steps, the whole run by default."""
        first, last = self.steps
        return (first if start is None else start, last if stop is None else stop)

    @cached_property
    def blocked(self) -> tuple[str, ...]:
        """One-sided activations none of whose units passed anything on in most of the recorded steps."""
        names = [i.name for i in self.run.catalogue.layers if i.activation == "one-sided"]
        grid = self.run.grid("layers", "dead_share").only((n, 0) for n in names)
        with np.errstate(invalid="ignore"):
            shut = (grid.present & (grid.values >= 1.0)).sum(axis=0) > 0.5 * grid.present.sum(axis=0)
        return tuple(name for name, is_shut in zip(grid.names, shut, strict=True) if is_shut)

    def passes(self, layers: tuple[str, ...], stations: tuple[str, ...]) -> Bools:
        """Of each station (L,), whether one of ``layers`` lies between the station before it and itself, or is itself."""
        order = {info.name: info.order for info in self.run.catalogue.layers}
        places = np.array([order.get(name, -1) for name in stations])
        inside = np.zeros(len(stations), bool)
        for name in layers:
            if name in order:
                inside |= places == places[places > order[name]].min(initial=np.iinfo(np.int64).max)
        return inside

    @property
    def learned(self) -> str:
        """What the run achieved, in words for a message."""
        a = self.achievement
        if self.broken is not None:
            return f"the run broke at step {self.broken}"
        if math.isnan(a.residual):
            return "whether the run learned cannot be told"
        if a.signal == "loss":
            return f"the loss is still at {a.residual:.0%} of its first value"
        if a.correlation > OWN_SPREAD.value:
            return "the error at the output is still its own spread"
        return f"{min(a.residual, 1.0) ** 2:.0%} of the output's variance is still unexplained"
