"""How long a sweep still takes: what a point costs, times the points to come, shared by the processes that are at it."""

from __future__ import annotations

from gradscope.sweep.outcome import Outcome

BEYOND = 0.1
"""The share of points that may last longer than any that is done: of more than that, an average says nothing yet."""


class Remaining:
    """``jobs`` processes that take one point after another, from the time ``began`` on; times are in seconds, of one clock."""

    def __init__(self, jobs: int, began: float) -> None:
        self._jobs = jobs
        self._costs: list[float] = []
        self._since = [began] * jobs
        """Since when each point under way is: no more of them than processes, and than points to come."""
        self._known = False

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
        self._known = self._known or self._cost(now)[1] <= BEYOND

    def seconds(self, points: int, now: float) -> float | None:
        """Until ``points`` more are done, those under way among them; None before there is enough to go by."""
        if not self._known or not points or not self._since:
            return None
        (cost, _), under_way = self._cost(now), self._since[:points]
        done = sum(min(now - since, cost) for since in under_way)
        return (cost * points - done) / len(under_way)

    def _cost(self, now: float) -> tuple[float, float]:
        """What a point costs in the mean, and the share of points that last longer than any that is done.

        Of several at a time those that are quick are done first, so the mean of what is done is too low. A point under way
        costs more than it did so far: its weight goes to all that cost more than that (Kaplan & Meier 1958, as Efron 1967 has
        it), and what lasts longest counts as if it ended now.
        """
        seen = sorted([*((cost, False) for cost in self._costs), *((now - since, True) for since in self._since)])
        mean, weight, longer = 0.0, 1.0 / len(seen), len(seen)
        for cost, under_way in seen:
            longer -= 1
            if under_way and longer:
                weight += weight / longer
            else:
                mean += weight * cost
        return mean, weight if seen[-1][0] > max(self._costs) else 0.0
