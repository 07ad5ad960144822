"""The verdict over one axis or two, a cell a place: its colour, its sign, and the codes of what was found."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import NullLocator

from gradscope.render import theme
from gradscope.render.words import plain
from gradscope.sweep.axes import Cell
from gradscope.sweep.grouping import Group
from gradscope.sweep.picture import View, label_axis

TITLE = "verdict over {across}"
HATCHES = {"healthy": "", "pathological": "//", "inconclusive": "..", "refused": "xx", "failed": "xx"}
PALE = 0.25
"""How strong the colour of a cell is: the words in it must be read."""


def size(view: View) -> tuple[float, float]:
    tall = len(view.cells(view.up)) if view.up else 1
    return 9.0, min(1.75 + 0.5 * tall, 9.0)


def draw(figure: theme.Page, view: View) -> None:
    x = view.cells(view.across)
    y: list[Cell] = view.cells(view.up) if view.up else [None]
    kinds = [k for k in HATCHES if any(group.verdicts.most_common(1)[0][0] == k for group in view.groups)]
    legend: list[Artist] = [Patch(**_box(kind), label=kind) for kind in kinds]
    keys = " and ".join(plain(axis.key, 40) for axis in (view.across, view.up) if axis)
    seeds = f" Most of {view.seeds} seeds; where they differ, how many." if view.seeds > 1 else ""
    reading = f"In each cell the codes of what was found.{seeds}"
    top = theme.head(figure, f"{plain(view.table.name, 40)}: verdict over {keys}", reading, legend)
    (axes,) = theme.stack(figure, [1.0], top=top)
    wide, tall = theme.inches(axes)
    room = int(wide / len(x) / 0.068)
    for group in view.groups:
        row, column = (y.index(group.at[view.up.key]) if view.up else 0), x.index(group.at[view.across.key])
        verdict = group.verdicts.most_common(1)[0][0]
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1.0, 1.0, **_box(verdict)))
        colour = theme.VERDICT.get(verdict, theme.QUIET)
        text = _words(group, room, lines=int(tall / len(y) / 0.15))
        axes.text(column, row, text, size=7.5, color=colour, ha="center", va="center", linespacing=1.1)
    axes.set_xlim(-0.5, len(x) - 0.5)
    axes.set_ylim(-0.5, len(y) - 0.5)
    axes.spines[:].set_visible(False)
    label_axis(axes, view.across, x, np.arange(float(len(x))))
    if view.up:
        label_axis(axes, view.up, y, np.arange(float(len(y))), side="y")
    else:
        axes.yaxis.set_major_locator(NullLocator())


def _box(verdict: str) -> dict[str, Any]:
    colour = theme.VERDICT.get(verdict, theme.QUIET)
    return {"facecolor": (colour, PALE), "edgecolor": "white", "hatch": HATCHES.get(verdict, ""), "lw": 1.0}


def _words(group: Group, room: int, lines: int) -> str:
    """Sign, share and codes, as far as there is room."""
    verdict, times = group.verdicts.most_common(1)[0]
    sign = theme.VERDICT_SIGN.get(verdict, verdict if len(verdict) <= room else "-")
    first = sign if times == len(group.rows) else f"{sign} {times}/{len(group.rows)}"
    codes = [code for code, _ in group.codes.most_common()]
    text = " ".join([first, *codes])
    if len(text) <= room:
        return text
    return "\n".join([first, *codes][: max(lines, 1)]) if codes and max(map(len, codes)) <= room else first
