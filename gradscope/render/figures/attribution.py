"""What takes the gradient away: decades by weights, activations, norms and skip paths, by layer and for the whole net."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from gradscope.record.finding import Report
from gradscope.record.run import Run
from gradscope.render import bars, marks, rows, scales, theme
from gradscope.render.words import count, plain
from gradscope.signals.attribution import KINDS, WORDS, Attribution, attribution, told
from gradscope.signals.events import Series
from gradscope.signals.profiles import Profile, depth_profile, trunk

NAME = "attribution"
TITLE = "What the gradient gains and loses on its way back"

WHOLE = 1.75
"""Inches of the bars for the whole net, beside those of the layers, with the room between."""
OVER_STEPS = 1.5
"""Inches of the whole over the steps, below."""
POINTS = 600
"""Steps that the curves over them are drawn from."""
LEAST = 0.2
"""Least decades that the axis spans either way: over less, what is level would look like something."""


def size(runs: Sequence[Run], reports: Sequence[Report]) -> tuple[float, float]:
    return 9.0, 5.9 if len(runs) == 1 else 1.7 + 2.9 * len(runs)


def data(runs: Sequence[Run]) -> Iterator[rows.Row]:
    for name, run in zip(rows.labels(runs), runs, strict=True):
        found = attribution(run)
        for k in _occurring([found]):
            values = found.decades[:, :, KINDS.index(k)]
            signal = f"decades_{k}"
            yield from rows.of_profile(name, Profile(signal, found.steps, found.layers, values, found.present))
            yield from rows.of_series(name, _whole(found, k))


def draw(figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report]) -> None:
    names, found = rows.labels(runs), [_drawn(run) for run in runs]
    shown = [i for i, parts in enumerate(found) if _row(parts) is not None]
    if not shown:
        top = theme.head(figure, TITLE, "", runs=names)
        single = any(not p.empty and len(p.layers) == 1 for p in map(depth_profile, runs))
        why = "one layer alone has a gradient: there is no way from one to another" if single else NOTHING
        return theme.say(theme.stack(figure, [1], top=top)[0], why)
    kinds = _occurring([found[i] for i in shown])
    handles = [Patch(**theme.KINDS[k].patch(label=WORDS[k])) for k in kinds]
    reading = _reading(found[0]) if len(runs) == 1 else HOW + rows.left_out(names, shown)
    top = theme.head(figure, TITLE, reading, handles, runs=names)
    layers = [tuple(station.name for station in trunk(run)) for run in runs]
    alone = len(runs) == 1
    over = marks.over_layers(runs, reports, layers) if alone else []
    top += marks.lane_height(over) + (0.0 if alone else 0.15)
    steps = alone and len(np.flatnonzero(found[0].present.all(axis=1))) > 1
    heights = [max(theme.page(figure)[1] - top - theme.BOTTOM - OVER_STEPS, 1.0), OVER_STEPS] if steps else [1.0] * len(shown)
    panels = theme.stack(figure, heights, top=top, right=theme.RIGHT + WHOLE, gap=0.6 if len(heights) > 1 else 0.0)
    by_layer = panels[: len(shown)] if not alone else panels[:1]
    ends = []
    for axes, i in zip(by_layer, shown, strict=True):
        low, high = _layers(axes, found[i], layers[i], kinds)
        ends.append((low, high))
        axes.set_ylabel("decades, going back")
        each = bars.stride(len(layers[i]))
        label = "layer, from input to output" + (f" (each bar: {each} layers)" if each > 1 else "")
        scales.layer_axis(axes, layers[i], inches=theme.inches(axes)[0], label=label if axes is by_layer[-1] else None)
        _sum(figure, axes, found[i], kinds, _extent(found, shown))
        if not alone:
            own = marks.over_layers([runs[i]], [reports[i]], [layers[i]]) if reports else []
            codes = ", ".join(f"{m.finding.code} {m.finding.rule}" for m in own[: marks.MOST])
            theme.caption(axes, plain(names[i], 60) + (f": {codes}" if codes else ""))
            marks.bands(axes, own)
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    for axes in by_layer:
        axes.set_ylim(low, high)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    if alone:
        marks.bands(by_layer[0], over)
        marks.lane(by_layer[0], over)
        if steps:
            _over_steps(panels[1], runs, found[0], kinds)
    return None


NOTHING = "no gradient by layer was recorded"
HOW = "Bars below 0 take from the gradient, bars above 0 add to it. One scale for all runs."


def _drawn(run: Run) -> Attribution:
    """At the steps that are drawn alone: those spread over the run, with one at which a link is not told wherever such steps
    lie between, and those that the bars may speak of.
    """
    steps, links = told(run)
    full = links.all(axis=1)
    whole, some, broken = steps[full], steps[links.any(axis=1)], steps[~full]
    spread = whole[whole <= scales.last_step([run])[0]]
    few = spread[np.unique(np.linspace(0, len(spread) - 1, POINTS).astype(int))] if len(spread) else spread
    between = np.searchsorted(broken, few)
    gaps = broken[between[:-1][between[:-1] < between[1:]]]
    return attribution(run, np.unique(np.concatenate([few, gaps, whole[-1:], some[-1:]])))


def _row(parts: Attribution) -> int | None:
    """The last step at which every link is told, else the last at which one is; None without any."""
    whole, some = np.flatnonzero(parts.present.all(axis=1)), np.flatnonzero(parts.present.any(axis=1))
    if not parts.layers or not some.size:
        return None
    return int(whole[-1]) if whole.size else int(some[-1])


def _occurring(found: Sequence[Attribution]) -> list[str]:
    """The kinds to which some decades are put down; where nothing changes at all, the one for what is not told."""
    some = [np.any([(np.nan_to_num(p.decades) != 0.0).any(axis=(0, 1)) for p in found], axis=0)]
    return [k for k, there in zip(KINDS, some[0], strict=True) if there] or [KINDS[-1]]


def _whole(parts: Attribution, kind: str) -> Series:
    values = parts.total[:, KINDS.index(kind)]
    return Series(f"decades_{kind}", parts.steps, values, ~np.isnan(values))


def _layers(axes: Axes, parts: Attribution, layers: Sequence[str], kinds: Sequence[str]) -> tuple[float, float]:
    """The bars by layer; the heights between which they lie."""
    row = _row(parts)
    place = {name: i for i, name in enumerate(parts.layers)}
    at = np.array([place.get(name, -1) for name in layers])
    values = {k: np.where(at >= 0, parts.decades[row, at, KINDS.index(k)], 0.0) for k in kinds}
    drawn, edges = bars.together(values, len(layers))
    bars.stacked(axes, drawn, edges)
    known = np.nan_to_num(np.stack(list(drawn.values())))
    low, high = -float(np.maximum(-known, 0.0).sum(axis=0).max()), float(np.maximum(known, 0.0).sum(axis=0).max())
    return min(low * 1.08, -LEAST), max(high * 1.08, LEAST)


def _extent(found: Sequence[Attribution], shown: Sequence[int]) -> tuple[float, float]:
    """The heights between which the whole's bars lie, over all runs."""
    wholes = [np.append(found[i].total[_row(found[i])], found[i].end_to_end[_row(found[i])]) for i in shown]
    known = np.nan_to_num(np.concatenate(wholes))
    return min(float(known.min()) * 1.15, -1.0), max(float(known.max()) * 1.15, 1.0)


