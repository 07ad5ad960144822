"""Runs beside each other: what each came to, in what they were set up differently, and which findings changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gradscope.detect.differences import Difference, differences, parameter_count
from gradscope.record.finding import Finding, Report
from gradscope.record.run import Run
from gradscope.signals.events import series
from gradscope.signals.ratios import backward_ratio, hidden_backward_ratio

SCHEMA_VERSION = 1
"""Version of the JSON that ``Comparison.to_dict`` gives."""
FURTHER = 10.0
"""A finding is worse, or better, where it lies so many times further beyond its threshold, or less far."""


@dataclass(frozen=True)
class Measured:
    """A number that may be infinite or NaN, and the step at which it was measured."""

    value: float
    step: int

    def to_dict(self) -> dict[str, Any]:
        finite = math.isfinite(self.value)
        state = "finite" if finite else "nan" if math.isnan(self.value) else "inf"
        return {"value": self.value if finite else None, "state": state, "step": self.step}


@dataclass(frozen=True)
class Outcome:
    """What one run came to; what was not recorded is None.

    ``end_to_end`` is the gradient at the first layer against the last hidden one (``ratio`` names the signal) at the last
    step at which every layer's is finite. The others are the last recorded values of the columns of the same names.
    """

    name: str
    report: Report
    status: str
    layers: int
    parameters: int
    ratio: str
    end_to_end: Measured | None
    loss: Measured | None
    validation_loss: Measured | None
    accuracy: Measured | None
    validation_accuracy: Measured | None
    wall_seconds: Measured | None

    def to_dict(self) -> dict[str, Any]:
        measured = ("end_to_end", "loss", "validation_loss", "accuracy", "validation_accuracy", "wall_seconds")
        values: dict[str, Measured | None] = {key: getattr(self, key) for key in measured}
        return {
            "run": self.name,
            "verdict": self.report.verdict.value,
            "status": self.status,
            "steps": self.report.steps,
            "layers": self.layers,
            "parameters": self.parameters,
            "end_to_end_signal": self.ratio,
            **{key: value.to_dict() if value else None for key, value in values.items()},
            "findings": [f.to_dict() for f in self.report.findings],
        }


class Kind(StrEnum):
    """What became of a finding; in the order in which changes are told."""

    NEW = "new"
    WORSE = "worse"
    SAME = "same"
    BETTER = "better"
    GONE = "gone"


@dataclass(frozen=True)
class Change:
    """One finding in the first run (``before``) and in a later one (``after``); one of them is None where it is new or gone."""

    kind: Kind
    before: Finding | None
    after: Finding | None

    @property
    def finding(self) -> Finding:
        """As it stands now, or as it stood."""
        found = self.after or self.before
        assert found is not None
        return found

    def to_dict(self) -> dict[str, Any]:
        sides = {"before": self.before, "after": self.after}
        return {"change": self.kind.value, **{side: f.to_dict() if f else None for side, f in sides.items()}}


@dataclass(frozen=True)
class Comparison:
    """Two runs or more; each but the first is held against the first. ``changes`` has one entry per later run."""

    outcomes: tuple[Outcome, ...]
    differences: tuple[Difference, ...]
    changes: tuple[tuple[Change, ...], ...]

    @property
    def worsened(self) -> tuple[Finding, ...]:
        """What is new or worse in any later run, as it stands there."""
        return tuple(c.finding for changes in self.changes for c in changes if c.kind in (Kind.NEW, Kind.WORSE))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``gradscope compare --format json``; holds no NaN and no Infinity."""
        later = self.outcomes[1:]
        return {
            "schema_version": SCHEMA_VERSION,
            "runs": [outcome.to_dict() for outcome in self.outcomes],
            "differences": [difference.to_dict() for difference in self.differences],
            "changes": [
                {"run": outcome.name, "findings": [change.to_dict() for change in changes]}
                for outcome, changes in zip(later, self.changes, strict=True)
            ],
        }


