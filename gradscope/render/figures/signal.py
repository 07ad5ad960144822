"""The signal on its way forward and the gradient on its way back, together with the weight gradients, their product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gradscope.numbers import number
from gradscope.record.finding import Report
from gradscope.record.run import Run
from gradscope.render import curves, marks, rows, scales, theme
from gradscope.render.words import plain
from gradscope.signals.profiles import Profile
from gradscope.signals.ratios import backward_ratio, forward_reach, weight_gradient_ratio
from gradscope.signals.states import State

NAME = "signal"
TITLE = "Signal and gradient by layer"

ROLES = ("signal, against the first layer's", "gradient, against the last layer's", "weight gradient, against the last layer's")
LEVEL = 10.0
"""A factor within which weight gradients look level."""
DECEPTIVE = ": alone they look level, although both ways are dead"
PANEL, HEAD = 3.6, 1.9
"""Inches of one run's panel, and of what stands above the first."""


def size(runs: Sequence[Run], reports: Sequence[Report]) -> tuple[float, float]:
    return 9.0, HEAD + PANEL * min(len(runs), 2) + 2.4 * max(len(runs) - 2, 0)


def ways(run: Run) -> tuple[Profile, Profile, Profile]:
    """Forward, back, and the weights' gradients between them, each against the end at which it begins."""
    return forward_reach(run), backward_ratio(run), weight_gradient_ratio(run)


def data(runs: Sequence[Run]) -> Iterator[rows.Row]:
    for name, run in zip(rows.labels(runs), runs, strict=True):
        for profile in ways(run):
            yield from rows.of_profile(name, profile)


def draw(figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report]) -> None:
    names = rows.labels(runs)
    found = [ways(run) for run in runs]
    shown = [i for i, profiles in enumerate(found) if not all(p.empty for p in profiles[:2])]
    if not shown:
        top = theme.head(figure, TITLE, "", runs=names)
        return theme.say(theme.stack(figure, [1], top=top)[0], "no signal by layer was recorded")
    handles = [Line2D([], [], **theme.run_look(i).line(label=role, markersize=4.5)) for i, role in enumerate(ROLES)]
    top = theme.head(figure, TITLE, _reading(runs, found) + rows.left_out(names, shown), handles, runs=names)
    over = marks.over_layers(runs[:1], reports[:1], [found[0][1].layers]) if len(runs) == 1 else []
    top += marks.lane_height(over) + (0.12 if len(shown) > 1 else 0.0)
    panels = theme.stack(figure, [1] * len(shown), top=top, gap=0.62 if len(shown) > 1 else 0.0)
    chosen = {i: _chosen(found[i]) for i in shown}
    every = [c for i in shown for curve in chosen[i] for p in found[i] if (c := curve.of(p))]
    for axes, i in zip(panels, shown, strict=True):
        layers = found[i][1].layers or found[i][0].layers
        said = reports[i].findings if reports else ()
        scale = _scale(found[i][1], chosen[i])
        limits = [f.threshold * scale[f.signal][0] for f in said if marks.drawable(f, scale)]
        shelf = scales.log_axis(axes, every, also=[1.0, *limits])
        axes.axhline(1.0, color=theme.REFERENCE, lw=1.0, zorder=1)
        _curves(axes, shelf, chosen[i], found[i], layers)
        axes.set_ylabel("against where it begins")
        label = "layer, from input to output" if axes is panels[-1] else None
        scales.layer_axis(axes, layers, inches=theme.inches(axes)[0], label=label)
        marks.thresholds(axes, said, scale, curves.last_values(chosen[i], [found[i][1]]))
        if len(shown) > 1 or len(runs) > 1:
            own = marks.over_layers([runs[i]], [reports[i]], [layers]) if reports else []
            codes = ", ".join(f"{m.finding.code} {m.finding.rule}" for m in own[: marks.MOST])
            theme.caption(axes, plain(names[i], 60) + (f": {codes}" if codes else ""))
            marks.bands(axes, own)
    if len(runs) == 1:
        marks.bands(panels[0], over)
        marks.lane(panels[0], over)
    return None


