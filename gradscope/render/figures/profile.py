"""The gradient's size by layer, from input to output, early to late; below it how much each layer passes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from gradscope.numbers import number
from gradscope.record.finding import Report
from gradscope.record.grid import Floats
from gradscope.record.run import Run
from gradscope.render import curves, marks, rows, scales, theme
from gradscope.render.words import count, plain
from gradscope.signals.profiles import Profile, depth_profile, parameter_profile
from gradscope.signals.ratios import backward_gain, backward_ratio, geometric_mean, noise_floor, predicted_backward_ratio
from gradscope.signals.states import State

NAME = "profile"
TITLE = "Gradient by layer"

NORMS = {"backward_norm": "gradient norm", "grad_norm": "weight gradient's norm"}

THEORY: dict[str, Any] = {
    "color": theme.INK,
    "linestyle": (0, (1.5, 1.5)),
    "linewidth": 1.5,
    "path_effects": [withStroke(linewidth=3.2, foreground="white")],  # or a curve that obeys theory would hide it
}


def size(runs: Sequence[Run], reports: Sequence[Report]) -> tuple[float, float]:
    return 9.0, 6.2


def gradients(runs: Sequence[Run]) -> list[Profile]:
    """What is drawn: the back-propagated gradient by depth, or, where a run has weight gradients alone, those of all."""
    found, weights = [depth_profile(run) for run in runs], [parameter_profile(run) for run in runs]
    return weights if any(p.empty and not w.empty for p, w in zip(found, weights, strict=True)) else found


def data(runs: Sequence[Run]) -> Iterator[rows.Row]:
    for name, run, profile in zip(rows.labels(runs), runs, gradients(runs), strict=True):
        yield from rows.of_profile(name, profile)
        yield from rows.of_profile(name, backward_ratio(run))
        yield from rows.of_profile(name, predicted_backward_ratio(run))
        yield from rows.of_profile(name, backward_gain(run))


def draw(figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report]) -> None:
    profiles, gains = gradients(runs), [backward_gain(run) for run in runs]
    chosen = curves.curves(runs, profiles)
    if not chosen:
        top = theme.head(figure, TITLE, "", runs=rows.labels(runs))
        return theme.say(theme.stack(figure, [1], top=top)[0], "no gradient by layer was recorded")
    floor = _chance(runs[0]) if len(runs) == 1 and profiles[0].signal == "backward_norm" else None
    legend: list[Artist] = [*curves.handles(chosen)]
    theory = _theory(runs[0], profiles[0]) if len(runs) == 1 else None
    if theory is not None:
        legend.append(Line2D([], [], **THEORY, label="theory, before training"))
    if floor is not None:
        legend.append(Patch(color=theme.CHANCE, label="what chance alone gives"))
    labels = rows.labels(runs)
    reading = _reading(runs, profiles, gains, chosen) + rows.left_out(labels, {curve.run for curve in chosen})
    top = theme.head(figure, TITLE, reading, legend, runs=labels)
    found = marks.over_layers(runs, reports, [p.layers for p in profiles])
    with_gain = any(not gain.empty and len(gain.layers) > 1 for gain in gains)
    axes = theme.stack(figure, [5, 2] if with_gain else [1], top=top + marks.lane_height(found))
    names = profiles[0].layers if len({p.layers for p in profiles}) == 1 else max(len(p.layers) for p in profiles)
    above, scale = axes[0], _scale(profiles, chosen) if len(runs) == 1 else {}
    findings = [f for report in reports for f in report.findings]
    limits = [f.threshold * scale[f.signal][0] for f in findings if marks.drawable(f, scale)]
    expected = theory[np.isfinite(theory)].tolist() if theory is not None else []
    shelf = scales.log_axis(above, (c for curve in chosen if (c := curve.of(profiles[curve.run]))), also=[*limits, *expected])
    if floor is not None and "hidden_backward_ratio" in scale:
        middle, x = scale["hidden_backward_ratio"][0], np.arange(1.0, len(floor.layers) + 1.0)
        limits_kept = above.get_ylim()
        above.fill_between(x, middle / floor.values[0], middle * floor.values[0], color=theme.CHANCE, lw=0, zorder=0.2)
        above.set_ylim(limits_kept)
    curves.draw(above, shelf, chosen, profiles)
    if theory is not None:
        above.plot(np.arange(1.0, len(theory) + 1.0), theory, **THEORY, zorder=4, gid="theory")
    above.set_ylabel(NORMS[profiles[0].signal])
    marks.thresholds(above, findings, scale, curves.last_values(chosen, profiles))
    if len(runs) == 1:
        for panel in axes:
            marks.bands(panel, found)
    if with_gain:
        _gains(axes[1], gains, chosen)
        above.set_xticks([])
    scales.layer_axis(axes[-1], names, inches=theme.inches(above)[0], label="layer, from input to output")
    above.set_xlim(axes[-1].get_xlim())
    marks.lane(above, found)
    return None


def _chance(run: Run) -> Profile | None:
    """The factors within which chance alone leaves a ratio; None where they are not known, or one layer has them: no shape."""
    floor = noise_floor(run)
    return None if floor.empty or len(floor.layers) < 2 else floor


def _theory(run: Run, profile: Profile) -> Floats | None:
    """Theory's norms (L,), in the scale of the first step's gradient at the last layer; None where there is no such line.

    NaN where theory has no word, or a number that no float holds.
    """
    predicted = predicted_backward_ratio(run)
    first = profile.measured
    if profile.signal != "backward_norm" or predicted.empty or not len(first.steps) or first.states[0, -1] != State.FINITE:
        return None
    with np.errstate(over="ignore", under="ignore"):
        norms = predicted.values[0] * first.values[0, -1]
    return np.where(np.isfinite(norms) & (norms > 0.0), norms, np.nan)


def _gains(axes: Axes, gains: Sequence[Profile], chosen: Sequence[curves.Curve]) -> None:
    """How much of the gradient each layer passes on, around the line at 1."""
    shelf = scales.log_axis(axes, (c for curve in chosen if (c := curve.of(gains[curve.run]))), least=4.0, also=(1.0,))
    axes.axhline(1.0, color=theme.REFERENCE, lw=1.0, zorder=1)
    curves.draw_rough(axes, shelf, chosen, gains)
    axes.set_ylabel("gain per layer")


def _scale(profiles: Sequence[Profile], chosen: Sequence[curves.Curve]) -> dict[str, tuple[float, str]]:
    """Where a ratio of 1 lies among the norms of the last finite step, for the signals that are ratios of them."""
    profile = profiles[0]
    found = next((c.of(profile) for c in chosen if c.last), None)
    if profile.signal != "backward_norm" or found is None:
        return {"grad_norm": (1.0, "")} if profile.signal == "grad_norm" else {}
    values, states = found
    references = {"backward_ratio": -1, "hidden_backward_ratio": -2}
    return {
        signal: (float(values[at]), f" of the gradient at {plain(profile.layers[at], 24)}")
        for signal, at in references.items()
        if len(values) >= -at and states[at] == State.FINITE
    } | {"backward_norm": (1.0, "")}


def _reading(runs: Sequence[Run], profiles: Sequence[Profile], gains: Sequence[Profile], chosen: Sequence[curves.Curve]) -> str:
    """What one sees, in a sentence."""
    if len(runs) > 1:
        return "Thick: the last step at which all is finite; thin: the first step. Level curves are healthy."
    profile, curve = profiles[0], next(c for c in chosen if c.last)
    values, states = curve.of(profile) or (np.empty(0), np.empty(0, np.uint8))
    words = []
    if len(values) > 1 and (states[[0, -1]] == State.FINITE).all():
        ratio = float(values[0] / values[-1])
        share = f"{number(ratio)} of" if ratio < 0.1 else f"{number(ratio)} times"
        words.append(f"At step {curve.step:,} the first layer receives {share} the gradient that the last one does")
    zeros = int((states == State.ZERO).sum())
    if zeros:
        words.append(f"at step {curve.step:,} exactly nothing reaches {zeros:,} of {count(len(values), 'layer')}")
    passed = curve.of(gains[0]) if len(gains[0].layers) > 1 else None
    typical = geometric_mean(passed[0]) if passed else None
    if typical is not None:
        words.append(f"on its way back each layer multiplies it by {number(typical)} (geometric mean; 1 is level)")
    absent = int((~profile.present).all(axis=0).sum())
    if absent:
        words.append(f"{count(absent, 'layer')} {'was' if absent == 1 else 'were'} not recorded")
    broken = profile.steps[(profile.states >= State.INF).any(axis=1)]
    if broken.size:
        words.append(f"from step {int(broken[0]):,} it is no longer finite")
    text = "; ".join(words)
    return text[:1].upper() + text[1:] + "." if text else ""