def _sum(figure: theme.Page, beside: Axes, parts: Attribution, kinds: Sequence[str], ends: tuple[float, float]) -> None:
    """Beside the layers the whole: a bar for each kind, and the sum of all, end to end."""
    width = theme.page(figure)[0]
    place = beside.get_position()
    axes = figure.add_axes(((place.x1 + 0.62 / width), place.y0, (WHOLE - 0.62) / width, place.height), label="whole")
    theme.caption(axes, "end to end")
    row = _row(parts)
    total, whole = parts.total[row], float(parts.end_to_end[row])
    if np.isnan(whole):
        return theme.say(axes, "not told: a layer\nhas no finite\ngradient")
    for i, kind in enumerate(kinds):
        value = float(total[KINDS.index(kind)])
        axes.bar(i, value, width=0.75, lw=0.3, label=kind, **theme.KINDS[kind].patch())
        _value(axes, i, value)
    axes.bar(len(kinds), whole, width=0.75, facecolor="white", edgecolor=theme.INK, lw=1.2, label="end to end")
    _value(axes, len(kinds), whole)
    axes.axhline(0.0, color=theme.REFERENCE, lw=1.0)
    axes.set_xlim(-0.6, len(kinds) + 0.6)
    axes.set_ylim(*ends)
    axes.xaxis.set_major_locator(FixedLocator([len(kinds)]))
    axes.set_xticklabels(["all"])
    axes.xaxis.set_minor_locator(NullLocator())
    return None


