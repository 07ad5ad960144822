"""How long a sweep still takes: what a point costs, times the points to come, shared by the processes that are at it."""

from __future__ import annotations

import statistics

from gradscope.sweep.outcome import Outcome


class Remaining:
    """``jobs`` processes that take one point after another, from the time ``began`` on; times are in seconds, of one clock."""

    def __init__(self, jobs: int, began: float) -> None:
        self._costs: list[float] = []
        self._since = [began] * jobs
        """Since when each process has been at the point that it is at."""

    def note(self, outcome: Outcome, now: float) -> None:
        """A point was carried out; its process takes the next one.

        What a process does once, for its first point, is no part of what a point costs: imports take longer than many a
        training.
        """
        if outcome.seconds is None:
            return
        self._costs.append(outcome.seconds - outcome.start_seconds)
        begun = now - outcome.seconds
        self._since.remove(min(self._since, key=lambda since: abs(since - begun)))
        self._since.append(now)

    def seconds(self, points: int, now: float) -> float | None:
        """Until ``points`` more are done, those that are worked on among them; None before there is anything to go by.

        Where fewer are to come than there are processes, the idle ones are those that have ended a point last.
        """
        if not self._costs or not points:
            return None
        cost = statistics.fmean(self._costs)
        at_it = sorted(self._since)[:points]
        done = sum(min(now - since, cost) for since in at_it)
        return (cost * points - done) / len(at_it)
