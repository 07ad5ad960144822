"""How much of the gradient at a recurrent layer's last time step reaches each earlier one, early to late in the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes

from gradscope.numbers import number
from gradscope.record.finding import Report
from gradscope.record.grid import Floats
from gradscope.record.run import Run
from gradscope.render import curves, maps, marks, rows, scales, theme
from gradscope.render.words import count, plain
from gradscope.signals.profiles import Profile
from gradscope.signals.reduce import condense
from gradscope.signals.states import State
from gradscope.signals.through_time import time_ratio

NAME = "through-time"
TITLE = "Gradient through time"

SIGNAL = "time_ratio"
MOST = 4
"""Recurrent layers that are drawn, in forward order; of more the number is said."""
CURVES, MAP, HEAD = 3.0, 2.3, 1.6
"""Inches of one layer's curves, of a map, and of what stands above."""


def size(runs: Sequence[Run], reports: Sequence[Report]) -> tuple[float, float]:
    layers = min(max(len(_names(runs)), 1), MOST)
    return 9.0, HEAD + CURVES * layers + (MAP if len(runs) == layers == 1 else 0.0)


def data(runs: Sequence[Run]) -> Iterator[rows.Row]:
    for name, run in zip(rows.labels(runs), runs, strict=True):
        for profile in time_ratio(run):
            yield from rows.of_time(name, SIGNAL, profile)


def draw(figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report]) -> None:
    names = _names(runs)
    if not names:
        top = theme.head(figure, TITLE, "", runs=rows.labels(runs))
        recurrent = any(layer.recurrent for run in runs for layer in run.catalogue.layers)
        why = "no gradient through time was recorded" + ("" if recurrent else ": no layer is recurrent")
        return theme.say(theme.stack(figure, [1], top=top)[0], why)
    shown = names[:MOST]
    profiles = {name: [_along_time(run, name) for run in runs] for name in shown}
    chosen = {name: curves.curves(runs, profiles[name]) for name in shown}
    every = [curve for name in shown for curve in chosen[name]]
    top = theme.head(figure, TITLE, _reading(runs, names, profiles, chosen), curves.handles(every), runs=rows.labels(runs))
    over = {name: _over_time(runs, reports, name) for name in shown}
    top += max(marks.lane_height(over[name]) for name in shown[:1]) + (0.14 if len(shown) > 1 else 0.0)
    with_map = len(runs) == len(shown) == 1
    gap = 0.72 + (max(marks.lane_height(over[name]) for name in shown) if len(shown) > 1 else 0.0)
    panels = theme.stack(figure, [CURVES, MAP] if with_map else [1] * len(shown), top=top, right=0.95, gap=gap)
    findings = [f for report in reports for f in report.findings if f.signal == SIGNAL]
    limits = [f.threshold for f in findings if marks.drawable(f, {SIGNAL: (1.0, "")})]
    values = [c for name in shown for curve in chosen[name] if (c := curve.of(profiles[name][curve.run]))]
    for axes, name in zip(panels, shown, strict=False):
        shelf = scales.log_axis(axes, values, also=[1.0, *limits])
        axes.axhline(1.0, color=theme.REFERENCE, lw=1.0, zorder=1)
        curves.draw(axes, shelf, chosen[name], profiles[name])
        axes.set_ylabel("against the last time step's")
        times = max((p.layers for p in profiles[name]), key=len)
        scales.layer_axis(axes, times, inches=theme.inches(axes)[0], label="time step, first to last")
        own = [f for f in findings if name in f.layers]
        said = {SIGNAL: (1.0, " of the gradient at the last time step")}
        marks.thresholds(axes, own, said, curves.last_values(chosen[name], profiles[name]))
        if len(runs) == 1:
            marks.bands(axes, over[name])
        marks.lane(axes, over[name])
        if len(shown) > 1:
            lift = 4 + 72 * marks.lane_height(over[name])
            theme.caption(axes, plain(name, 60), pad=lift)
    if with_map:
        _map(figure, panels[1], runs[0], profiles[shown[0]][0])
    return None


