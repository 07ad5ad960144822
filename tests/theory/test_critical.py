from __future__ import annotations

import math

import pytest

from gradscope.errors import UnsupportedError, UsageError
from gradscope.theory import critical_gain, critical_point, level_gain, mlp, predict
from gradscope.theory.activations import ACTIVATIONS, find_activation

CLOSED_FORMS = [
    ("linear", {}, 1.0),
    ("relu", {}, math.sqrt(2.0)),  # He 2015
    ("leaky_relu", {"negative_slope": 0.1}, math.sqrt(2.0 / 1.01)),
    ("prelu", {}, math.sqrt(2.0 / (1.0 + 0.25**2))),
    ("tanh", {}, 1.0),
    ("softsign", {}, 1.0),
    ("hardtanh", {}, 1.0),
    ("erf", {}, math.sqrt(math.pi) / 2.0),
    ("softplus", {}, math.sqrt(2.0)),
]


@pytest.mark.parametrize(("name", "options", "gain"), CLOSED_FORMS)
def test_the_critical_gain_without_biases_is_the_closed_form(name: str, options: dict[str, float], gain: float) -> None:
    assert critical_gain(name, **options) == pytest.approx(gain, rel=1e-8)


# Numbers that an independent solver gave for the critical line; to the four decimals that it printed.
LINES = [
    ("tanh", 0.0025, 1.1225),
    ("tanh", 0.05, 1.3270),
    ("tanh", 0.3, 1.5828),
    ("erf", 0.05, 1.1730),
    ("gelu", 0.0, 1.5335),
]


@pytest.mark.parametrize(("name", "bias_variance", "gain"), LINES)
def test_the_critical_line_passes_through_the_known_points(name: str, bias_variance: float, gain: float) -> None:
    assert critical_gain(name, math.sqrt(bias_variance)) == pytest.approx(gain, abs=6e-5)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"tanhshrink", "softshrink", "hardshrink"}))
def test_every_other_activation_has_a_gain_that_is_level_to_a_tenth_per_layer(name: str) -> None:
    point = critical_point(find_activation(name))
    assert critical_gain(name) == point.sigma_w
    assert point.chi == pytest.approx(1.0, abs=1e-9 if point.kind == "critical" else 0.1)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "mish", "hardswish"])
def test_activations_without_a_critical_point_keep_unit_length(name: str) -> None:
    point = critical_point(find_activation(name))
    assert (point.kind, point.length) == ("boundary", 1.0)


@pytest.mark.parametrize("name", ["tanhshrink", "softshrink", "hardshrink"])
def test_an_activation_that_no_gain_levels_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match="no critical gain"):
        critical_gain(name)


def test_unknown_names_options_and_biases_are_refused_with_a_way_out() -> None:
    with pytest.raises(UsageError, match="no activation 'rellu'") as wrong:
        critical_gain("rellu")
    assert wrong.value.hint == "did you mean relu?"
    with pytest.raises(UsageError, match="takes no such options: alpha"):
        critical_gain("relu", alpha=1.0)
    with pytest.raises(UsageError, match="bias_std"):
        critical_gain("tanh", -0.1)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "gelu", "silu", "elu", "softplus"])
@pytest.mark.parametrize("depth", [2, 12, 40])
def test_at_the_level_gain_the_first_gradient_is_as_long_as_the_last(name: str, depth: int) -> None:
    gain = level_gain(name, depth, bias_std=0.1, input_length=3.0)
    net = mlp(depth=depth, width=64, inputs=64, outputs=64, activation=name, sigma_w=gain, sigma_b=0.1)
    assert predict(net, width=64, input_length=3.0).mean_gain() == pytest.approx(1.0, abs=1e-9)


def test_the_level_gain_tends_to_the_critical_gain_with_depth() -> None:
    gains = [level_gain("tanh", depth) for depth in (5, 30, 100)]
    assert gains == sorted(gains, reverse=True)
    assert critical_gain("tanh") < gains[-1] < 1.14
    assert level_gain("relu", 17) == pytest.approx(math.sqrt(2.0))


def test_a_level_gain_needs_two_layers() -> None:
    with pytest.raises(UsageError, match="depth 1"):
        level_gain("tanh", 1)
