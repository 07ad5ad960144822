"""A profile in one line of text: a block per stretch of layers, its height the logarithm of the size."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gradscope.record.grid import Floats
from gradscope.signals.states import State, States

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-~=+*#"
SIGNS = {State.ABSENT: " ", State.ZERO: "0", State.INF: "∞", State.NAN: "×"}
ASCII_SIGNS = {State.ABSENT: " ", State.ZERO: "0", State.INF: "I", State.NAN: "N"}

LEAST_DECADES = 2.0
"""Least span of the strip's height: over less, level gradients would look uneven."""


@dataclass(frozen=True)
class Strip:
    """``text`` has one character per stretch of layers, input first; ``states`` says what each of them stands for.

    ``low`` and ``high`` are the smallest and largest finite size, None where there is none.
    """

    text: str
    states: tuple[State, ...]
    low: float | None
    high: float | None

    def legend(self, *, ascii_only: bool = False) -> list[tuple[str, State]]:
        """The signs in it that are no blocks, and what they mean."""
        signs = ASCII_SIGNS if ascii_only else SIGNS
        return [(signs[state], state) for state in sorted(set(self.states) - {State.FINITE, State.ABSENT}, reverse=True)]


def strip(
    values: Floats, states: States, width: int, *, ascii_only: bool = False, ends: tuple[float, float] | None = None
) -> Strip:
    """A profile (L,) in at most ``width`` characters, on a logarithmic scale from its smallest to its largest size, or over
    ``ends``, so that several can be compared.

    Where several layers share a character, what must not be missed is shown: NaN, infinity, exactly zero, else the smallest.
    """
    blocks, signs = (ASCII_BLOCKS, ASCII_SIGNS) if ascii_only else (BLOCKS, SIGNS)
    found = np.where(states == State.UNDERFLOW, np.uint8(State.FINITE), states)
    finite = found == State.FINITE
    logs = np.log10(np.where(finite, np.abs(values), 1.0))
    if finite.any():
        low, high = np.log10(ends) if ends else (float(logs[finite].min()), float(logs[finite].max()))
        short = max(LEAST_DECADES - (high - low), 0.0) / 2.0
        heights = np.clip((logs - (low - short)) / max(high - low, LEAST_DECADES) * len(blocks), 0, len(blocks) - 1).astype(int)
    else:
        heights = np.zeros(len(values), int)
    edges = np.linspace(0, len(values), min(max(width, 1), max(len(values), 1)) + 1).astype(int)
    text, shown = [], []
    for start, stop in pairwise(edges):
        state = State(int(found[start:stop].max(initial=State.ABSENT)))
        known = finite[start:stop]
        text.append(blocks[heights[start:stop][known].min()] if state == State.FINITE else signs[state])
        shown.append(state)
    sizes = np.abs(values[finite])
    found_ends = (float(sizes.min()), float(sizes.max())) if sizes.size else (None, None)
    return Strip("".join(text), tuple(shown), *found_ends)
