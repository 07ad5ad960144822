"""From a run to the outcome of its point: verdict and numbers. No torch here: a run of long ago can be judged anew."""

from __future__ import annotations

from collections.abc import Mapping

from gradscope.detect.engine import Settings, check
from gradscope.record.finding import Severity, Verdict
from gradscope.record.manifest import Status
from gradscope.record.run import Run
from gradscope.signals.scalars import measured
from gradscope.sweep.outcome import End, Outcome
from gradscope.training.config import Config

ENDS = {Status.FINISHED: End.FINISHED, Status.STOPPED: End.STOPPED, Status.INTERRUPTED: End.INTERRUPTED}


def judged(run: Run, config: Config, network: Mapping[str, float]) -> Outcome:
    """The outcome of a run. Its verdict leaves out what its config ignores; of none, the last note or the remark says why."""
    end = ENDS.get(run.status, End.FAILED)
    report = check(run, Settings(ignore=config.detect.ignore))
    codes = tuple(dict.fromkeys(f.code for f in report.findings if f.severity is not Severity.INFO))
    unjudged = next(iter(run.manifest.notes[-1:]), report.remark) if report.verdict is Verdict.INCONCLUSIVE else None
    reason = run.manifest.reason if end is not End.FINISHED else unjudged
    return Outcome(end, reason, report.verdict.value, codes, measured(run), network)
