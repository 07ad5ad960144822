import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradscope.record.manifest import Catalogue, LayerInfo, Manifest
from gradscope.record.run import Run
from gradscope.signals.ratios import (
    backward_gain,
    backward_ratio,
    forward_gain,
    forward_ratio,
    forward_reach,
    geometric_mean,
    hidden_backward_ratio,
    noise_floor,
    predicted_backward_ratio,
    sensitivity,
    update_ratio,
    weight_gradient_ratio,
)
from gradscope.signals.states import State
from tests import synthetic
from tests.signals.makers import chain

NAN, INF = float("nan"), float("inf")


def test_the_backward_ratio_is_against_the_last_station():
    ratio = backward_ratio(chain({"backward_norm": [[1.0, 4.0, 8.0], [2.0, 2.0, 2.0]]}))
    assert ratio.values.tolist() == [[0.125, 0.5, 1.0], [1.0, 1.0, 1.0]]
    assert ratio.reference == "c"


def test_the_hidden_backward_ratio_leaves_the_read_out_layer_aside():
    ratio = hidden_backward_ratio(chain({"backward_norm": [[1.0, 4.0, 1000.0]]}))
    assert (ratio.layers, ratio.values.tolist(), ratio.reference) == (("a", "b"), [[0.25, 1.0]], "b")


def test_a_net_of_one_layer_has_no_hidden_ratio():
    ratio = hidden_backward_ratio(chain({"backward_norm": [[1.0]]}, names=("a",)))
    assert ratio.layers == ()
    assert ratio.empty


def test_a_gradient_of_exactly_zero_is_a_ratio_of_exactly_zero():
    ratio = backward_ratio(chain({"backward_norm": [[0.0, 1.0, 2.0]]}))
    assert ratio.states.tolist() == [[State.ZERO, State.FINITE, State.FINITE]]


def test_nothing_over_nothing_has_no_ratio():
    ratio = backward_ratio(chain({"backward_norm": [[0.0, 1.0, 0.0]]}))
    assert ratio.states.tolist() == [[State.ABSENT, State.INF, State.ABSENT]]


def test_what_is_not_finite_stays_so_and_what_is_absent_stays_absent():
    ratio = backward_ratio(chain({"backward_norm": [[NAN, INF, 2.0], [1.0, None, 2.0], [1.0, 1.0, INF], [1.0, 1.0, NAN]]}))
    assert ratio.states.tolist() == [
        [State.NAN, State.INF, State.FINITE],
        [State.FINITE, State.ABSENT, State.FINITE],
        [State.ZERO, State.ZERO, State.NAN],
        [State.NAN, State.NAN, State.NAN],
    ]


def test_without_the_last_stations_value_there_is_no_ratio():
    assert backward_ratio(chain({"backward_norm": [[1.0, 2.0, None]]})).empty


def test_the_backward_gain_is_what_a_layer_passes_on():
    gain = backward_gain(chain({"backward_norm": [[1.0, 4.0, 8.0]]}))
    assert gain.present.tolist() == [[False, True, True]]
    assert gain.values[0, 1:].tolist() == [0.25, 0.5]


def test_the_first_layers_gain_needs_the_gradient_at_the_input():
    gain = backward_gain(chain({"backward_norm": [[2.0, 4.0, 8.0]], "input_backward_norm": [[1.0, 9.0, None]]}))
    assert gain.values.tolist() == [[0.5, 0.5, 0.5]]


def test_the_product_of_the_gains_is_the_ratio_of_the_first_station():
    run = synthetic.plain_sigmoid(20, 5)
    assert backward_gain(run).values[:, 1:].prod(axis=1) == pytest.approx(backward_ratio(run).values[:, 0], rel=1e-9)


def test_the_forward_gain_is_what_a_layer_makes_of_the_signal():
    gain = forward_gain(chain({"forward_norm": [[2.0, 4.0, 1.0]]}))
    assert gain.present.tolist() == [[False, True, True]]
    assert gain.values[0, 1:].tolist() == [2.0, 0.25]


def test_sensitivity_is_the_ratio_of_the_gradient_times_that_of_the_signal():
    run = chain({"backward_norm": [[1.0, 4.0, 8.0]], "forward_norm": [[6.0, 3.0, 2.0]]})
    assert forward_ratio(run).values.tolist() == [[3.0, 1.5, 1.0]]
    assert sensitivity(run).values.tolist() == [[0.375, 0.75, 1.0]]


@given(
    back=st.lists(st.floats(1e-12, 1e12), min_size=3, max_size=3),
    ahead=st.lists(st.floats(1e-12, 1e12), min_size=3, max_size=3),
    loss=st.floats(1e-6, 1e6),
    rescaled=st.floats(1e-3, 1e3),
)
def test_ratios_know_neither_the_losss_scale_nor_sensitivity_a_layers(back, ahead, loss, rescaled):
    run = chain({"backward_norm": [back], "forward_norm": [ahead]})
    scaled = chain({"backward_norm": [[b * loss for b in back]], "forward_norm": [ahead]})
    assert backward_ratio(scaled).values == pytest.approx(backward_ratio(run).values, rel=1e-9)
    assert sensitivity(scaled).values == pytest.approx(sensitivity(run).values, rel=1e-9)
    layer = chain({"backward_norm": [[back[0] / rescaled, *back[1:]]], "forward_norm": [[ahead[0] * rescaled, *ahead[1:]]]})
    assert sensitivity(layer).values == pytest.approx(sensitivity(run).values, rel=1e-9)


