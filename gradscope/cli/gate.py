"""What a verdict means for the exit code."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gradscope.record.finding import Report

FINDINGS = 1
"""Exit code: findings at or above ``--fail-on``."""


class FailOn(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NEVER = "never"


FailOnOption = Annotated[
    FailOn,
    typer.Option("--fail-on", metavar=f"[{'|'.join(FailOn)}]", help="Exit with 1 where there is a finding as bad as this."),
]


def gate(report: Report, fail_on: FailOn) -> None:
    """Raises ``typer.Exit(1)`` where the worst finding is at or above ``fail_on``."""
    from gradscope.record.finding import Severity

    if fail_on is not FailOn.NEVER and report.worst is not None and report.worst.rank >= Severity(fail_on.value).rank:
        raise typer.Exit(FINDINGS)
