"""How long a sweep still takes: what a point costs, times the points to come, shared by the processes that are at it."""

from __future__ import annotations

import statistics

from gradscope.sweep.outcome import Outcome


class Remaining:
    """``jobs`` processes that take one point after another, from the time ``began`` on; times are in seconds, of one clock."""

    def __init__(self, jobs: int, began: float) -> None:
        self._jobs = jobs
        self._costs: list[float] = []
        self._since = [began] * jobs
        """Since when each point under way is: no more of them than processes, and than points to come."""

    def note(self, outcome: Outcome, now: float, points: int) -> None:
        """A point was carried out and ``points`` are to come, which the idle processes take now.

        What a process does once, for its first point, is no part of what a point costs: imports take longer than many a
        training.
        """
        if outcome.seconds is None:
            return
        self._costs.append(outcome.seconds - outcome.start_seconds)
        begun = now - outcome.seconds
        if self._since:
            self._since.remove(min(self._since, key=lambda since: abs(since - begun)))
        busy = min(self._jobs, points)
        self._since = [*self._since[:busy], *[now] * (busy - len(self._since))]

    def seconds(self, points: int, now: float) -> float | None:
        """Until ``points`` more are done, those under way among them; None before there is anything to go by."""
        if not self._costs or not points or not self._since:
            return None
        cost, under_way = statistics.fmean(self._costs), self._since[:points]
        done = sum(min(now - since, cost) for since in under_way)
        return (cost * points - done) / len(under_way)
