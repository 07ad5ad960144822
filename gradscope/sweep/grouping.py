"""Rows of a table that differ in their seed alone, together: a mean with its spread, and how often each verdict fell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gradscope.sweep.axes import SEED, Cell
from gradscope.sweep.outcome import End, Outcome
from gradscope.sweep.table import Row, Table

NO_VERDICT = {End.REFUSED: "refused", End.FAILED: "failed", End.INTERRUPTED: "interrupted"}


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (None of a single one) of the finite values among ``count`` that were measured.

    ``middle`` is their median: where values lie decades apart, as ratios do, the mean is that of the largest alone.
    """

    mean: float
    deviation: float | None
    middle: float
    low: float
    high: float
    finite: int
    count: int


@dataclass(frozen=True)
class Group:
    """The points of one place, over all seeds."""

    at: Mapping[str, Cell]
    rows: tuple[Row, ...]

    @property
    def verdicts(self) -> Counter[str]:
        """How often each verdict fell; of what has none, how it ended."""
        return Counter(verdict_of(row.outcome) for row in self.rows)

    @property
    def codes(self) -> Counter[str]:
        """How many points each rule's code was found in."""
        return Counter(code for row in self.rows for code in row.outcome.codes)

    def spread(self, name: str) -> Spread | None:
        """Of a number; None where no point has it."""
        values = [v for row in self.rows if (v := row.outcome.numbers.get(name)) is not None]
        if not values:
            return None
        finite = sorted(v for v in values if math.isfinite(v))
        if not finite:
            return Spread(values[0], None, values[0], values[0], values[0], 0, len(values))
        count, mean = len(finite), math.fsum(finite) / len(finite)
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in finite) / (count - 1)) if count > 1 else None
        middle = (finite[(count - 1) // 2] + finite[count // 2]) / 2
        return Spread(mean, deviation, middle, finite[0], finite[-1], count, len(values))


def groups(table: Table) -> tuple[Group, ...]:
    """In the order of the table."""
    found: dict[tuple[Cell, ...], list[Row]] = {}
    for row in table.rows:
        found.setdefault(tuple(row.at[axis.key] for axis in table.own_axes), []).append(row)
    return tuple(Group({k: v for k, v in rows[0].at.items() if k != SEED}, tuple(rows)) for rows in found.values())


def verdict_of(outcome: Outcome) -> str:
    return outcome.verdict or NO_VERDICT.get(outcome.end, outcome.end.value)
