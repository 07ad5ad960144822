import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from gradscope.render.scales import layer_axis, linear_axis, log_axis, log_ticks, spread
from gradscope.signals.states import states


def axes(height: float = 4.0):
    return Figure(figsize=(6, height)).add_axes((0, 0, 1, 1))


def pair(*values: float):
    numbers = np.array(values)
    return numbers, states(numbers, np.ones(len(numbers), bool))


@given(st.floats(-300, 300), st.floats(0.05, 600), st.integers(2, 8))
def test_ticks_are_few_lie_inside_and_are_labelled_apart(low, span, most):
    high = min(low + span, 300.0)
    ticks = log_ticks(low, high, most)
    assert len(ticks) <= most + 1
    assert all(low - 1e-9 <= math.log10(height) <= high + 1e-9 for height, _ in ticks)
    assert len({label for _, label in ticks}) == len(ticks)


def test_a_logarithmic_axis_holds_all_that_is_shown_and_what_else_it_is_told():
    panel = axes()
    log_axis(panel, [pair(1e-12, 0.3)], also=(1e-15, 50.0))
    low, high = panel.get_ylim()
    assert low < 1e-15
    assert high > 50.0


def test_a_logarithmic_axis_of_nothing_finite_has_shelves_alone():
    panel = axes()
    shelf = log_axis(panel, [pair(0.0, math.nan, math.inf)])
    assert len(shelf.heights) == 3
    assert panel.get_ylim()[0] > 0.0


@pytest.mark.parametrize("values", [(5e-324, 1.0), (1e-308, 1e308), (0.0, 5e-324, math.inf)])
def test_the_ends_of_the_floats_have_an_axis(values):
    panel = axes()
    log_axis(panel, [pair(*values)])
    assert 0.0 < panel.get_ylim()[0] < panel.get_ylim()[1] < math.inf


def test_a_linear_axis_has_no_shelf_for_zero():
    panel = axes()
    shelf = linear_axis(panel, [pair(0.0, 1.0, math.nan)])
    assert [s.name for s in shelf.heights] == ["NAN"]
    assert panel.get_ylim()[1] > shelf.heights[next(iter(shelf.heights))] > 1.0


def test_spread_holds_the_first_and_the_last_and_no_two_too_near():
    for count in (1, 2, 5, 20, 999, 1000):
        for most in (2, 3, 8):
            places = spread(count, most)
            assert places[0] == 0
            assert places[-1] == count - 1
            assert len(places) <= max(most, 2)
            assert len(set(places)) == len(places)
    assert spread(1000, 8) == [0, 200, 400, 600, 800, 999]
    assert spread(50, 13) == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 49]


def test_layers_are_named_where_there_is_room_and_numbered_where_there_is_no_name():
    panel = axes()
    layer_axis(panel, [f"encoder.block.{i}.linear" for i in range(100)], inches=6.0)
    labels = [t.get_text() for t in panel.get_xticklabels()]
    assert 2 <= len(labels) <= 6
    assert all(len(label) <= 18 for label in labels)
    layer_axis(panel, 1000, inches=6.0)
    assert panel.get_xticklabels()[-1].get_text() == "1,000"


@given(st.floats(-40, 40), st.floats(0.5, 80), st.sampled_from([0.4, 0.8, 2.0, 5.0]))
def test_no_tick_stands_in_the_label_of_a_shelf(low, span, tall):
    panel = axes(tall)
    shelf = log_axis(panel, [pair(10.0**low, 10.0 ** (low + span), 0.0, math.nan, math.inf)])
    places = sorted(panel.transData.transform((0.0, tick))[1] / panel.figure.dpi for tick in panel.get_yticks())
    beside = {panel.transData.transform((0.0, at))[1] / panel.figure.dpi for at in shelf.heights.values()}
    near = [b - a for a, b in pairwise(places) if (a in beside) != (b in beside)]
    assert len(beside) == 3
    assert all(apart > 0.13 for apart in near)


def test_numbers_of_layers_are_round_but_for_the_ends():
    panel = axes()
    layer_axis(panel, 1000, inches=3.4)
    assert [t.get_text() for t in panel.get_xticklabels()] == ["1", "200", "400", "600", "800", "1,000"]
    layer_axis(panel, 4, inches=3.0)
    assert [t.get_text() for t in panel.get_xticklabels()] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["model.encoder.layers.0", "model.encoder.layers.10"], ["…layers.0", "…layers.10"]),
        (["encoder.0", "encoder.1"], ["encoder.0", "encoder.1"]),
        (["encoder.layers.0.attention", "head"], ["encod…ention", "head"]),
        (["model.encoder.layers.0"], ["…layers.0"]),
        (["unpronounceable"], ["unpro…ceable"]),
    ],
)
def test_of_names_that_are_too_long_what_all_begin_with_goes_first(names, shown):
    panel = axes()
    layer_axis(panel, names, axis="y", inches=4.0)
    assert [t.get_text() for t in panel.get_yticklabels()] == shown
