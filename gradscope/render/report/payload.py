"""All that a report shows, as JSON: verdicts, findings and where each shows, profiles in frames, series, events, configs.

Every number comes from the functions of ``signals`` that the rules read. Names are indices into one table of names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gradscope import __version__
from gradscope.numbers import number
from gradscope.record.comparison import MISSING, Comparison
from gradscope.record.finding import Finding, Report
from gradscope.record.manifest import flattened
from gradscope.record.run import Run
from gradscope.render.comparison import CAME_TO, HOW, SECTIONS, evidence, value
from gradscope.render.places import positions
from gradscope.render.report.attribution import attributed
from gradscope.render.report.packing import logs, of_frames, of_series
from gradscope.render.report.shown import Shown, profiles
from gradscope.render.words import chance, contiguous, count, ended, fold, forward_order, span
from gradscope.render.words import evidence as measured
from gradscope.signals.events import Events, events, series
from gradscope.signals.frames import frames
from gradscope.signals.states import State

CELLS = 400_000
"""Values (layers x frames, over all signals of all runs) from which on frames are reduced: about 7 MB of JSON."""
FEWEST, MOST = 24, 2000
"""Frames of one profile."""
SERIES = {
    "loss": "loss",
    "validation_loss": "validation loss",
    "accuracy": "accuracy",
    "validation_accuracy": "validation accuracy",
    "total_norm": "norm of the whole gradient",
    "clipped_norm": "after clipping",
    "relative_update": "update over weights",
    "lr": "learning rate",
    "loss_scale": "loss scale",
}
"""Columns of the table ``steps`` that can be shown, with their names."""
EVENTS = ("nonfinite", "spikes", "skipped", "clipped")
LANE = 1000
"""Stretches that a lane of events is told in, at most: neighbours closer than that many parts of the run are one."""


class Names:
    """Strings as indices: a layer's name stands once, however many profiles have it."""

    def __init__(self) -> None:
        self.all: dict[str, int] = {}

    def __call__(self, names: Sequence[str]) -> list[int]:
        return [self.all.setdefault(name, len(self.all)) for name in names]


