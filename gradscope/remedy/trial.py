"""One training of one config, judged by the rules and by what it learned; given up early where it goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from gradscope.detect.case import PATIENCE, Case
from gradscope.detect.engine import Settings, judged, reported
from gradscope.numbers import number
from gradscope.record.finding import Finding, Report, Verdict
from gradscope.record.manifest import Status
from gradscope.record.run import Run
from gradscope.scope import Stop
from gradscope.signals.events import at_end, series
from gradscope.training.build import Setup, build
from gradscope.training.config import Config
from gradscope.training.device import own_random_state, resolve
from gradscope.training.loop import Progress, Watcher, train

SHORT = 0.25
"""Share of the steps after which a training is looked at, and goes on only where it does well."""
PART = 0.25
"""Share of the way from chance to perfect that a training has gone that is no cure, and yet better than nothing."""
SIGMAS = 2.0
"""Standard errors by which an accuracy must fall short of the one before to be worse."""


@dataclass(frozen=True)
class Chance:
    """What is had without learning: the accuracy of the most frequent class, and the loss of the best constant outputs, the
    training rows' class frequencies or the mean of their numbers.
    """

    accuracy: float | None
    loss: float
    rows: int

    @classmethod
    def of(cls, setup: Setup) -> Chance:
        known, targets = setup.data.train.y, setup.data.validation.y
        if setup.data.regression:
            accuracy, outputs = None, known.mean(0)
        else:
            share = known.bincount(minlength=setup.data.outputs).double().clamp(min=0.5) / len(known)
            accuracy = float(targets.bincount().max()) / len(targets)
            outputs = {"cross_entropy": share.log(), "bce": share.logit()}.get(setup.config.loss, share).float()
        with torch.no_grad():
            return cls(accuracy, float(setup.loss(outputs.expand(len(targets), -1), targets)), len(targets))


def chance_of(config: Config) -> Chance:
    """Of a config that is not trained here."""
    with own_random_state(resolve(config.device)):
        return Chance.of(build(config))


@dataclass(eq=False)
class Trial:
    """A training and what came of it. ``stopped`` says why it was given up after a share of its steps, or is None."""

    config: Config
    run: Run
    chance: Chance | None = None
    stopped: str | None = None

    @cached_property
    def case(self) -> Case:
        return judged(self.run)

    @cached_property
    def report(self) -> Report:
        return reported(self.case, Settings(ignore=self.config.detect.ignore))

    @property
    def open(self) -> tuple[Finding, ...]:
        """The findings that no other one explains: what is to be cured."""
        codes = {f.code for f in self.report.findings}
        return tuple(f for f in self.report.findings if f.cause_code not in codes)

    @property
    def achieved(self) -> bool:
        return self.case.achieved

    @property
    def residual(self) -> float:
        """The share of the output's error that is left, 1 where only the mean was learned; infinite where it broke."""
        left = self.case.achievement.residual
        return left if self.case.broken is None and math.isfinite(left) else math.inf

    @property
    def loss(self) -> float:
        """The training loss that it came to; not finite where it broke."""
        found = at_end(series(self.run, "loss"))
        return math.nan if found is None else found

    @property
    def accuracy(self) -> float | None:
        """Of the last validation; None where there are numbers to predict."""
        return _last(self.run, "validation_accuracy")

    @property
    def validation_loss(self) -> float | None:
        return _last(self.run, "validation_loss")

    def eases(self, sick: Trial) -> bool:
        """Whether it is a cure but for how much it learned: healthy, and well above chance and the other run."""
        codes = {f.code for f in self.open} & {f.code for f in sick.open}
        if self.stopped or self.report.verdict is not Verdict.HEALTHY or codes or self.chance is None:
            return False
        if self.accuracy is not None and self.chance.accuracy is not None:
            before = sick.accuracy or 0.0
            least = self.chance.accuracy + PART * (1.0 - self.chance.accuracy)
            return self.accuracy > max(least, before + SIGMAS * self._noise(before))
        known = [v for v in (self.chance.loss, sick.validation_loss) if v is not None and math.isfinite(v)]
        return self.validation_loss is not None and self.validation_loss < (1.0 - PART) * min(known)

    def shortcoming(self, sick: Trial) -> str | None:
        """Why it is no cure, in words; None where it is one: healthy, free of what the other had, with more than half of the
        output's variance explained, and on rows that were not trained on no worse than the other.
        """
        if self.stopped:
            return self.stopped
        if self.report.verdict is not Verdict.HEALTHY:
            return said(self.report)
        left = {f.code for f in self.open} & {f.code for f in sick.open}
        if left:
            return f"{', '.join(sorted(left))} is still found"
        if not self.achieved:
            return f"healthy, but {self.case.learned}"
        return self._worse(sick)

    def _worse(self, sick: Trial) -> str | None:
        if self.chance is not None and self.validation_loss is not None and not self.validation_loss < self.chance.loss:
            mean = number(self.chance.loss)
            return f"healthy, but a validation loss of {number(self.validation_loss)} is no better than chance, {mean}"
        mine, other = self.accuracy, sick.accuracy
        if mine is not None and other is not None:
            if mine >= other - SIGMAS * self._noise(other):
                return None
            return f"healthy, but less accurate than before: {mine:.1%} after {other:.1%}"
        now, before = self.validation_loss, sick.validation_loss
        if now is None or before is None or not math.isfinite(before) or now <= before:
            return None
        return f"healthy, but a higher validation loss than before: {number(now)} after {number(before)}"

    def _noise(self, accuracy: float) -> float:
        """The standard error of the difference of two such accuracies over the validation rows."""
        rows = max(self.chance.rows if self.chance else 1, 1)
        return math.sqrt(2.0 * max(accuracy * (1.0 - accuracy), 1e-4) / rows)


