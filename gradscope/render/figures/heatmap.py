"""The gradient's size at every layer and every step, as a map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradscope.record.finding import Report
from gradscope.record.run import Run
from gradscope.render import maps, marks, rows, scales, theme
from gradscope.render.figures.profile import NORMS, gradients
from gradscope.render.words import plain
from gradscope.signals.reduce import condense

NAME = "heatmap"
TITLE = "Gradient by layer and step"


def size(runs: Sequence[Run], reports: Sequence[Report]) -> tuple[float, float]:
    return 9.0, 1.6 + 3.6 * min(len(runs), 2) + 2.0 * max(len(runs) - 2, 0)


def data(runs: Sequence[Run]) -> Iterator[rows.Row]:
    for name, profile in zip(rows.labels(runs), gradients(runs), strict=True):
        yield from rows.of_profile(name, profile)


def draw(figure: theme.Page, runs: Sequence[Run], reports: Sequence[Report]) -> None:
    profiles, names = [p.measured for p in gradients(runs)], rows.labels(runs)
    drawn = [i for i, profile in enumerate(profiles) if not profile.empty]
    if not drawn:
        top = theme.head(figure, TITLE, "", runs=names)
        return theme.say(theme.stack(figure, [1], top=top)[0], "no gradient by layer was recorded")
    end, label = scales.last_step(runs)
    reading = "From the input (bottom) to the output (top)." + rows.left_out(names, drawn)
    top = theme.head(figure, TITLE, reading, maps.legend(profiles), runs=names)
    top += 0.12 if len(drawn) > 1 else 0.0
    panels = theme.stack(figure, [1] * len(drawn), top=top, right=0.95, gap=0.3 if len(drawn) > 1 else 0.0)
    colours = maps.sizes(profiles)
    for axes, i in zip(panels, drawn, strict=True):
        wide, tall = theme.inches(axes)
        dpi = figure.dpi
        own_end = min(max(runs[i].step_count - 1, int(profiles[i].steps[-1])), end)
        raster = condense(profiles[i], int(tall * dpi), int(wide * dpi), end=own_end)
        maps.draw(axes, raster, colours, len(profiles[i].layers))
        scales.step_axis(axes, end, label=label + maps.shared(raster) if axes is panels[-1] else "")
        axes.tick_params(axis="x", labelbottom=axes is panels[-1])
        scales.layer_axis(axes, profiles[i].layers, axis="y", inches=tall)
        if reports:
            marks.boxes(axes, runs[i], reports[i], profiles[i].layers, end)
        if len(drawn) > 1:
            theme.caption(axes, plain(names[i], 60), colour=theme.run_look(i).colour)
    maps.bar(figure, panels, colours, NORMS[profiles[0].signal])
    return None
