"""Which steps are read: a fixed schedule, or as often as a budget of the step time allows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gradscope.errors import UsageError

KINDS = ("gradients", "parameters", "layers", "timesteps")
"""What a step can read: the norms of the gradients; gradients, weights and updates in full; layers; time steps."""
GRADIENTS, PARAMETERS, LAYERS, TIMESTEPS = KINDS
Plan = frozenset[str]
"""The kinds that one step reads."""
EVERYTHING: Plan = frozenset((PARAMETERS, LAYERS, TIMESTEPS))
NORMS: Plan = frozenset((GRADIENTS,))
NOTHING: Plan = frozenset()


class Cadence(Protocol):
    def plan(self, step: int) -> Plan:
        """What to read at this step; asked once a step, in order."""
        ...

    def account(self, plan: Plan, spent: float, elapsed: float) -> None:
        """A step under this plan cost ``spent`` seconds of reading and took ``elapsed`` in all."""
        ...

    def describe(self) -> dict[str, str]:
        """``cadence``, as it was set, and ``took``, what became of it, where that is not the same."""
        ...


@dataclass
class Fixed:
    """Each kind at the steps with ``step % n == 0``, and at ``last``, where the length of the run is known; 0 is never."""

    every: Mapping[str, int]
    last: int | None = None

    def __post_init__(self) -> None:
        for kind, n in self.every.items():
            if kind not in KINDS:
                raise UsageError(f"every: unknown kind {kind!r} (expected one of {', '.join(KINDS)})")
            if not isinstance(n, int) or n < 0:
                raise UsageError(f"every: {kind} must be 0 (never) or a positive number of steps (got {n!r})")

    def plan(self, step: int) -> Plan:
        return frozenset(k for k, n in self.every.items() if n and (step % n == 0 or step == self.last))

    def account(self, plan: Plan, spent: float, elapsed: float) -> None:
        pass

    def describe(self) -> dict[str, str]:
        names = [f"{kind} {_every(n)}" for kind, n in self.every.items() if n]
        return {"cadence": ", ".join(names) or "nothing but the loss"}


@dataclass
class Adaptive:
    """Everything at steps 0, 1, 2, 4 ... 128; otherwise as often as ``overhead`` (a share of the step time) allows.

    In the first ``FIRST`` seconds of a training reading has an allowance of ``ALLOWANCE`` seconds in all that the budget does
    not count, so that short runs are seen well; it is spent at steps that thin out (16 per doubling). Then the budget rules.
    What every step costs comes first; half of the rest reads everything, half the norms of the gradients alone. A sample that
    is due always, after step ``EARLY``, and that its own half cannot pay, is paid by both. What reading costs is measured
    while it runs.
    """

    overhead: float = 0.02
    total: float = 0.0
    """Seconds that the steps took without what was recorded, pauses between them left out."""
    spent: dict[str, float] = field(default_factory=lambda: {"full": 0.0, GRADIENTS: 0.0, "idle": 0.0})
    counted: dict[str, int] = field(default_factory=lambda: {"full": 0, GRADIENTS: 0})
    steps: int = 0
    _cost: dict[str, float] = field(default_factory=lambda: {"full": 0.0, GRADIENTS: 0.0})
    _free: float = 0.0
    """What has been taken of the allowance."""
    _lent: float = 0.0
    """What the half of the gradients has paid of full samples."""
    _next: int = 0
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=32))
    _step_time: float = 0.0

    ALLOWANCE = 0.5
    FIRST = 1.0
    ALWAYS = frozenset([0] + [2**i for i in range(8)])
    EARLY = 32
    PER_DOUBLING = 16
    IDLE = 2.0
    """What a step that reads nothing costs, as a multiple of what a clock inside sees: the training finds its cache cold."""

    def plan(self, step: int) -> Plan:
        if step in self.ALWAYS:
            return EVERYTHING
        half = 0.5 * (self.overhead * self.total - self.spent["idle"])
        if step >= self._next and self.spent["full"] + self._cost["full"] <= self._allowance + half:
            return EVERYTHING
        return NORMS if self.spent[GRADIENTS] + self._lent + self._cost[GRADIENTS] <= half else NOTHING

    def account(self, plan: Plan, spent: float, elapsed: float) -> None:
        recent = self._recent
        recent.append(max(elapsed - spent, 0.0))
        if self.steps % 8 == 0 or self.steps < 32:
            # the lower quartile of the last steps: a pause for validation, a checkpoint or a slow loader is no step time
            self._step_time = sorted(recent)[len(recent) // 4]
        self.total += self._step_time
        self.steps += 1
        if not plan:
            self.spent["idle"] += self.IDLE * spent
            return
        kind = GRADIENTS if plan == NORMS else "full"
        self.spent[kind] += spent
        self.counted[kind] += 1
        self._cost[kind] = spent if self.counted[kind] == 1 else 0.7 * self._cost[kind] + 0.3 * spent
        if kind == "full":
            if self.total < self.FIRST:
                self._free = min(self.spent[kind], self.ALLOWANCE)
            left = self._allowance - self.spent[kind]
            self._next = self.steps + (max(0, self.steps // self.PER_DOUBLING - 1) if left >= 0 else 0)
            if self.steps > self.EARLY + 1 and left + 0.5 * (self.overhead * self.total - self.spent["idle"]) < 0:
                self._lent += spent

    @property
    def _allowance(self) -> float:
        return self.ALLOWANCE if self.total < self.FIRST else self._free

    def gap(self, kind: str) -> int:
        """Steps between two samples of a kind that keep its half of the budget, by what both have cost so far."""
        allowed = 0.5 * (self.overhead * self.total - self.spent["idle"]) / max(self.steps, 1)
        return max(1, min(10**6, math.ceil(self._cost[kind] / allowed))) if allowed > 0 else 10**6

    def describe(self) -> dict[str, str]:
        set_ = f"{self.ALLOWANCE:g} s in the first {self.FIRST:g} s, then {self.overhead:.3g} of the step time"
        if not self.total:
            return {"cadence": set_}
        norms, full = (max(1, round(self.steps / n)) if n else 0 for n in (sum(self.counted.values()), self.counted["full"]))
        spent = sum(self.spent.values())
        took = f"{spent:.2g} s beside {self.total:.2g} s of training"
        return {"cadence": set_, "took": f"{took}; gradient norms {_every(norms)}, layers and weights {_every(full)}"}


@dataclass
class Shared:
    """An adaptive cadence that several processes follow as one: at each full sample rank 0 says when the next ones are due.

    ``agree`` gives rank 0's number to every process; it is called after full samples only, so that no other step waits.
    """

    own: Adaptive
    agree: Callable[[int], int]
    _next: int = 0
    _stride: int = 1
    _step: int = 0

    def plan(self, step: int) -> Plan:
        self._step = step
        if step in Adaptive.ALWAYS or step == self._next:
            return EVERYTHING
        return NORMS if self._stride and step % self._stride == 0 else NOTHING

    def account(self, plan: Plan, spent: float, elapsed: float) -> None:
        self.own.account(plan, spent, elapsed)
        if plan == EVERYTHING:
            self._next = self._step + self.agree(self.own.gap("full"))
            self._stride = self.agree(self.own.gap(GRADIENTS))

    def describe(self) -> dict[str, str]:
        return self.own.describe()


def _every(n: int) -> str:
    return "never" if not n else "every step" if n == 1 else f"every {n:,} steps"


def cadence(every: int | Mapping[str, int] | None, overhead: float, last: int | None = None) -> Cadence:
    """From what a user gives: None adapts, a number reads everything at every n-th step, a mapping each kind at its own."""
    if every is None:
        if not isinstance(overhead, int | float) or not 0 <= overhead < 1:
            raise UsageError(f"overhead must be a share of the step time in [0, 1) (got {overhead!r})")
        return Adaptive(overhead)
    if isinstance(every, int):
        if every < 1:
            raise UsageError(f"every must be a positive number of steps (got {every})")
        return Fixed(dict.fromkeys((PARAMETERS, LAYERS, TIMESTEPS), every), last)
    if not isinstance(every, Mapping):
        raise UsageError(f"every must be None, a number of steps, or a mapping of {', '.join(KINDS)} to one (got {every!r})")
    return Fixed(dict(every), last)