def attempt(
    config: Config,
    out: Path | None = None,
    *,
    sick: Trial | None = None,
    on_setup: Callable[[Setup], None] | None = None,
    progress: Watcher | None = None,
) -> Trial:
    """Train a config; with ``sick``, the trial that it is to cure, give it up where a share of its steps shows no cure.

    The short training is the beginning of the full one, so that nothing is trained twice.

    Raises:
        GradscopeError: the network cannot be built, or the training not be carried out.
        KeyboardInterrupt: after a Ctrl-C.
    """
    seen = _Setups(on_setup)
    look = _Look(config, sick, progress)
    run = train(config, out, on_setup=seen, progress=look)
    if run.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return Trial(config, run, seen.chance, look.why)


@dataclass
class _Setups:
    then: Callable[[Setup], None] | None
    chance: Chance | None = None

    def __call__(self, setup: Setup) -> None:
        self.chance = Chance.of(setup)
        if self.then is not None:
            self.then(setup)


@dataclass
class _Look:
    """Judges a training once, on the way."""

    config: Config
    sick: Trial | None
    then: Watcher | None
    why: str | None = None
    at: int = field(init=False)

    def __post_init__(self) -> None:
        steps = self.config.training.steps
        self.at = max(math.ceil(SHORT * steps), min(int(PATIENCE.value) + 8, steps)) - 1

    def __call__(self, progress: Progress) -> None:
        if self.then is not None:
            self.then(progress)
        if self.sick is None or progress.step != self.at or progress.step + 1 == progress.steps:
            return
        so_far = Trial(self.config, progress.scope.run)
        if so_far.report.verdict is not Verdict.HEALTHY:
            self.why = f"{said(so_far.report)} after {progress.step + 1:,} steps"
        elif so_far.case.stalled and not _fell(so_far.run):
            self.why = f"after {progress.step + 1:,} steps the loss has not fallen"
        if self.why:
            raise Stop(self.why)


def said(report: Report) -> str:
    """``pathological: GS101 vanishing-gradients``; ``healthy`` alone where nothing was found."""
    codes = dict.fromkeys(f"{f.code} {f.rule}" for f in report.findings if f.severity is report.worst)
    return f"{report.verdict.value}: {', '.join(codes)}" if codes else report.verdict.value


def _fell(run: Run) -> bool:
    """Whether the loss is lower than it was, by more than its own noise."""
    loss = series(run, "loss").measured.values
    part = max(3, len(loss) // 5)
    noise = float(np.std(loss[-part:])) / math.sqrt(part)
    return bool(np.mean(loss[-part:]) < np.mean(loss[:part]) - 2.0 * noise)


def _last(run: Run, column: str) -> float | None:
    values = series(run, column).measured.values
    return float(values[-1]) if len(values) else None