def _value(axes: Axes, x: float, value: float) -> None:
    up = value >= -0.05
    text = f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"
    axes.annotate(
        text,
        (x, value),
        (0.0, 1.5 if up else -2.0),
        textcoords="offset points",
        size=7,
        ha="center",
        va="bottom" if up else "top",
    )


def _over_steps(axes: Axes, runs: Sequence[Run], parts: Attribution, kinds: Sequence[str]) -> None:
    """The whole by kind, step by step."""
    end, label = scales.last_step(runs)
    few = np.flatnonzero(parts.steps <= end)
    for i, kind in enumerate(kinds):
        look = theme.run_look(i)
        style = {"linestyle": look.dash, "marker": look.marker, "markevery": (0, max(1, len(few) // 6)), "markersize": 4.0}
        axes.plot(parts.steps[few], parts.total[few, KINDS.index(kind)], color=theme.KINDS[kind].colour, label=kind, **style)
    axes.plot(parts.steps[few], parts.end_to_end[few], color=theme.INK, lw=1.8, label="end to end")
    last = parts.end_to_end[few][parts.present[few].all(axis=1)][-1]
    axes.text(1.008, last, "all", transform=axes.get_yaxis_transform(), size=8, va="center")
    axes.axhline(0.0, color=theme.REFERENCE, lw=1.0)
    axes.margins(y=0.12)
    axes.grid(axis="y")
    axes.set_ylabel("end to end")
    scales.step_axis(axes, end, label=label)


def _reading(parts: Attribution) -> str:
    """The whole in words, kind by kind with the largest first, and what could not be told."""
    row = _row(parts)
    assert row is not None
    untold, when = int((~parts.present[row]).sum()), f"At step {int(parts.steps[row]):,}"
    words = []
    if untold:
        words.append(f"{when}, {count(untold, 'layer')} of {len(parts.layers):,} have no finite gradient")
    else:
        changes = sorted(zip(parts.total[row].tolist(), KINDS, strict=True), key=lambda change: -abs(change[0]))
        said = [f"{_decades(value)} in {WORDS[kind]}" for value, kind in changes if abs(value) >= 0.05]
        words.append(
            f"{when}, {' and '.join([', '.join(said[:-1]), said[-1]] if len(said) > 1 else said or ['nothing changes'])}"
        )
        words[0] += f": {_decades(float(parts.end_to_end[row]))} end to end"
    if parts.unexplained:
        name, why = parts.unexplained[0]
        words.append(f"{count(len(parts.unexplained), 'layer')} cannot be told apart: {plain(name, 30)}, {why}")
    return f"{'. '.join(words)}. Bars below 0 take from the gradient, bars above 0 add to it."


def _decades(value: float) -> str:
    return f"{abs(value):.1f} decades are {'gained' if value > 0.0 else 'lost'}"