def test_the_update_ratio_has_no_value_where_the_weights_are_zero():
    run = chain(parameters={"update_norm": [[0.1, 0.1, None]], "weight_norm": [[10.0, 0.0, 1.0]]})
    ratio = update_ratio(run)
    assert ratio.present.tolist() == [[True, False, False]]
    assert ratio.values[0, 0] == 0.01


def test_a_layer_that_did_not_move_has_an_update_ratio_of_zero():
    ratio = update_ratio(chain(parameters={"update_norm": [[0.0, 0.1, 0.1]], "weight_norm": [[1.0, 1.0, 1.0]]}))
    assert ratio.states[0, 0] == State.ZERO


def test_the_noise_floor_is_hanins_over_the_hidden_widths():
    run = chain({"backward_norm": [[1.0] * 4]}, names=("a", "b", "c", "d"), width=50)
    floor = noise_floor(run)
    assert floor.layers == ("a", "b", "c")
    assert floor.values[0] == pytest.approx([math.exp(1.5 * math.sqrt(5.0 * k / 50)) for k in (3, 2, 1)])


def test_the_noise_floor_covers_three_deviations_of_relu_nets():
    """Monte Carlo over random ReLU nets: ln of the gradient's norm lies within the floor in all but a few of 1,000."""
    draw, width, depth, nets = np.random.default_rng(0), 32, 10, 1000
    delta = np.ones((nets, width)) / np.sqrt(width)
    for _ in range(depth):
        weights = draw.standard_normal((nets, width, width)) * np.sqrt(2.0 / width)
        delta = np.einsum("nij,ni->nj", weights, delta) * (draw.random((nets, width)) < 0.5)
    logs = np.log(np.linalg.norm(delta, axis=1))
    run = chain({"backward_norm": [[1.0] * (depth + 1)]}, names=[f"l{i}" for i in range(depth + 1)], width=width)
    outside = np.abs(logs - logs.mean()) > math.log(noise_floor(run).values[0, 0])
    assert 0 <= outside.mean() < 0.01


def test_widths_that_nobody_knows_give_no_floor():
    assert noise_floor(chain({"backward_norm": [[1.0] * 3]}, width=None)).empty
    layers = (
        LayerInfo("a", "Linear", 0, trunk=True),
        LayerInfo("b", "Linear", 1, trunk=True, width=20),
        LayerInfo("c", "L", 2, trunk=True),
    )
    floor = noise_floor(Run(Manifest("half", catalogue=Catalogue(layers)), {}))
    assert floor.values[0] == pytest.approx([math.exp(1.5 * math.sqrt(5 / 20))] * 2)


def test_the_geometric_mean_is_of_finite_positive_values_alone():
    assert geometric_mean(np.array([2.0, 8.0, 0.0, NAN, INF])) == pytest.approx(4.0)
    assert geometric_mean(np.array([0.0, NAN])) is None


def test_signals_of_a_run_without_rows_are_empty():
    run = synthetic.empty()
    for signal in (
        backward_ratio,
        hidden_backward_ratio,
        forward_ratio,
        backward_gain,
        forward_gain,
        forward_reach,
        sensitivity,
        update_ratio,
    ):
        assert signal(run).empty


def test_the_forward_reach_is_the_signal_against_the_first_stations():
    run = chain({"forward_norm": [[2.0, 4.0, 1.0]]})
    found = forward_reach(run)
    assert found.values.tolist() == [[1.0, 2.0, 0.5]]
    assert found.reference == found.layers[0]


def test_the_weight_gradients_of_a_station_are_those_of_all_matrices_up_to_it_against_the_last():
    run = chain({"backward_norm": [[1.0, 1.0, 1.0]]}, {"grad_norm": [[6.0, 3.0, 2.0]]})
    found = weight_gradient_ratio(run)
    assert found.values.tolist() == [[3.0, 1.5, 1.0]]
    inside = replace(run.catalogue, layers=tuple(replace(i, trunk=i.order != 1) for i in run.catalogue.layers))
    branched = Run(replace(run.manifest, catalogue=inside), run._tables)
    assert weight_gradient_ratio(branched).values == pytest.approx(np.array([[6.0 / math.hypot(3.0, 2.0), 1.0]]))


def test_what_theory_predicted_is_one_row_at_the_first_step():
    run = chain({"backward_norm": [[1.0, 1.0, 1.0]] * 3})
    assert predicted_backward_ratio(run).empty
    names = [layer.name for layer in run.catalogue.layers]
    known = Run(replace(run.manifest, theory={names[0]: 0.25, names[2]: 1.0}), run._tables)
    found = predicted_backward_ratio(known)
    assert found.steps.tolist() == [0]
    assert found.present.tolist() == [[True, False, True]]
    assert found.values[0, [0, 2]].tolist() == [0.25, 1.0]
