"""How far each layer moves in a step, relative to its size: by layer, early to late, and over the steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes

from gradscope.numbers import number
from gradscope.record.finding import Report
from gradscope.record.grid import Floats
from gradscope.record.run import Run
from gradscope.render import curves, marks, rows, scales, theme
from gradscope.signals.profiles import Profile
from gradscope.signals.ratios import update_ratio
from gradscope.signals.reduce import across_layers, extremes
from gradscope.signals.states import State

NAME = "update-ratio"
TITLE = "Update of each layer relative to its weights"

USUAL = 1e-3
"""A rule of thumb for nets that learn well (Karpathy, CS231n notes: update over weight "around 1e-3")."""


def size(runs: Sequence[Run], reports: Sequence[Report]) -> tuple[float, float]:
    return 9.0, 7.0


def data(runs: Sequence[Run]) -> Iterator[rows.Row]:
    for name, run in zip(rows.labels(runs), runs, strict=True):
        yield from rows.of_profile(name, update_ratio(run))


def draw(figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report]) -> None:
    profiles = [update_ratio(run) for run in runs]
    chosen = curves.curves(runs, profiles)
    if not chosen:
        top = theme.head(figure, TITLE, "", runs=rows.labels(runs))
        return theme.say(theme.stack(figure, [1], top=top)[0], "no update by layer was recorded")
    labels = rows.labels(runs)
    reading = "A layer far under the others stands still while they learn; near 1 a step overthrows what the layer had learnt."
    reading += rows.left_out(labels, {curve.run for curve in chosen})
    top = theme.head(figure, TITLE, reading, curves.handles(chosen), runs=labels)
    found = marks.over_layers(runs, reports, [p.layers for p in profiles])
    by_layer, by_step = theme.stack(figure, [3, 2], top=top + marks.lane_height(found), gap=0.75)
    shelf = scales.log_axis(by_layer, (c for curve in chosen if (c := curve.of(profiles[curve.run]))), also=(USUAL,))
    curves.draw(by_layer, shelf, chosen, profiles)
    by_layer.set_ylabel("update / weight")
    names = profiles[0].layers if len({p.layers for p in profiles}) == 1 else max(len(p.layers) for p in profiles)
    scales.layer_axis(by_layer, names, inches=theme.inches(by_layer)[0], label="layer, from input to output")
    last, findings = curves.last_values(chosen, profiles), [f for report in reports for f in report.findings]
    taken = marks.thresholds(by_layer, findings, {"update_ratio": (1.0, "")}, last)
    drawn = [shown[0] for curve in chosen if (shown := curve.of(profiles[curve.run]))]
    _usual(by_layer, curves.side_by_side(drawn), taken)
    marks.lane(by_layer, found)
    if len(runs) == 1:
        marks.bands(by_layer, found)
    _over_steps(by_step, runs, profiles)
    return None


def _over_steps(axes: Axes, runs: Sequence[Run], profiles: Sequence[Profile]) -> None:
    """The median over layers, in a band from the smallest to the largest."""
    end, label = scales.last_step(runs)
    ranges = [[side.measured.upto(end) for side in across_layers(profile)] for profile in profiles]
    shelf = scales.log_axis(axes, [(s.values, s.states) for sides in ranges for s in sides], also=(USUAL,))
    width, bottom = int(axes.bbox.width / 2), axes.get_ylim()[0]
    for i, (low, middle, high) in enumerate(ranges):
        look = theme.run_look(i)
        at = np.union1d(extremes(low.values, width), extremes(high.values, width))
        lower = np.where(low.values > 0.0, low.values, bottom)
        axes.fill_between(middle.steps[at], lower[at], high.values[at], color=look.colour, alpha=0.18, lw=0)
        curve = {"color": look.colour, "linestyle": look.dash, "marker": look.marker, "markevery": (0, max(1, len(at) // 5))}
        shelf.draw(axes, middle.steps[at], middle.values[at], middle.states[at], **curve, label="median")
        zero = low.states == State.ZERO
        shelf.draw(axes, low.steps[zero], low.values[zero], low.states[zero], color=look.colour, lw=0, label="_zeros")
    _usual(axes, curves.side_by_side([middle.values for _, middle, _ in ranges]), [])
    axes.set_ylabel("update / weight")
    scales.step_axis(axes, end, label=label)
    caption = "Over the steps: the median layer, in a band from the smallest to the largest"
    axes.text(0.0, 1.03, caption, transform=axes.transAxes, size=8.5, color=theme.QUIET, va="bottom")


def _usual(axes: Axes, curve: Floats, taken: marks.Places) -> None:
    axes.axhline(USUAL, color=theme.REFERENCE, lw=1.0, ls=(0, (1, 2)), zorder=1)
    marks.caption(axes, USUAL, f"{number(USUAL)}: usual where a net learns well", theme.QUIET, curve, taken)