def compare(runs: Sequence[Run], reports: Sequence[Report], names: Sequence[str]) -> Comparison:
    """Of runs with their verdicts and a name for each that no other has, all in one order. Pure."""
    first, base = runs[0], reports[0]
    return Comparison(
        tuple(outcome(run, report, name) for run, report, name in zip(runs, reports, names, strict=True)),
        differences([run.manifest for run in runs]),
        tuple(
            tuple(sorted(changes(base, report, alike=_same_layers(first, run)), key=_order))
            for run, report in zip(runs[1:], reports[1:], strict=True)
        ),
    )


def outcome(run: Run, report: Report, name: str) -> Outcome:
    ratio, end_to_end = _end_to_end(run)
    return Outcome(
        name,
        report,
        run.status.value,
        sum(layer.trunk for layer in run.catalogue.layers),
        parameter_count(run.catalogue),
        ratio,
        end_to_end,
        *(_last(run, column) for column in ("loss", "validation_loss", "accuracy", "validation_accuracy", "wall_seconds")),
    )


def changes(before: Report, after: Report, *, alike: bool = True) -> Iterator[Change]:
    """Every finding of both, paired by rule and, where a rule speaks more than once, by the layers that they share.

    ``alike`` says that layers of one name are the same layer in both networks.
    """
    left = list(before.findings)
    for finding in after.findings:
        candidates = [f for f in left if f.code == finding.code]
        if not candidates:
            yield Change(Kind.NEW, None, finding)
            continue
        nearest = _nearest(finding, candidates)
        left.remove(nearest)
        yield Change(_became(nearest, finding, alike=alike), nearest, finding)
    for finding in left:
        yield Change(Kind.GONE, finding, None)


def _nearest(finding: Finding, candidates: Sequence[Finding]) -> Finding:
    layers = frozenset(finding.layers)
    return max(candidates, key=lambda f: len(layers.intersection(f.layers)))


def _became(before: Finding, after: Finding, *, alike: bool) -> Kind:
    """Worse: more severe, or in a layer that was well before, or ten times further beyond the threshold; better likewise."""
    if before.severity is not after.severity:
        return Kind.WORSE if after.severity.rank > before.severity.rank else Kind.BETTER
    if alike and set(after.layers) != set(before.layers):
        return Kind.BETTER if set(after.layers) < set(before.layers) else Kind.WORSE
    was, now = _beyond(before), _beyond(after)
    if now == was:
        return Kind.SAME
    return Kind.WORSE if now >= FURTHER * was else Kind.BETTER if was >= FURTHER * now else Kind.SAME


def _beyond(finding: Finding) -> float:
    """How many times the value lies beyond its threshold, to whichever side; infinite where it is 0 or not finite."""
    value, limit = abs(finding.value), abs(finding.threshold)
    if not (math.isfinite(value) and value > 0.0 and limit > 0.0):
        return math.inf
    return max(value / limit, limit / value)


def _order(change: Change) -> tuple[int, int, str]:
    return (list(Kind).index(change.kind), -change.finding.severity.rank, change.finding.code)


def _same_layers(a: Run, b: Run) -> bool:
    return [layer.name for layer in a.catalogue.layers] == [layer.name for layer in b.catalogue.layers]


def _end_to_end(run: Run) -> tuple[str, Measured | None]:
    """The first layer's ratio against the last hidden layer, or, in a network without one, against the last layer."""
    profile = hidden_backward_ratio(run)
    if len(profile.layers) < 2:
        profile = backward_ratio(run)
    shown = profile.measured
    if len(shown.layers) < 2 or not len(shown.steps):
        return profile.signal, None
    row = shown.last_finite_row
    there = bool(shown.present[row, 0])
    return profile.signal, Measured(float(shown.values[row, 0]), int(shown.steps[row])) if there else None


def _last(run: Run, column: str) -> Measured | None:
    known = series(run, column).measured
    return Measured(float(known.values[-1]), int(known.steps[-1])) if len(known.steps) else None
