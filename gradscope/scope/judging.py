"""Judging while a training runs: when, which findings are news, and which of them ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gradscope.capture.distributed import Processes
from gradscope.record.finding import Finding, Report, Severity


class Stop(Exception):  # noqa: N818  it is no error but the end of a loop, as StopIteration is
    """Raised by ``Scope.step`` when a finding that ``stop_on`` names appears; leaving the ``with`` block swallows it."""


class Judging:
    """The whole record so far is judged at steps that grow by an eighth: over a run of any length all judgements together
    cost at most nine times what the last one does.

    ``share`` bounds them besides, as a part of the time that the training itself takes, beyond an allowance of ``ALLOWANCE``
    seconds; None where the steps must be a function of the step's number alone: of a run that is to end at the same step
    each time, and of several processes, of which rank 0 judges and all stop together.
    """

    ALLOWANCE = 0.5
    GROWTH = 8

    def __init__(
        self,
        judge: Callable[[], Report],
        on_finding: Callable[[Finding], None] | None = None,
        stop_on: Sequence[str] = (),
        share: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._judge = judge
        self._on_finding = on_finding
        self._stop_on = tuple(stop_on)
        self._share = share
        self._clock = clock
        self._began: float | None = None
        self._next = 1
        self._cost = 0.0
        self._told: set[tuple[str, Severity, tuple[str, ...]]] = set()
        self.spent = 0.0
        """Seconds that judging took, what ``on_finding`` did left out."""

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return self._on_finding is not None or bool(self._stop_on)

    def after(self, taken: int, processes: Processes) -> None:
        """Judges if it is due when so many steps have been taken. Raises ``Stop``, on all processes alike."""
        share = None if processes.many else self._share
        if taken < self._next or not self._affordable(share):
            return
        self._next = taken + max(1, taken // self.GROWTH)
        reason = processes.share(self._news() if processes.rank == 0 else None)
        if reason is not None:
            raise Stop(reason)

    def finish(self, processes: Processes) -> None:
        """Tells what the last judgement did not see yet, so that whoever listens has heard of every finding of the verdict."""
        if self._on_finding is not None and processes.rank == 0:
            self._news()

    def _affordable(self, share: float | None) -> bool:
        now = self._clock()
        self._began = now if self._began is None else self._began
        return share is None or self.spent + self._cost <= self.ALLOWANCE + share * (now - self._began - self.spent)

    def _news(self) -> str | None:
        """Judges and tells; the reason to stop, if there is one."""
        began = self._clock()
        report = self._judge()
        self._cost = self._clock() - began
        self.spent += self._cost
        for finding in report.findings:
            key = (finding.code, finding.severity, finding.layers)
            if key in self._told:
                continue
            self._told.add(key)
            if self._on_finding is not None:
                self._on_finding(finding)
            named = finding.rule in self._stop_on or finding.code in self._stop_on
            if named and finding.severity is not Severity.INFO:
                return f"{finding.code} {finding.rule}: {finding.message}"
        return None
