"""A verdict given before, as a baseline: what it knows is not told again, what is new or worse is."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradscope.errors import UsageError
from gradscope.record.finding import SCHEMA_VERSION, Finding, Report, Severity


@dataclass(frozen=True)
class Known:
    """One finding of the baseline: its rule's code, its severity and its layers."""

    code: str
    severity: Severity
    layers: frozenset[str]

    def covers(self, finding: Finding) -> bool:
        """The same rule, no worse, and in no layer that was well before."""
        return (
            finding.code == self.code and finding.severity.rank <= self.severity.rank and self.layers.issuperset(finding.layers)
        )


def read_baseline(path: Path) -> tuple[Known, ...]:
    """What ``gradscope check --format json`` has written. Raises ``UsageError`` where the file is something else."""
    hint = "gradscope check RUN --format json -o FILE writes one"
    try:
        data: Any = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: the baseline cannot be read: {error.strerror or error}", hint=hint) from None
    except ValueError as error:
        raise UsageError(f"{path}: the baseline is not JSON: {error}", hint=hint) from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        found = f"schema version {version}" if version is not None else "no schema version"
        raise UsageError(f"{path}: not a verdict to compare with (got {found}; expected {SCHEMA_VERSION})", hint=hint)
    try:
        return tuple(Known(f["code"], Severity(f["severity"]), frozenset(f["layers"])) for f in data["findings"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: not a verdict to compare with: {type(error).__name__}: {error}", hint=hint) from None


def beyond(report: Report, baseline: tuple[Known, ...]) -> Report:
    """The report without the findings that the baseline covers; it counts them as known."""
    new = tuple(f for f in report.findings if not any(k.covers(f) for k in baseline))
    return replace(report, findings=new, known=len(report.findings) - len(new))
