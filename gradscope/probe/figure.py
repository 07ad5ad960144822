"""The figure of a probe: the gradient by layer, measured and predicted, and what each layer takes or gives."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gradscope.probe.probe import Probe
from gradscope.probe.text import reach_in_words
from gradscope.record.grid import Floats
from gradscope.render import bars, scales, theme
from gradscope.signals.attribution import KINDS, WORDS
from gradscope.signals.states import states


def draw(probe: Probe) -> Figure:
    """Measured and predicted on one scale, and below it the decades of each layer by kind, where they are told."""
    with theme.style():
        page = Figure(figsize=(9.0, 6.2))
        FigureCanvasAgg(page)
        _draw(page, probe)
    return page


def _draw(page: Figure, probe: Probe) -> None:
    layers = probe.layers
    measured = _values([layer.ratio for layer in layers])
    predicted = [layer.predicted for layer in layers]
    legend: list[Artist] = [Line2D([], [], **theme.run_look(0).line(label="measured"))]
    if any(predicted):
        legend.append(Line2D([], [], color=theme.INK, lw=1.2, ls="--", label="predicted"))
        legend.append(Patch(color=theme.CHANCE, label="what chance allows around it"))
    kinds = [k for k in KINDS if any(layer.decades and layer.decades[k] != 0.0 for layer in layers)]
    legend += [Patch(**theme.KINDS[k].patch(label=WORDS[k])) for k in kinds]
    reading = " ".join(x for x in (reach_in_words(probe), f"Theory: {probe.theory}." if probe.theory else "") if x)
    top = theme.head(page, "Gradient by layer before training", reading, legend, runs=[probe.name])
    if not len(layers) or np.isnan(measured).all():
        theme.say(theme.stack(page, [1], top=top)[0], "no gradient by layer was recorded")
        return
    axes = theme.stack(page, [5, 3] if kinds else [1], top=top)
    x = np.arange(1.0, len(layers) + 1.0)
    middle = _values([p.ratio if p else None for p in predicted])
    low, high = (_values([p.ratio_interval[i] if p else None for p in predicted]) for i in (0, 1))
    shown = [(v, states(v, ~np.isnan(v))) for v in (measured, middle)]
    shelf = scales.log_axis(axes[0], shown)
    limits = axes[0].get_ylim()
    axes[0].fill_between(x, low, high, color=theme.CHANCE, lw=0, zorder=0.2)
    axes[0].set_ylim(limits)
    axes[0].plot(x, np.where(middle > 0.0, middle, np.nan), color=theme.INK, lw=1.2, ls="--", zorder=3)
    shelf.draw(axes[0], x, *shown[0], **theme.run_look(0).line(markersize=4.0 if len(x) <= 60 else 0.0))
    axes[0].set_ylabel("gradient / last layer's")
    if kinds:
        parts = {k: _values([layer.decades[k] if layer.decades else None for layer in layers]) for k in kinds}
        bars.stacked(axes[1], *bars.together(parts, len(layers)))
        axes[1].set_ylabel("decades, going back")
        axes[0].set_xticks([])
    names = [layer.name for layer in layers]
    scales.layer_axis(axes[-1], names, inches=theme.inches(axes[0])[0], label="layer, from input to output")
    axes[0].set_xlim(axes[-1].get_xlim())


def _values(found: list[float | None]) -> Floats:
    return np.array([np.nan if v is None else v for v in found], np.float64)
