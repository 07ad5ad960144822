from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gradscope.record.finding import Finding, Severity
from gradscope.render.marks import caption, positions, thresholds
from tests.render.cases import case


def at(*layers: str) -> list[int]:
    run, _ = case("vanishing")
    trunk = [layer.name for layer in run.catalogue.layers if layer.trunk]
    return positions(Finding("GS1", "r", Severity.ERROR, "m", "s", 1.0, 2.0, layers=layers), run, trunk)


def test_a_layer_stands_at_its_station():
    assert at("layers.0", "layers.4") == [0, 2]


def test_a_parameter_stands_at_its_layer():
    assert at("layers.4.weight", "layers.4.bias") == [2]


def test_an_activation_stands_at_the_station_before_it():
    assert at("layers.5") == [2]


def test_a_name_that_the_run_does_not_have_stands_nowhere():
    assert at("elsewhere") == []


@pytest.mark.parametrize("heights", [(0.01, 0.012), (0.01, 0.01, 0.01), (0.01, 0.05, 0.01, 0.05), (1e-8, 0.1)])
def test_the_words_on_thresholds_near_each_other_stand_apart(heights):
    figure = Figure(figsize=(6.0, 4.0))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.1, 0.85, 0.85))
    axes.set_yscale("log")
    axes.set_ylim(1e-20, 1.0)
    found = [Finding("GS101", "r", Severity.ERROR, "m", f"s{i}", 1e-9, at) for i, at in enumerate(heights)]
    thresholds(axes, found, {f"s{i}": (1.0, " of the gradient") for i in range(len(heights))}, np.geomspace(1e-18, 1.0, 20))
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(heights)
    for a, b in combinations(boxes, 2):
        assert min(a.x1, b.x1) < max(a.x0, b.x0) or min(a.y1, b.y1) - max(a.y0, b.y0) <= 1  # a line lies between two of them
    lines = [line.get_ydata()[0] for line in axes.lines if line.get_gid() == "threshold-GS101"]
    assert lines == list(heights)


STEEP_AT_ITS_END = 10.0 ** np.interp(range(40), [0, 26, 36, 39], [-3.6, -1.5, -0.7, 0.0])


@pytest.mark.parametrize(("curve", "side"), [(STEEP_AT_ITS_END, "left"), (STEEP_AT_ITS_END[::-1], "right")])
def test_the_words_on_a_threshold_stand_where_the_curve_keeps_off_them(curve, side):
    """Its steep end is further from a hundredth than the other one; but all along the words it is nearer."""
    figure = Figure(figsize=(12.0, 4.0))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.1, 0.85, 0.85))
    axes.set_yscale("log")
    axes.set_ylim(1e-5, 10.0)
    found = Finding("GS101", "r", Severity.ERROR, "m", "s", 1e-9, 0.01)
    thresholds(axes, [found], {"s": (1.0, " of the gradient at the last")}, curve)
    (text,) = axes.texts
    assert text.get_horizontalalignment() == side


@pytest.mark.parametrize(("height", "over"), [(0.95, False), (2e-5, True), (0.01, True)])
def test_the_words_on_a_line_stay_within_the_axis(height, over):
    figure = Figure(figsize=(6.0, 4.0))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.1, 0.85, 0.85))
    axes.set_yscale("log")
    axes.set_ylim(1e-5, 1.0)
    caption(axes, height, "usual", "black", np.full(20, 1e-3), [])
    (text,) = axes.texts
    assert text.get_va() == ("bottom" if over else "top")
    box, around = text.get_window_extent(), axes.get_window_extent()
    assert around.y0 <= box.y0
    assert box.y1 <= around.y1


def test_the_words_on_a_line_keep_off_a_curve_that_runs_along_it():
    figure = Figure(figsize=(6.0, 4.0))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.1, 0.85, 0.85))
    axes.set_yscale("log")
    axes.set_ylim(1e-5, 1.0)
    above = np.full(20, 1.2e-3)
    for curve, place in ((above, "top"), (1e-6 / above, "bottom"), (np.stack([above, above]), "top")):
        caption(axes, 1e-3, "usual", "black", curve, [])
        assert axes.texts[-1].get_va() == place