def _names(runs: Sequence[Run]) -> list[str]:
    """The recurrent layers of all runs, each once."""
    return list(dict.fromkeys(profile.layer for run in runs for profile in time_ratio(run)))


def _along_time(run: Run, name: str) -> Profile:
    """One layer's ratios, its time steps in the place of layers; without a value where the run has no such layer."""
    found = next((p for p in time_ratio(run) if p.layer == name), None)
    if found is None:
        nothing = np.empty((0, 0))
        return Profile(SIGNAL, np.empty(0, np.int64), (), nothing, nothing.astype(bool))
    return Profile(SIGNAL, found.steps, tuple(f"{t:,}" for t in found.times), found.values, found.present)


def _over_time(runs: Sequence[Run], reports: Sequence[Report], name: str) -> list[marks.Mark]:
    """The findings that name time steps of this layer, along its axis."""
    found = []
    for i, (run, report) in enumerate(zip(runs, reports, strict=False)):
        times = next((p.times for p in time_ratio(run) if p.layer == name), np.empty(0, np.int64))
        for finding in report.findings:
            if name in finding.layers and finding.timesteps is not None and len(times):
                first, last = np.searchsorted(times, finding.timesteps)
                found.append(marks.mark(finding, [(float(first) + 0.5, float(last) + 1.5)], i, runs))
    return found


def _map(figure: theme.Page, axes: Axes, run: Run, profile: Profile) -> None:
    """The ratio at each time step over the training, around 1."""
    end, label = scales.last_step([run])
    wide, tall = theme.inches(axes)
    shown, colours = profile.measured, maps.around_one([profile])
    raster = condense(shown, int(tall * figure.dpi), int(wide * figure.dpi), end=min(run.step_count - 1, end))
    maps.draw(axes, raster, colours, len(profile.layers), cmap=theme.RATIO)
    scales.step_axis(axes, end, label=label + maps.shared(raster, "time step"))
    scales.layer_axis(axes, profile.layers, axis="y", inches=tall, label="time step")
    axes.yaxis.set_label_coords(-0.62 / wide, 0.5)
    maps.bar(figure, [axes], colours, "against the last time step's", cmap=theme.RATIO)
    axes.text(0.0, 1.03, "Over the steps", transform=axes.transAxes, size=8.5, color=theme.QUIET, va="bottom")
    if special := maps.legend([profile]):
        axes.legend(handles=special, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(special), borderaxespad=0.2)


def _reading(
    runs: Sequence[Run],
    names: Sequence[str],
    profiles: dict[str, list[Profile]],
    chosen: dict[str, list[curves.Curve]],
) -> str:
    """How far back the gradient reaches, of the first layer of one run."""
    more = f" Of {count(len(names), 'recurrent layer')} the first {MOST} are drawn." if len(names) > MOST else ""
    if len(runs) > 1:
        return f"Thick: the last step at which all is finite; thin: the first. What is level can be remembered.{more}"
    name = names[0]
    curve = next((c for c in chosen[name] if c.last), None)
    found = curve.of(profiles[name][0]) if curve else None
    if curve is None or found is None or found[1][0] == State.ABSENT or len(found[0]) < 2:
        return more.strip()
    values, times = found[0], profiles[name][0].layers
    passed = f"{_share(float(values[0]))} the gradient at time step {times[-1]} back to {times[0]}"
    text = f"At step {curve.step:,}, {plain(name, 30)} passes {passed}"
    reach = _reach(values)
    if reach is not None:
        text += f"; a hundredth of it is left {count(reach, 'time step')} before the last"
    return f"{text}. What is level can be remembered.{more}"


def _reach(values: Floats) -> int | None:
    """Time steps before the last at which the ratio is first under a hundredth; None where it never is."""
    under = np.flatnonzero(values[::-1] < 0.01)
    return int(under[0]) if under.size else None


def _share(value: float) -> str:
    return f"{number(value)} of" if value < 1.0 else f"{number(value)} times"
