"""The loss over the steps, in training and validation, and what happened on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from gradscope.numbers import number
from gradscope.record.finding import Report
from gradscope.record.grid import Ints
from gradscope.record.run import Run
from gradscope.render import marks, rows, scales, theme
from gradscope.render.words import contiguous, count, plain
from gradscope.signals.events import Events, Series, events, series
from gradscope.signals.reduce import extremes

NAME = "loss"
TITLE = "Loss"

LOG_FROM = 20.0
"""Ratio of largest to smallest loss from which the axis is logarithmic."""
LANE = 0.17
"""Inches that one kind of event takes under the curves."""
BESIDE = 0.06
"""Inches from a lane to the mark of its run, and from there to its name."""
BARS = 2000
"""Steps of a lane that are told apart; of a longer run neighbours are drawn as one, no wider than a hair."""
FEW = 12
"""Finite values up to which each of them is marked: a single one is no line."""
EVENTS = {"nonfinite": "not finite", "spikes": "spike", "skipped": "skipped step", "clipped": "clipped"}
COLOURS = {"nonfinite": "#c51b1b", "spikes": "#b35806", "skipped": "#8e6bbf", "clipped": "#8c8c8c"}


ROOM = 0.7
"""Inches for lanes that a page has without growing: of several runs there may be many, and the curves need theirs."""


def size(runs: Sequence[Run], reports: Sequence[Report]) -> tuple[float, float]:
    return 9.0, 4.6 + growth(runs, reports)


def growth(runs: Sequence[Run], reports: Sequence[Report]) -> float:
    """Inches that the lanes of findings and events need beyond those that are there for them."""
    lanes = sum(len(_kinds(events(run))) for run in runs)
    return max(marks.lane_height(marks.over_steps(runs, reports)) + LANE * lanes - ROOM, 0.0)


def _kinds(happened: Events) -> list[str]:
    return [kind for kind in EVENTS if len(getattr(happened, kind))]


def data(runs: Sequence[Run]) -> Iterator[rows.Row]:
    for name, run in zip(rows.labels(runs), runs, strict=True):
        for column in ("loss", "validation_loss", "total_norm", "clip_coefficient", "skipped"):
            yield from rows.of_series(name, series(run, column))


def draw(figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report]) -> None:
    names, (end, label) = rows.labels(runs), scales.last_step(runs)
    training, validation = ([series(run, c).upto(end) for run in runs] for c in ("loss", "validation_loss"))
    happened, found = [events(run) for run in runs], marks.over_steps(runs, reports)
    there = any(not s.empty for s in [*training, *validation])
    legend = _legend(names, validation) if there else []
    top = theme.head(figure, TITLE, _reading(training, happened, runs[0].step_count), legend, runs=names)
    lanes = [(i, kind) for i, these in enumerate(happened) for kind in _kinds(these)]
    below = LANE * len(lanes)
    top += marks.lane_height(found)
    heights = [max(theme.page(figure)[1] - top - theme.BOTTOM - below, 1.0), below] if lanes else [1.0]
    axes = theme.stack(figure, heights, top=top, gap=0.05)
    panel = axes[0]
    if not there:
        theme.say(panel, "no loss was recorded")
    shelf = _scale(panel, [*training, *validation])
    for i in range(len(runs)):
        _curves(panel, shelf, training[i].measured, validation[i].measured, happened[i].spikes, i, len(runs))
    panel.set_ylabel("loss")
    scales.step_axis(axes[-1], end, label=label)
    panel.set_xlim(axes[-1].get_xlim())
    marks.lane(panel, found)
    if len(runs) == 1:
        marks.bands(panel, found)
    if lanes:
        _lanes(axes[1], lanes, happened)
        panel.set_xticks([])


def _scale(axes: Axes, shown: Sequence[Series]) -> scales.Shelf:
    """Logarithmic where the loss is positive and spans much, else linear."""
    values = np.concatenate([s.values[s.present & np.isfinite(s.values)] for s in shown])
    wide = bool(values.size) and values.min() > 0.0 and values.max() / values.min() > LOG_FROM
    return (scales.log_axis if wide else scales.linear_axis)(axes, [(s.values, s.states) for s in shown])


def _curves(axes: Axes, shelf: scales.Shelf, train: Series, valid: Series, spikes: Ints, i: int, runs: int) -> None:
    """One run: training as a line, validation dashed with open marks, a mark where the loss begins to spike."""
    look = theme.run_look(i)
    at = extremes(train.values, max(int(axes.bbox.width / 2), 1))
    style: dict[str, Any] = {"color": look.colour, "lw": 1.4, "zorder": 2 + i}
    if np.isfinite(train.values).sum() <= FEW:
        style |= {"marker": look.marker, "markersize": 3.5}
    elif runs > 1:
        style |= {"marker": look.marker, "markevery": (0, max(1, len(at) // 5)), "markersize": 4.5}
    shelf.draw(axes, train.steps[at], train.values[at], train.states[at], **style, label="training")
    shelf.draw(axes, valid.steps, valid.values, valid.states, **_dashed(look), lw=1.2, zorder=3 + i, label="validation")
    spiked = np.isin(train.steps, [first for first, _ in contiguous([int(step) for step in spikes])])
    if spiked.any():
        axes.plot(
            train.steps[spiked], train.values[spiked], ls="none", marker="v", color=COLOURS["spikes"], label="spikes", zorder=9
        )


def _dashed(look: theme.Look) -> dict[str, Any]:
    return {
        "color": look.colour,
        "linestyle": (0, (2, 1.5)),
        "marker": look.marker,
        "markersize": 5.0,
        "markerfacecolor": "white",
    }


def _lanes(axes: Axes, lanes: Sequence[tuple[int, str]], happened: Sequence[Events]) -> None:
    """One lane per kind of event, a bar for each stretch of steps in which it happened; of several runs, the run's mark."""
    several, wide = len(happened) > 1, theme.inches(axes)[0]
    axes.set_ylim(len(lanes), 0)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(NullLocator())
    for row, (i, kind) in enumerate(lanes):
        together = max(1, int(axes.get_xlim()[1]) // BARS)
        stretches = contiguous((getattr(happened[i], kind) // together).tolist())
        spans = [(a * together - 0.5, (b - a + 1.0) * together) for a, b in stretches]
        axes.broken_barh(spans, (row + 0.15, 0.7), color=COLOURS[kind], lw=0.8, gid=f"event-{kind}")
        beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "clip_on": False}
        axes.text(-2.0 * BESIDE / wide, row + 0.5, EVENTS[kind], size=7.5, ha="right", va="center", **beside)
        if several:
            look = theme.run_look(i)
            axes.plot([-BESIDE / wide], [row + 0.5], color=look.colour, marker=look.marker, ms=4.0, label="_run", **beside)


def _legend(names: Sequence[str], validation: Sequence[Series]) -> list[Line2D]:
    several = len(names) > 1
    looks = [theme.run_look(i) for i in range(len(names))]
    entries = [
        Line2D(
            [],
            [],
            color=look.colour,
            marker=look.marker if several else "",
            lw=1.6,
            label=plain(name, 40) if several else "training",
        )
        for name, look in zip(names, looks, strict=True)
    ]
    if any(not v.empty for v in validation):
        style = _dashed(looks[0]) | ({"color": theme.QUIET} if several else {})
        entries.append(Line2D([], [], **style, label="validation"))
    return entries


def _reading(training: Sequence[Series], happened: Sequence[Events], steps: int) -> str:
    """From where to where, and what happened on the way, with numbers."""
    if len(training) > 1:
        return ""
    loss, these = training[0].measured, happened[0]
    finite = np.flatnonzero(np.isfinite(loss.values))
    words = []
    if finite.size:
        start, stop, last = loss.values[finite[0]], loss.values[finite[-1]], loss.steps[finite[-1]]
        from_ = f"from {number(float(start), 4)} to " if len(finite) > 1 else ""
        words.append(f"{from_}{number(float(stop), 4)} at step {last:,}")
    if len(these.nonfinite):
        words.append(f"not finite from step {these.nonfinite[0]:,}")
    if len(these.spikes):
        words.append(count(len(these.spikes), "spike"))
    if len(these.skipped):
        words.append(f"{count(len(these.skipped), 'step')} not taken")
    if len(these.clipped):
        of = count(steps, "step") if len(these.read) == steps else f"the {count(len(these.read), 'step')} that read it"
        words.append(f"the gradient was clipped in {len(these.clipped):,} of {of}")
    text = "; ".join(words)
    return text[:1].upper() + text[1:] + "." if text else ""
