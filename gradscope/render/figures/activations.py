"""How many units are dead and how many entries saturated: by layer, early to late, and over the steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradscope.record.finding import Report
from gradscope.record.run import Run
from gradscope.render import curves, marks, rows, scales, theme
from gradscope.render.words import count, plain
from gradscope.signals.activations import dead_share, saturated_share
from gradscope.signals.events import broke_at
from gradscope.signals.profiles import Profile
from gradscope.signals.reduce import across_layers, extremes

NAME = "activations"
TITLE = "Activations that pass nothing on"

MEASURES = {"dead_share": dead_share, "saturated_share": saturated_share}
TITLES = {"dead_share": "Dead units by layer", "saturated_share": "Saturated entries by layer"}
WORDS = {"dead_share": "of the units are dead", "saturated_share": "of the entries are saturated"}
LABELS = {"dead_share": "dead units", "saturated_share": "saturated entries"}
MEANING = {
    "dead_share": "A dead unit passes no gradient for any row of the batch.",
    "saturated_share": "Where an entry is saturated, the slope is under 5% of the activation's largest.",
}


FLAT = ("one-sided", "two-sided")
"""Slopes of activations of which a share can be told."""


def size(runs: Sequence[Run], reports: Sequence[Report]) -> tuple[float, float]:
    return 9.0, 6.4 if len(_measured(runs)) < 2 else 11.6


def data(runs: Sequence[Run]) -> Iterator[rows.Row]:
    for name, run in zip(rows.labels(runs), runs, strict=True):
        for measure in MEASURES.values():
            yield from rows.of_profile(name, measure(run))


def draw(figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report]) -> None:
    measured = _measured(runs)
    if not measured:
        top = theme.head(figure, TITLE, "", runs=rows.labels(runs))
        there = any(layer.activation in FLAT for run in runs for layer in run.catalogue.layers)
        why = "" if there else ": no activation that can die or saturate is a module of its own"
        return theme.say(theme.stack(figure, [1], top=top)[0], f"no dead and no saturated share was recorded{why}")
    parts = figure.subfigures(len(measured), 1, squeeze=False)[:, 0] if len(measured) > 1 else [figure]
    spoken = {f.signal for report in reports for f in report.findings} & set(measured)
    for part, (signal, profiles) in zip(parts, measured.items(), strict=True):
        # a finding about shares stands at its own measure; where there is none, the others show where they are
        found = marks.over_layers(runs, reports, [p.layers for p in profiles])
        kept = [m for m in found if not spoken or m.finding.signal == signal]
        _draw(part, runs, reports, profiles, kept)
    return None


def _measured(runs: Sequence[Run]) -> dict[str, list[Profile]]:
    """The measures of which any run has a value, up to where it broke: of NaN no unit can be told dead or saturated."""
    found = {signal: [_whole(run, measure(run)) for run in runs] for signal, measure in MEASURES.items()}
    return {signal: profiles for signal, profiles in found.items() if not all(p.empty for p in profiles)}


def _whole(run: Run, profile: Profile) -> Profile:
    broke = broke_at(run)
    stop = int(np.searchsorted(profile.steps, broke)) if broke else None
    return replace(profile, steps=profile.steps[:stop], values=profile.values[:stop], present=profile.present[:stop])


def _draw(
    figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report], profiles: Sequence[Profile], found: Sequence[marks.Mark]
) -> None:
    """One measure: by layer, and under it over the steps."""
    signal, names = profiles[0].signal, rows.labels(runs)
    title = TITLES[signal] if isinstance(figure, Figure) or len(runs) > 1 else f"{TITLES[signal]}: {plain(names[0], 60)}"
    chosen = curves.curves(runs, profiles)
    reading = _reading(profiles, chosen) + rows.left_out(names, {curve.run for curve in chosen})
    top = theme.head(figure, title, reading, curves.handles(chosen), runs=names)
    by_layer, by_step = theme.stack(figure, [3, 2], top=top + marks.lane_height(found), gap=0.75)
    shelf = scales.share_axis(by_layer, (c for curve in chosen if (c := curve.of(profiles[curve.run]))))
    curves.draw_rough(by_layer, shelf, chosen, profiles, shares=True)
    by_layer.set_ylabel(LABELS[signal])
    layers = next(p.layers for p in profiles if not p.empty)
    same = all(p.layers == layers for p in profiles if not p.empty)
    named = layers if same else max(len(p.layers) for p in profiles)
    scales.layer_axis(by_layer, named, inches=theme.inches(by_layer)[0], label="activation, from input to output")
    said = [f for report in reports for f in report.findings if f.signal == signal]
    marks.thresholds(by_layer, said, {signal: (1.0, "")}, curves.last_values(chosen, profiles))
    marks.lane(by_layer, found)
    if len(runs) == 1:
        marks.bands(by_layer, found)
    _over_steps(by_step, runs, profiles)


def _over_steps(axes: Axes, runs: Sequence[Run], profiles: Sequence[Profile]) -> None:
    """The median over layers, in a band from the smallest to the largest."""
    end, label = scales.last_step(runs)
    ranges = [[side.measured.upto(end) for side in across_layers(profile)] for profile in profiles]
    shelf = scales.share_axis(axes, [(s.values, s.states) for sides in ranges for s in sides])
    width = int(axes.bbox.width / 2)
    for i, (low, middle, high) in enumerate(ranges):
        if not len(middle.steps):
            continue
        look = theme.run_look(i)
        at = np.union1d(extremes(low.values, width), extremes(high.values, width))
        axes.fill_between(middle.steps[at], low.values[at], high.values[at], color=look.colour, alpha=0.18, lw=0)
        style = look.line(markevery=(0, max(1, len(at) // 5)), markersize=4.0, label="median")
        shelf.draw(axes, middle.steps[at], middle.values[at], middle.states[at], **style)
    axes.set_ylabel(LABELS[profiles[0].signal])
    scales.step_axis(axes, end, label=label)
    caption = "Over the steps: the median layer, in a band from the smallest to the largest"
    axes.text(0.0, 1.03, caption, transform=axes.transAxes, size=8.5, color=theme.QUIET, va="bottom")


def _reading(profiles: Sequence[Profile], chosen: Sequence[curves.Curve]) -> str:
    """The worst layer of one run at its last finite step, and what the measure means."""
    signal = profiles[0].signal
    if len(profiles) > 1:
        return f"Thick: the last step, thin: the first. {MEANING[signal]}"
    curve = next(c for c in chosen if c.last)
    values = (curve.of(profiles[0]) or (np.empty(0), None))[0]
    known = np.flatnonzero(np.isfinite(values))
    if not known.size:
        return MEANING[signal]
    worst, half = int(known[values[known].argmax()]), int((values[known] >= 0.5).sum())
    at = f"at {plain(profiles[0].layers[worst], 30)}, the worst layer"
    share = f"{values[worst]:.0%}" if values[worst] >= 0.005 else "under 1%"
    text = f"At step {curve.step:,}, " + (
        f"{share} {WORDS[signal]} {at}" if values[worst] else f"none {WORDS[signal]} anywhere"
    )
    if half:
        text += f"; half or more at {half:,} of {count(len(known), 'layer')}"
    return f"{text}. {MEANING[signal]}"
