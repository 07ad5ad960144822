"""The verdict as every command gives it, and what it means for the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gradscope.record.finding import Report
    from gradscope.record.run import Run

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


def judged(run: Run, select: Sequence[str] = (), ignore: Sequence[str] = (), *, remedies: bool = True) -> Report:
    """The verdict without the rules that the run's own config ignores, unless ``select`` names them.

    ``remedies`` may be left out where nobody reads them: theory works them out anew for each run.
    Raises ``UsageError`` for a rule in ``select`` or ``ignore`` that does not exist.
    """
    from gradscope.detect.engine import RULES, Settings, check

    silenced = set(((run.manifest.config or {}).get("detect") or {}).get("ignore") or ())
    names = [{name, rule.CODE} for name, rule in RULES.items()]
    own = [name for both in names if both & silenced and not both & set(select) for name in both]
    return check(run, Settings(select=tuple(select), ignore=(*own, *ignore)), remedies=remedies)


def gate(report: Report, fail_on: FailOn) -> None:
    """Raises ``typer.Exit(1)`` where the worst finding is at or above ``fail_on``."""
    from gradscope.record.finding import Severity

    if fail_on is not FailOn.NEVER and report.worst is not None and report.worst.rank >= Severity(fail_on.value).rank:
        raise typer.Exit(FINDINGS)
