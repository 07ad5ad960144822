"""Judging while a training runs: when, which findings are news, and which of them ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gradscope.capture.distributed import Processes
from gradscope.detect.case import PATIENCE
from gradscope.detect.engine import RULES
from gradscope.record.finding import Finding, Report, Severity
from gradscope.signals.achievement import LATE


class Stop(Exception):  # noqa: N818  it is no error but the end of a loop, as StopIteration is
    """Raised by ``Scope.step`` when a finding that ``stop_on`` names appears; leaving the ``with`` block swallows it."""


class Judging:
    """The whole record so far is judged at steps that grow by an eighth: over a run of any length all judgements together
    cost at most nine times what the last one does.

    **A finding counts when it stands.** Most rules ask what a run achieved, and early in a run that is nothing: what holds then
    need not hold in the end. So a finding is told, and may end the run, only

    - once the run has had its chance: a quarter of ``planned`` steps, but no fewer than the rules' own patience (32) and no
      more than eight times that, which is what it is where nobody knows the plan; counted from the end of a warm-up;
    - and once it was found in every judgement over the last fifth of the run. What was achieved is read there: the first and
      the last of these judgements share none of the steps that they read it on.

    Findings that nothing takes back (``FOR_GOOD`` of their rule) are told, and end the run, at once.

    ``share`` bounds them besides, as a part of the time that the training itself takes, beyond an allowance of ``ALLOWANCE``
    seconds; None where the steps must be a function of the step's number alone: of a run that is to end at the same step
    each time, and of several processes, of which rank 0 judges and all stop together.
    """

    ALLOWANCE = 0.5
    GROWTH = 8
    FEWEST, MOST = int(PATIENCE.value), 8 * int(PATIENCE.value)
    CHANCE = 4

    def __init__(
        self,
        judge: Callable[[], Report],
        on_finding: Callable[[Finding], None] | None = None,
        stop_on: Sequence[str] = (),
        share: float | None = None,
        planned: int | None = None,
        warming_up: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._judge = judge
        self._on_finding = on_finding
        self._stop_on = tuple(stop_on)
        self.wanted = on_finding is not None or bool(self._stop_on)
        """Whether anybody listens."""
        self._share = share
        self._chance = self.MOST if planned is None else min(max(planned // self.CHANCE, self.FEWEST), self.MOST)
        self._warming_up = warming_up
        self._rose = False
        self._warm = 0
        """After how many steps the learning rate was first found to rise no more."""
        self._since: dict[tuple[str, Severity], int] = {}
        """After how many steps a rule was first found to speak, at this severity or above, as it did ever since."""
        self._clock = clock
        self._began: float | None = None
        self._next = 1
        self._cost = 0.0
        self._told: set[tuple[str, Severity, tuple[str, ...]]] = set()
        self.spent = 0.0
        """Seconds that judging took, what ``on_finding`` did left out."""

    def after(self, taken: int, processes: Processes) -> None:
        """Judges if it is due when so many steps have been taken. Raises ``Stop``, on all processes alike."""
        share = None if processes.many else self._share
        if taken < self._next or not self._affordable(share):
            return
        self._next = taken + max(1, taken // self.GROWTH)
        reason = processes.share(self._news(taken) if processes.rank == 0 else None)
        if reason is not None:
            raise Stop(reason)

    def finish(self, processes: Processes) -> None:
        """Tells what was not told yet, so that whoever listens has heard of every finding of the verdict."""
        if self._on_finding is not None and processes.rank == 0:
            for finding in self._judged().findings:
                self._tell(finding)

    def _affordable(self, share: float | None) -> bool:
        now = self._clock()
        self._began = now if self._began is None else self._began
        return share is None or self.spent + self._cost <= self.ALLOWANCE + share * (now - self._began - self.spent)

    def _judged(self) -> Report:
        began = self._clock()
        report = self._judge()
        self._cost = self._clock() - began
        self.spent += self._cost
        return report

    def _news(self, taken: int) -> str | None:
        """Judges and tells; the reason to stop, if there is one."""
        report = self._judged()
        rising = self._warming_up()
        if rising or self._rose:
            self._warm = taken
        self._rose = rising
        found = {(f.code, severity) for f in report.findings for severity in Severity if severity.rank <= f.severity.rank}
        self._since = {key: self._since.get(key, taken) for key in sorted(found)}
        for finding in report.findings:
            if not self._stands(finding, taken):
                continue
            self._tell(finding)
            named = finding.rule in self._stop_on or finding.code in self._stop_on
            if named and finding.severity is not Severity.INFO:
                return f"{finding.code} {finding.rule}: {finding.message}"
        return None

    def _stands(self, finding: Finding, taken: int) -> bool:
        if getattr(RULES[finding.rule], "FOR_GOOD", False):
            return True
        since = max(self._since[finding.code, finding.severity], self._warm)
        return taken >= self._warm + self._chance and since <= (1.0 - LATE) * taken

    def _tell(self, finding: Finding) -> None:
        key = (finding.code, finding.severity, finding.layers)
        if key not in self._told and self._on_finding is not None:
            self._on_finding(finding)
        self._told.add(key)