def _chosen(profiles: Sequence[Profile]) -> list[curves.Curve]:
    """The first step, thin, and the last at which all that flows back is finite, thick; one where they are the same."""
    lead = next(p for p in profiles[1::-1] if not p.empty)
    last, first = curves.last_finite(lead), int(lead.measured.steps[0])
    steps = dict.fromkeys([first, first if last is None else last])
    look = theme.run_look(0)
    return [curves.Curve(0, s, f"step {s:,}", look, 2.0 if s == last else 0.9, s == last) for s in steps]


def _curves(
    axes: Axes, shelf: scales.Shelf, chosen: Sequence[curves.Curve], profiles: Sequence[Profile], layers: Sequence[str]
) -> None:
    """Each way in a look of its own; a profile of other layers at the places of those that it shares."""
    place = {name: float(i + 1) for i, name in enumerate(layers)}
    for role, profile in enumerate(profiles):
        at = np.array([place.get(name, np.nan) for name in profile.layers])
        for curve in chosen:
            if (found := curve.of(profile)) is None:
                continue
            count = len(layers)
            look = theme.run_look(role).line(
                linewidth=curve.width,
                markersize=4.5,
                markevery=None if count <= 25 else (role * count // 36, max(1, count // 12)),
                alpha=1.0 if curve.last else 0.6,
                label=f"{profile.signal}, {curve.label}",
                zorder=2.5 + role / 10,
            )
            shelf.draw(axes, at, *found, **look)


def _scale(back: Profile, chosen: Sequence[curves.Curve]) -> dict[str, tuple[float, str]]:
    """Where thresholds lie: those on the gradient as it stands, those against the last hidden layer at that one's height."""
    found = next((c.of(back) for c in chosen if c.last), None)
    if found is None:
        return {}
    scale = {"backward_ratio": (1.0, " of the gradient")}
    if len(back.layers) > 1 and found[1][-2] == State.FINITE:
        scale["hidden_backward_ratio"] = (float(found[0][-2]), f" of the gradient at {plain(back.layers[-2], 24)}")
    return scale


def _reading(runs: Sequence[Run], found: Sequence[Sequence[Profile]]) -> str:
    """What the three curves say together, of one run."""
    how = "Thick: the last step at which all is finite; thin: the first."
    if len(runs) > 1:
        return f"{how} Level curves are healthy; where signal and gradient fall from either end, both die."
    chosen = _chosen(found[0])
    said = [_said(curve, found[0]) for curve in chosen]
    texts = [said[-1], *(text for text in said[:-1] if text.endswith(DECEPTIVE))]
    return ". ".join([*(text for text in texts if text), how])


def _said(curve: curves.Curve, profiles: Sequence[Profile]) -> str:
    """How much of each way is left at its end, and what the weight gradients show of it."""
    ahead, back, weights = (curve.of(profile) for profile in profiles)
    words = []
    if ahead and len(ahead[0]) > 1 and ahead[1][-1] == State.FINITE:
        words.append(f"{_share(float(ahead[0][-1]))} the first layer's signal reaches the last one")
    if back and len(back[0]) > 1 and back[1][0] == State.FINITE:
        words.append(f"{_share(float(back[0][0]))} the last layer's gradient reaches the first one")
    text = f"At step {curve.step:,}, {' and '.join(words)}" if words else ""
    sizes = weights[0][weights[1] == State.FINITE] if weights else np.empty(0)
    if len(words) == 2 and len(sizes) > 1 and ahead and back:
        spread = float(sizes.max() / sizes.min())
        text += f"; the weight gradients, their product, differ by a factor of {number(spread, 2)}"
        if spread < LEVEL and max(float(ahead[0][-1]), float(back[0][0])) < 1.0 / LEVEL**2:
            text += DECEPTIVE
    return text


def _share(value: float) -> str:
    return f"{number(value)} of" if value < 1.0 else f"{number(value)} times"