def payload(runs: Sequence[Run], reports: Sequence[Report], comparison: Comparison) -> dict[str, Any]:
    """Of one run or more with their verdicts; ``comparison`` holds them side by side, one run too. Holds no NaN."""
    names = Names()
    shown = [profiles(run) for run in runs]
    shares = sum(p.share * len(p.layers) for found in shown for p in found)
    most = int(np.clip(CELLS // max(shares, 1), FEWEST, MOST))
    return {
        "version": __version__,
        "runs": [
            _run(run, report, outcome.name, found, most, names)
            for run, report, outcome, found in zip(runs, reports, comparison.outcomes, shown, strict=True)
        ],
        "comparison": _comparison(comparison, runs) if len(runs) > 1 else None,
        "names": list(names.all),
    }


def _run(run: Run, report: Report, label: str, shown: Sequence[Shown], most: int, names: Names) -> dict[str, Any]:
    depth = sum(layer.trunk for layer in run.catalogue.layers)
    happened = events(run) if report.steps else None
    return {
        "label": label,
        "verdict": report.verdict.value,
        "facts": [
            count(depth, "layer"),
            count(report.steps, "step"),
            ended(run),
            *report.left_out,
            *([report.remark.rstrip(".")] if report.remark else []),
        ],
        "created": run.manifest.created,
        "gradscope": run.manifest.gradscope,
        "steps": report.steps,
        "last": int(run.grid("steps", "loss").steps[-1]) if report.steps else 0,
        "findings": [_finding(finding, run, shown) for finding in report.findings],
        "profiles": [_profile(p, most, names) for p in shown],
        "series": {c: {"name": n, **of_series(s)} for c, n in SERIES.items() if not (s := series(run, c)).empty},
        "events": _events(happened, report.steps) if happened else {},
        "attribution": attributed(run, most, names),
        "config": [[path, text] for path, text in _settings(run)],
        "notes": list(run.manifest.notes),
    }


def _finding(finding: Finding, run: Run, shown: Sequence[Shown]) -> dict[str, Any]:
    """Its words as ``check`` has them, and ``show``: the chart and signal in which it is seen, and at which step."""
    cause = finding.cause or ("explained by" if finding.cause_code else "")
    facts = [
        ["layers", fold(finding.layers, forward_order(run, finding.layers)) if finding.layers else ""],
        ["steps", span(finding.steps)],
        ["time steps", span(finding.timesteps) if finding.timesteps else ""],
        ["measured", measured(finding)],
        ["chance", chance(finding) or ""],
        ["cause", f"{cause} ({finding.cause_code})" if finding.cause_code else cause],
    ]
    return {
        "code": finding.code,
        "rule": finding.rule,
        "severity": finding.severity.value,
        "confidence": number(finding.confidence, 2),
        "message": finding.message,
        "facts": [fact for fact in facts if fact[1]],
        "remedies": list(finding.remedies),
        "steps": list(finding.steps),
        "threshold": finding.threshold if finding.state == "finite" and 0.0 < finding.threshold < np.inf else None,
        "signal": finding.signal,
        "show": _seen(finding, shown),
        "at": {p.id: contiguous(positions(finding, run, p.layers)) for p in shown if p.axis == "layer"}
        | {f"time_ratio:{name}": [list(finding.timesteps)] for name in finding.layers if finding.timesteps},
    }


def _seen(finding: Finding, shown: Sequence[Shown]) -> dict[str, Any]:
    ids = [p.id for p in shown]
    wanted = [finding.signal, *(f"{finding.signal}:{name}" for name in finding.layers)]
    found = next((i for i in wanted if i in ids), None)
    if found is None and finding.signal not in SERIES and finding.layers and ids:
        found = ids[0]
    if found is not None:
        return {"chart": "profile", "signal": found, "step": finding.steps[1]}
    return {"chart": "series", "signal": finding.signal if finding.signal in SERIES else "loss", "step": finding.steps[0]}


def _profile(shown: Shown, most: int, names: Names) -> dict[str, Any]:
    kept = frames(shown.steps, shown.values, shown.present, max(int(most * shown.share), FEWEST))
    absent = int((~shown.present).all(axis=0).sum())
    return {
        "id": shown.id,
        "title": shown.title,
        "unit": shown.unit,
        "axis": shown.axis,
        "scale": shown.scale,
        "names": names(shown.layers),
        "recorded": len(shown.steps),
        "absent": absent,
        "chance": shown.chance,
        "theory": shown.theory if shown.theory is None else logs(shown.theory),
        "broken": next((int(s) for s, f in zip(kept.steps, kept.marks, strict=True) if (f >= State.INF).any()), None),
        **of_frames(kept),
    }


def _events(found: Events, steps: int) -> dict[str, list[list[int]]]:
    """Stretches of steps in which each kind of thing happened; of a long run neighbours are joined."""
    part = max(1, steps // LANE)
    lanes = {}
    for kind in EVENTS:
        at = getattr(found, kind)
        if len(at):
            lanes[kind] = [[a * part, (b + 1) * part - 1] for a, b in contiguous((at // part).tolist())]
    return lanes


def _settings(run: Run) -> Iterator[tuple[str, str]]:
    """What made the run, key by key: its config, or, where it was watched, where it ran and how it was recorded."""
    manifest = run.manifest
    optimizer = ("optimizer.", manifest.optimizer)
    for section, of in (
        ("", manifest.config),
        optimizer,
        ("environment.", manifest.environment),
        ("recording.", manifest.recording),
    ):
        for path, setting in flattened(of or {}).items():
            yield f"{section}{path}", value(setting)


def _comparison(comparison: Comparison, runs: Sequence[Run]) -> dict[str, Any]:
    """The words of ``gradscope compare`` in tables."""
    outcomes = comparison.outcomes
    rows: list[tuple[str, list[str]]] = [
        ("layers", [f"{o.layers:,}" for o in outcomes]),
        ("parameters", [f"{o.parameters:,}" for o in outcomes]),
        ("gradient, first layer to last hidden", [number(o.end_to_end.value) if o.end_to_end else "" for o in outcomes]),
    ]
    for column, name in CAME_TO.items():
        numbers = [getattr(o, column) for o in outcomes]
        rows.append((name, [number(m.value) if m else "" for m in numbers]))
    return {
        "how": HOW,
        "outcomes": [[name, cells] for name, cells in rows if any(cells)],
        "changes": [
            [
                {
                    "kind": change.kind.value,
                    "severity": change.finding.severity.value,
                    "finding": f"{change.finding.code} {change.finding.rule}",
                    "evidence": list(evidence(change, (runs[0], run))),
                }
                for change in changes
            ]
            for run, changes in zip(runs[1:], comparison.changes, strict=True)
        ],
        "differences": [
            [SECTIONS[d.section], d.path, ["" if v is MISSING else value(v) for v in d.values]] for d in comparison.differences
        ],
    }
