"""A fix as one JSON object, for machines."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gradscope.remedy.candidate import Candidate, Outlook
from gradscope.remedy.cure import Fix, Tried
from gradscope.remedy.trial import Trial

SCHEMA_VERSION = 1
"""Version of the JSON."""


def as_dict(fix: Fix, written: Path | None) -> dict[str, Any]:
    """``before``, all that was ``tried`` in this order, which of it ``cure`` is (its place, or null), and the file."""
    cure = fix.cure
    return {
        "schema_version": SCHEMA_VERSION,
        "healthy": fix.healthy,
        "before": {**_trial(fix.sick), "expected": _outlook(fix.outlook)},
        "tried": [_tried(tried) for tried in fix.tried],
        "not_tried": [_candidate(candidate) for candidate in fix.left],
        "cure": fix.tried.index(cure) if cure is not None else None,
        "written": str(written) if written is not None else None,
    }


def _tried(tried: Tried) -> dict[str, Any]:
    return {
        **_candidate(tried.candidate),
        "expected": _outlook(tried.outlook),
        "cures": tried.cures,
        "why_not": tried.shortcoming,
        "training": _trial(tried.trial) if tried.trial is not None else None,
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "remedies": [p.remedy for p in candidate.applied],
        "changes": candidate.changes,
        "expects": [p.expects for p in candidate.applied],
        "hopeless": candidate.hopeless,
        "cost": candidate.cost,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    chance = trial.chance
    return {
        "run": str(trial.run.path) if trial.run.path is not None else None,
        "verdict": trial.report.verdict.value,
        "codes": list(dict.fromkeys(f.code for f in trial.report.findings)),
        "steps": trial.report.steps,
        "loss": _finite(trial.loss),
        "accuracy": _finite(trial.accuracy),
        "validation_loss": _finite(trial.validation_loss),
        "unexplained": _finite(min(trial.residual, 1.0) ** 2),
        "chance": {"accuracy": chance.accuracy, "loss": chance.loss} if chance is not None else None,
    }


def _outlook(outlook: Outlook | None) -> dict[str, Any] | None:
    if outlook is None:
        return None
    return {key: _finite(value) if isinstance(value, float) else value for key, value in asdict(outlook).items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
