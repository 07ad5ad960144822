"""What a verdict is made of: findings with their evidence, and the report that holds them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gradscope.record import notebook

SCHEMA_VERSION = 1
"""Version of the JSON that ``Report.to_dict`` gives."""
NAMED = 3
"""Rules that were not asked are named where they are no more than this."""


class Severity(StrEnum):
    """How bad a finding is; compared by ``rank``: info < warning < error."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return ("info", "warning", "error").index(self.value)


class Verdict(StrEnum):
    """What the findings come to; inconclusive is one with too little record to judge, without a step or without a gradient."""

    HEALTHY = "healthy"
    PATHOLOGICAL = "pathological"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Finding:
    """One pathology with its evidence.

    ``layers`` are names as in ``named_modules()`` (or parameters'), ``steps`` and ``timesteps`` inclusive ranges, ``signal``
    the name of what was compared, ``value`` its worst value, ``threshold`` what it was compared with, ``noise_floor`` what
    chance alone could give at this width (null where it has no meaning), ``confidence`` in 0..1. ``cause`` says in words what
    brought it about and ``cause_code`` names the other finding that explains this one, where one does.
    """

    code: str
    rule: str
    severity: Severity
    message: str
    signal: str
    value: float
    threshold: float
    confidence: float = 1.0
    layers: tuple[str, ...] = ()
    steps: tuple[int, int] = (0, 0)
    timesteps: tuple[int, int] | None = None
    noise_floor: float | None = None
    cause: str | None = None
    cause_code: str | None = None
    remedies: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """``finite``, ``inf`` or ``nan``: JSON has no such numbers, so a value that is not finite is named here."""
        return "finite" if math.isfinite(self.value) else "nan" if math.isnan(self.value) else "inf"

    def __str__(self) -> str:
        return f"{self.severity.value} {self.code} {self.rule}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "rule": self.rule,
            "severity": self.severity.value,
            "confidence": round(self.confidence, 4),
            "layers": list(self.layers),
            "steps": list(self.steps),
            "timesteps": list(self.timesteps) if self.timesteps else None,
            "signal": self.signal,
            "value": _number(self.value),
            "state": self.state,
            "threshold": _number(self.threshold),
            "noise_floor": _number(self.noise_floor),
            "message": self.message,
            "cause": self.cause,
            "cause_code": self.cause_code,
            "remedies": list(self.remedies),
        }


@dataclass(frozen=True)
class Report:
    """The verdict on one run. ``findings`` are sorted: worst first, then by code and first layer.

    ``remark`` says where a healthy verdict is worth little, as of a training that has not learned yet, and why there is none.
    ``known`` counts findings that a baseline holds, which are left out. ``gradients`` says whether any gradient was recorded.
    ``not_asked`` are the codes of the rules whose findings nobody wants to hear.
    """

    run: str
    steps: int
    findings: tuple[Finding, ...] = field(default=())
    remark: str | None = None
    known: int = 0
    gradients: bool = True
    not_asked: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        if self.worst is not None and self.worst.rank >= Severity.WARNING.rank:
            return Verdict.PATHOLOGICAL
        return Verdict.HEALTHY if self.steps and self.gradients else Verdict.INCONCLUSIVE

    @property
    def worst(self) -> Severity | None:
        return max((f.severity for f in self.findings), key=lambda s: s.rank, default=None)

    @property
    def left_out(self) -> list[str]:
        """``["GS101 not asked"]``, ``["11 rules not asked"]``, or nothing: what the verdict does not speak of."""
        few = len(self.not_asked) <= NAMED
        rules = ", ".join(self.not_asked) if few else f"{len(self.not_asked)} rules"
        return [f"{rules} not asked"] if self.not_asked else []

    def __str__(self) -> str:
        """The verdict, and a line for each finding."""
        facts = [self.run, f"{self.steps:,} step{'' if self.steps == 1 else 's'}", *self.left_out]
        remark = [self.remark] if self.remark else []
        return "\n".join([f"{self.verdict.value}: {', '.join(facts)}", *remark, *map(str, self.findings)])

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``gradscope check --format json``; holds no NaN and no Infinity."""
        return {
            "schema_version": SCHEMA_VERSION,
            "run": self.run,
            "verdict": self.verdict.value,
            "steps": self.steps,
            "remark": self.remark,
            "known": self.known,
            "not_asked": list(self.not_asked),
            "findings": [f.to_dict() for f in self.findings],
        }

    def _repr_html_(self) -> str:
        return notebook.of_report(self)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
