"""The edge at which a verdict turns between two values of an axis, found by halving: one search a place on the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from gradscope.errors import UsageError, did_you_mean
from gradscope.numbers import number
from gradscope.record.finding import Verdict
from gradscope.sweep.axes import Axis, Cell
from gradscope.sweep.outcome import Outcome
from gradscope.sweep.plan import Plan
from gradscope.sweep.progress import Result, Runs

TOLERANCE = 0.05
"""Width of a bracket, as a share of its upper end, at which a search of numbers that are not whole ends."""


@dataclass(frozen=True)
class Bracket:
    """Where the edge lies at one place on the other axes: between ``without`` and ``found``, the values nearest to each other
    of which one does not have what is searched for and the other does.

    Both are None where there is no edge between the axis's ends; ``reason`` says why.
    """

    at: Mapping[str, Cell]
    without: Cell = None
    found: Cell = None
    reason: str | None = None

    def words(self, key: str) -> str:
        if self.reason:
            return self.reason
        return f"not at {key}={number(float(self.without), 6)}, but at {number(float(self.found), 6)}"  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, object]:
        return {"at": dict(self.at), "without": self.without, "found": self.found, "reason": self.reason}


@dataclass
class _Search:
    """One search: the outcomes that it has had, by value."""

    at: Mapping[str, Cell]
    axis: Axis
    whole: bool
    tolerance: float
    turned: dict[float, bool] = field(default_factory=dict)
    trouble: str | None = None

    def next(self) -> list[float]:
        """The values to try now: none when the search is at its end."""
        low, high = (float(self.axis.values[i].cell) for i in (0, -1))  # type: ignore[arg-type]
        missing = [end for end in (low, high) if end not in self.turned]
        if missing or self.trouble or self.turned[low] == self.turned[high]:
            return [] if self.trouble else missing
        below, above = self.ends()
        middle = math.sqrt(below * above) if self.axis.log else (below + above) / 2
        if self.whole:
            middle = round(middle)
            return [] if above - below <= 1 else [min(max(middle, below + 1), above - 1)]
        wide = above / below - 1 if self.axis.log else (above - below) / max(abs(above), abs(below))
        return [] if wide <= self.tolerance else [float(f"{middle:.6g}")]

    def ends(self) -> tuple[float, float]:
        """The two neighbours between which it turns, the lower one first."""
        tried = sorted(self.turned)
        return next((a, b) for a, b in pairwise(tried) if self.turned[a] != self.turned[b])

    def bracket(self, until: str) -> Bracket:
        if self.trouble:
            return Bracket(self.at, reason=self.trouble)
        if len(set(self.turned.values())) < 2:
            where = "everywhere" if all(self.turned.values()) else "nowhere"
            low, high = (self.axis.values[i].cell for i in (0, -1))
            return Bracket(self.at, reason=f"no edge: {until} {where} between {low} and {high}")
        below, above = (self._cell(end) for end in self.ends())
        return Bracket(self.at, above, below) if self.turned[float(below)] else Bracket(self.at, below, above)

    def _cell(self, value: float) -> int | float:
        return int(value) if self.whole else value


def find(
    plan: Plan, key: str, until: str, runs: Runs, *, told: Callable[[Result, int], None], tolerance: float = TOLERANCE
) -> list[Bracket]:
    """Search along the axis ``key`` for the edge of ``until``, a verdict or a rule's code, between its first and last value.

    ``told`` hears of each result, and of how many more are asked for already. Raises as ``searchable`` does.
    """
    axis, turned = searchable(plan, key), turning(until)
    whole = all(isinstance(cell, int) for cell in axis.cells) and plan.whole(key)
    places = {_place(p.at, key): {k: v for k, v in p.at.items() if k != key} for p in plan.points}
    searches = {at: _Search(rest, axis, whole, tolerance) for at, rest in places.items()}
    open_ = 0
    for search in searches.values():
        open_ += _submit(search, plan, runs)
    while open_:
        for result in runs.results():
            open_ -= 1
            search = searches[_place(result.point.at, key)]
            if result.outcome.verdict is None:
                search.trouble = f"{key}={result.point.at[key]}: {result.outcome.reason or result.outcome.end}"
            else:
                search.turned[float(result.point.at[key])] = turned(result.outcome)  # type: ignore[arg-type]
            if len(search.turned) > 1 or search.trouble:
                open_ += _submit(search, plan, runs)
            told(result, open_)
    return [search.bracket(until) for search in searches.values()]


def searchable(plan: Plan, key: str) -> Axis:
    """The axis to halve. Raises ``UsageError`` for one that the sweep does not have, or that has no two numbers."""
    axis = plan.axis(key)
    if not axis.numeric or len(axis.values) < 2:
        raise UsageError(f"the axis {key} is not one of numbers with two ends: nothing can be halved")
    return axis


def turning(until: str) -> Callable[[Outcome], bool]:
    """What tells whether an outcome has what is searched for. Raises ``UsageError`` for what is neither verdict nor rule."""
    from gradscope.detect.engine import RULES

    codes = {rule.CODE: rule.CODE for rule in RULES.values()} | {name: rule.CODE for name, rule in RULES.items()}
    if until in codes:
        return lambda outcome: codes[until] in outcome.codes
    if until in set(Verdict):
        return lambda outcome: outcome.verdict == until
    known = [*Verdict, *codes]
    raise UsageError(
        f"neither a verdict nor a rule is called {until!r}{did_you_mean(until, known)}",
        hint=f"verdicts are {', '.join(Verdict)}; gradscope rules lists the rules",
    )


def _place(at: Mapping[str, Cell], key: str) -> tuple[Cell, ...]:
    return tuple(cell for name, cell in at.items() if name != key)


def _submit(search: _Search, plan: Plan, runs: Runs) -> int:
    values = search.next()
    for value in values:
        runs.submit(plan.point({k: search.at.get(k, search._cell(value)) for k in (axis.key for axis in plan.axes)}))
    return len(values)
