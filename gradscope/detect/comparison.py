"""Runs beside each other: what each came to, in what they were set up differently, and which findings changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from gradscope.detect.differences import differences, parameter_count
from gradscope.record.comparison import Change, Comparison, Kind, Measured, Outcome
from gradscope.record.finding import Finding, Report
from gradscope.record.run import Run
from gradscope.signals.events import at_end, series
from gradscope.signals.ratios import backward_ratio, hidden_backward_ratio

FURTHER = 10.0
"""A finding is worse, or better, where it lies so many times further beyond its threshold, or less far."""


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
        loss=_end(run, "loss"),
        validation_loss=_last(run, "validation_loss"),
        accuracy=_end(run, "accuracy"),
        validation_accuracy=_last(run, "validation_accuracy"),
        wall_seconds=_last(run, "wall_seconds"),
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


def _end(run: Run, column: str) -> Measured | None:
    """What a number of single batches came to."""
    found = series(run, column)
    value = at_end(found)
    return None if value is None else Measured(value, int(found.measured.steps[-1]))


def _last(run: Run, column: str) -> Measured | None:
    known = series(run, column).measured
    return Measured(float(known.values[-1]), int(known.steps[-1])) if len(known.steps) else None
