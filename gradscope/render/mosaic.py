"""A small heat map of text: two layers to a line where there is colour, a shade to a cell where there is none."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from rich.color import Color
from rich.style import Style
from rich.text import Text

from gradscope.record.grid import Ints
from gradscope.render.strip import ASCII_SIGNS, LEAST_DECADES, SIGNS
from gradscope.render.terminal import Terminal
from gradscope.signals.reduce import Condensed
from gradscope.signals.states import State

CIVIDIS = (
    (0, 34, 78), (18, 53, 112), (59, 73, 108), (87, 93, 109), (112, 113, 115), (138, 134, 120), (165, 156, 116),
    (195, 179, 105), (225, 204, 85), (254, 232, 56),
)  # fmt: skip
"""Matplotlib's colour map of that name at ninths, from small to large: a terminal's view needs no Matplotlib."""
SHADES, ASCII_SHADES = "░▒▓█", ".:+#"
LEVELS = 28
"""Sizes that are told apart by colour."""
STATES = {State.NAN: (197, 27, 27), State.INF: (249, 138, 27), State.ZERO: (0, 0, 0)}
"""Colours of what has no place on a logarithmic scale, as in the figures; underflow is as small as a colour can say."""


def mosaic(raster: Condensed, lines: int, terminal: Terminal) -> list[Text]:
    """At most ``lines`` lines, the layer nearest to the output on top, a column of the raster to a character.

    In colour a line holds two rows of the raster, as the halves of its characters; NaN, infinity and zero have colours of their
    own. Without colour the shade says the size, and these three are signs.
    """
    halves = terminal.colour and terminal.unicode
    rows = lines * 2 if halves else lines
    levels = _levels(raster)
    count = len(levels)
    picked = np.linspace(0, count - 1, rows).round().astype(int) if count < rows and halves else np.arange(count)
    cells = levels[picked][::-1]
    if not halves:
        return [Text("".join(_sign(int(cell), terminal) for cell in row), no_wrap=True) for row in cells]
    if len(cells) % 2:
        cells = np.concatenate([cells, cells[-1:]])
    return [_halves(upper, lower) for upper, lower in zip(cells[::2], cells[1::2], strict=True)]


def _levels(raster: Condensed) -> Ints:
    """0 to LEVELS - 1 for sizes, on a logarithmic scale; minus the state for what has no size."""
    found = np.where(raster.states == State.UNDERFLOW, np.uint8(State.FINITE), raster.states)
    finite = found == State.FINITE
    logs = np.log10(np.where(finite, np.abs(raster.values), 1.0))
    low, high = (float(logs[finite].min()), float(logs[finite].max())) if finite.any() else (0.0, 0.0)
    short = max(LEAST_DECADES - (high - low), 0.0) / 2.0
    share = (logs - (low - short)) / max(high - low, LEAST_DECADES)
    levels = np.clip(share * LEVELS, 0, LEVELS - 1).astype(np.int64)
    return np.where(finite, levels, -found.astype(np.int64) - 1)


def _sign(cell: int, terminal: Terminal) -> str:
    if cell < 0:
        return (SIGNS if terminal.unicode else ASCII_SIGNS)[State(-cell - 1)]
    shades = SHADES if terminal.unicode else ASCII_SHADES
    return shades[cell * len(shades) // LEVELS]


def _halves(upper: Ints, lower: Ints) -> Text:
    line = Text(no_wrap=True)
    for (above, below), same in groupby(zip(upper.tolist(), lower.tolist(), strict=True)):
        line.append("▀" * sum(1 for _ in same), Style(color=_colour(above), bgcolor=_colour(below)))
    return line


def _colour(cell: int) -> Color:
    if cell >= 0:
        return _PALETTE[cell]
    state = State(-cell - 1)
    return Color.from_rgb(*STATES[state]) if state in STATES else Color.default()


def _palette() -> list[Color]:
    places, anchors = np.linspace(0.0, 1.0, LEVELS), np.array(CIVIDIS, float)
    known = np.linspace(0.0, 1.0, len(CIVIDIS))
    return [Color.from_rgb(*(float(np.interp(p, known, anchors[:, c])) for c in range(3))) for p in places]


_PALETTE = _palette()
