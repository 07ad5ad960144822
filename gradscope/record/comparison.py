"""What a comparison of runs is made of: what each came to, in what they differ, what became of the findings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gradscope.record.finding import Finding, Report

SCHEMA_VERSION = 1
"""Version of the JSON that ``Comparison.to_dict`` gives."""


class Missing:
    """The value of a key that a run does not have: ``null`` is a value."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


@dataclass(frozen=True)
class Difference:
    """One key with its value in each run, ``MISSING`` where a run has no such key.

    ``section`` is ``config``, ``network``, ``environment`` or ``recording``; ``path`` the key within it, ``model.init.gain``.
    """

    section: str
    path: str
    values: tuple[Any, ...]

    def to_dict(self) -> dict[str, Any]:
        """``values`` holds null both for null and for a key that is missing; ``missing`` has the positions of the latter."""
        return {
            "section": self.section,
            "path": self.path,
            "values": [None if v is MISSING else v for v in self.values],
            "missing": [i for i, v in enumerate(self.values) if v is MISSING],
        }


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
    step at which every layer's is finite. ``loss`` and ``accuracy`` are those of the training batches: the median of the last
    fifth of the steps, or the last value where it is not finite. The others are the last recorded values of their columns.
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
