"""Curves over layers, early to late, and over steps: what several figures draw alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gradscope.record.grid import Floats
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.render.rows import labels
from gradscope.render.scales import Shelf
from gradscope.render.words import plain
from gradscope.signals.profiles import Profile
from gradscope.signals.reduce import mean_stretches, stretches
from gradscope.signals.states import State, States

MOST_STEPS = 5
"""Curves of one run: more cannot be told apart."""
STRETCHES = 120
"""Points of a curve that jumps from layer to layer: with more it is a block of ink."""


@dataclass(frozen=True)
class Curve:
    """One step of one run's profile: which rows of the profile, and how it looks."""

    run: int
    step: int
    label: str
    look: theme.Look
    width: float
    last: bool
    """Whether it is the run's last step that is finite throughout, which sentences and thresholds speak of."""

    def of(self, profile: Profile) -> tuple[Floats, States] | None:
        """The values and states (L,) of this step in a profile of the same run; None where it was not measured."""
        at = np.searchsorted(profile.steps, self.step)
        if at == len(profile.steps) or profile.steps[at] != self.step or not profile.present[at].any():
            return None
        return profile.values[at], profile.states[at]


def early_to_late(profile: Profile, most: int = MOST_STEPS) -> list[int]:
    """Steps that tell a run's story: dense early, where most changes, to the last; around the first that is not finite.

    That one and the one before it are always among them.
    """
    shown = profile.measured
    count = len(shown.steps)
    broken = np.flatnonzero((shown.states >= State.INF).any(axis=1))
    whole = int(broken[0]) if broken.size else count
    kept = set(_geometric(whole, most if whole == count else most - 2))
    if whole < count:
        kept |= {whole, count - 1}
    return [int(shown.steps[i]) for i in sorted(kept)]


def curves(runs: Sequence[Run], profiles: Sequence[Profile]) -> list[Curve]:
    """One run: up to five steps, early to late. Several: the first and the last finite step of each, in the run's look."""
    if len(runs) == 1:
        chosen = early_to_late(profiles[0])
        finite = last_finite(profiles[0])
        return [
            Curve(0, step, f"step {step:,}", look, 2.2 if step == finite else 1.5, step == finite)
            for step, look in zip(chosen, theme.step_looks(len(chosen)), strict=True)
        ]
    found = []
    for i, (name, profile) in enumerate(zip(labels(runs), profiles, strict=True)):
        finite = last_finite(profile)
        steps = [s for s in (int(profile.measured.steps[0]), finite) if s is not None] if not profile.empty else []
        for step in dict.fromkeys(steps):
            last = step == steps[-1]
            found.append(Curve(i, step, plain(name, 40), theme.run_look(i), 2.2 if last else 0.9, last))
    return found


def last_finite(profile: Profile) -> int | None:
    """The last step at which every value that is there is finite; the first step if there is none; None without a step."""
    shown = profile.measured
    return int(shown.steps[shown.last_finite_row]) if len(shown.steps) else None


def last_values(chosen: Sequence[Curve], profiles: Sequence[Profile]) -> Floats:
    """The values (L,) of the curve that sentences speak of, of the first run that has one; empty where none has."""
    found = next((c.of(profiles[c.run]) for c in chosen if c.last), None)
    return found[0] if found is not None else np.empty(0)


def side_by_side(values: Sequence[Floats]) -> Floats:
    """Curves (n,) of any lengths as one array (k, n), NaN behind the end of each."""
    longest = max(map(len, values), default=0)
    return np.stack([np.pad(v, (0, longest - len(v)), constant_values=np.nan) for v in values])


def draw(axes: Axes, shelf: Shelf, chosen: Sequence[Curve], profiles: Sequence[Profile]) -> list[Line2D]:
    """The chosen steps as curves over layers 1 to L, on a logarithmic axis with shelves."""
    lines = []
    for order, curve in enumerate(chosen):
        found = curve.of(profiles[curve.run])
        if found is not None:
            values, states = found
            look = _line(curve, order, len(values))
            lines.append(shelf.draw(axes, np.arange(1.0, len(values) + 1.0), values, states, **look))
    return lines


def draw_rough(axes: Axes, shelf: Shelf, chosen: Sequence[Curve], profiles: Sequence[Profile], *, shares: bool = False) -> None:
    """The same for a signal that jumps from layer to layer: of many layers the mean over neighbours, geometric but for shares.

    Around the last one a band from the smallest to the largest of them.
    """
    reduced = mean_stretches if shares else stretches
    for order, curve in enumerate(chosen):
        found = curve.of(profiles[curve.run])
        if found is None:
            continue
        values, states = found
        if len(values) <= STRETCHES:
            draw(axes, shelf, [curve], profiles)
            continue
        finite = np.isfinite(values) if shares else (states == State.FINITE) | (states == State.UNDERFLOW)
        look = _line(curve, order, STRETCHES)
        x, low, middle, high = reduced(np.where(finite, values, np.nan), STRETCHES)
        axes.plot(x + 1.0, middle, **look)
        if curve.last:
            axes.fill_between(x + 1.0, low, high, color=curve.look.colour, alpha=0.25, lw=0, zorder=2.0)
        rest = np.where(finite, np.uint8(State.ABSENT), states)
        shelf.draw(axes, np.arange(1.0, len(values) + 1.0), values, rest, **(look | {"label": "_marks"}))


def _line(curve: Curve, order: int, count: int) -> dict[str, Any]:
    return curve.look.line(
        linewidth=curve.width,
        markersize=4.5 if count <= 60 else 4.0,
        markevery=None if count <= 25 else (order * count // 60, max(1, count // 12)),
        alpha=1.0 if curve.last or curve.width > 1.0 else 0.65,
        label=curve.label,
        zorder=2.5 + order / 100,
    )


def handles(chosen: Sequence[Curve]) -> list[Line2D]:
    """Legend entries: one per step, or one per run."""
    kept = {(c.run, c.label): c for c in chosen}.values()
    return [Line2D([], [], **c.look.line(linewidth=1.8, markersize=4.5, label=c.label)) for c in kept]


def _geometric(count: int, most: int) -> list[int]:
    """Up to ``most`` positions of 0..count-1, evenly on a logarithmic scale, both ends among them."""
    if count <= 0:
        return []
    return sorted({0, count - 1, *(int(i) for i in np.round(np.geomspace(1, count, max(most, 2))) - 1)})
