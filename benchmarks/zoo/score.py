"""What a diagnosis says of the zoo, held against the labels."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import gradscope
from gradscope.record.finding import Finding, Severity

from .gain import by_gain
from .training import LABELS, Case, train


@dataclass(frozen=True)
class Answer:
    """What was said of one training: labels by the rules, at warning or error, and by the plain gain test."""

    case: Case
    rules: frozenset[str]
    gain: frozenset[str]
    findings: tuple[Finding, ...] = ()
    crash: str | None = None

    @property
    def said(self) -> frozenset[str]:
        """What counts for or against the rules."""
        return self.rules - self.case.tolerated

    @property
    def right(self) -> bool:
        return self.crash is None and self.said == self.case.labels


def diagnose(case: Case, seed: int = 0) -> Answer:
    """Trains a case under ``watch`` and asks ``check``; an error of either is an answer as well."""
    try:
        setup = case.build(seed)
        with gradscope.watch(setup.model, setup.optimizer) as scope:
            train(setup, after_step=scope.step)
        findings = scope.check().findings
        told = frozenset(f.rule for f in findings if f.severity is not Severity.INFO)
        return Answer(case, told & frozenset(LABELS), by_gain(scope.run), findings)
    except Exception as error:
        return Answer(case, frozenset(), frozenset(), crash=f"{type(error).__name__}: {error}")


@dataclass
class Tally:
    """Of one label: how often it was said rightly, said wrongly, and missed."""

    hits: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float | None:
        return self.hits / (self.hits + self.wrong) if self.hits + self.wrong else None

    @property
    def recall(self) -> float | None:
        return self.hits / (self.hits + self.missed) if self.hits + self.missed else None

    @property
    def f1(self) -> float | None:
        counted = 2 * self.hits + self.wrong + self.missed
        return 2 * self.hits / counted if counted else None


@dataclass
class Score:
    """Of one way to diagnose, over many trainings."""

    by_label: Mapping[str, Tally] = field(default_factory=lambda: {label: Tally() for label in LABELS})
    false_alarms: list[str] = field(default_factory=list)
    """Healthy trainings of which something was said."""
    silent: list[str] = field(default_factory=list)
    """Sick ones of which nothing was."""

    def add(self, case: Case, said: frozenset[str]) -> None:
        said -= case.tolerated
        for label, tally in self.by_label.items():
            tally.hits += label in said and label in case.labels
            tally.wrong += label in said and label not in case.labels
            tally.missed += label not in said and label in case.labels
        if case.healthy and said:
            self.false_alarms.append(case.name)
        if not case.healthy and not said:
            self.silent.append(case.name)

    @property
    def macro_f1(self) -> float:
        """The mean over the labels that occur."""
        known = [f1 for tally in self.by_label.values() if (f1 := tally.f1) is not None]
        return sum(known) / len(known) if known else 0.0


@dataclass(frozen=True)
class Result:
    """All answers, with the score of the rules and that of the plain gain test, and what they took."""

    answers: Sequence[Answer]
    rules: Score
    gain: Score
    seconds: float
    cpu_seconds: float

    @property
    def crashed(self) -> int:
        return sum(answer.crash is not None for answer in self.answers)


def scored(cases: Iterable[Case], seed: int = 0) -> Result:
    began, burnt = time.perf_counter(), time.process_time()
    answers = [diagnose(case, seed) for case in cases]
    rules, gain = Score(), Score()
    for answer in answers:
        rules.add(answer.case, answer.rules)
        gain.add(answer.case, answer.gain)
    return Result(answers, rules, gain, time.perf_counter() - began, time.process_time() - burnt)
