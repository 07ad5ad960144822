from __future__ import annotations

import math

import numpy as np
import pytest

from gradscope.errors import UnsupportedError, UsageError
from gradscope.theory import Activation, Dropout, Layer, Linear, Normalise, Prediction, Residual, mlp, predict
from tests.theory.settings import GRID, Known, Setting

RELU = Activation("relu")


def plain(setting: Setting, depth: int, width: int) -> list[Layer]:
    layers = mlp(
        depth=depth,
        width=width,
        inputs=width,
        outputs=width,
        activation=setting.activation,
        sigma_w=math.sqrt(setting.sigma_w_squared),
        sigma_b=math.sqrt(setting.sigma_b_squared),
        weights=setting.weights,  # type: ignore[arg-type]
    )
    phi = Activation(setting.activation, setting.options)
    return [phi if isinstance(layer, Activation) else layer for layer in layers]


def blocks(prediction: Prediction) -> tuple[float, float]:
    """The squared gradient at the stem's output over that at the last block's, and the length there over here."""
    first, *_, last, _head = prediction.stations
    return (first.backward_ratio / last.backward_ratio) ** 2, (last.rms / first.rms) ** 2


def residual(depth: int, *branch: Layer, scale: float = 1.0, stem: float = 1.0, norm: str = "none") -> tuple[Layer, ...]:
    end = () if norm == "none" else (Normalise(norm),)  # type: ignore[arg-type]
    return (Linear(512, 512, stem), *[Residual(branch, scale)] * depth, *end, Linear(512, 512, 1.0))


@pytest.mark.parametrize("known", GRID, ids=lambda known: str(known.setting))
def test_the_factor_per_layer_is_the_known_one(known: Known) -> None:
    # To the digits that an independent calculation printed.
    prediction = predict(plain(known.setting, 20, 1024), width=1024)
    assert prediction.mean_gain() ** 2 == pytest.approx(known.factor_20, abs=1.1e-5)
    first, *_, last = (p.weight_ratio for p in prediction.stations)
    assert first is not None
    assert last == 1.0
    assert first ** (2 / 19) == pytest.approx(known.weight_factor_20, abs=6e-5)
    deeper = predict(plain(known.setting, 30, 512), width=512)
    assert deeper.mean_gain() ** 2 == pytest.approx(known.factor_30, abs=6e-5)


# Remedies as an independent calculation predicted them, width 400, depth 20.
REMEDIES = [
    (Setting("relu", 1 / 3, 0.0), 0.16667),
    (Setting("tanh", 0.25, 0.0), 0.24432),
    (Setting("tanh", 9.0, 0.0), 1.83972),
    (Setting("tanh", 1.0, 0.0, weights="orthogonal"), 0.84173),
]


@pytest.mark.parametrize(("setting", "factor"), REMEDIES, ids=str)
def test_the_effect_of_a_remedy_is_the_known_one(setting: Setting, factor: float) -> None:
    assert predict(plain(setting, 20, 400), width=400).mean_gain() ** 2 == pytest.approx(factor, abs=1.1e-5)


@pytest.mark.parametrize("setting", [k.setting for k in GRID if k.setting.activation == "sigmoid"], ids=str)
def test_a_sigmoid_layer_loses_at_least_the_largest_slope_times_its_gain(setting: Setting) -> None:
    gains = predict(plain(setting, 20, 512), width=512).station_gains()
    assert (gains <= 0.25 * math.sqrt(setting.sigma_w_squared)).all()


def test_weight_gradients_of_a_bias_free_relu_net_are_level_at_any_scale() -> None:
    for squared in (1 / 3, 1.0, 2.0, 4.0):
        stations = predict(plain(Setting("relu", squared, 0.0), 20, 256), width=256).stations
        assert [p.weight_ratio for p in stations] == pytest.approx([1.0] * 20)
        assert stations[0].backward_ratio == pytest.approx((squared / 2) ** (19 / 2))


def test_every_block_of_an_unscaled_he_residual_net_doubles_both_ways() -> None:
    backward, forward = blocks(predict(residual(40, RELU, Linear(512, 512, math.sqrt(2))), width=512))
    assert backward == pytest.approx(2.0**40)
    assert forward == pytest.approx(2.0**40)


@pytest.mark.parametrize("depth", [10, 40, 160])
def test_a_branch_scale_of_one_over_root_depth_bounds_the_total(depth: int) -> None:
    net = residual(depth, RELU, Linear(512, 512, math.sqrt(2)), scale=depth**-0.5)
    assert blocks(predict(net, width=512)) == pytest.approx(((1 + 1 / depth) ** depth,) * 2)
    assert (1 + 1 / depth) ** depth < math.e


def test_a_branch_that_starts_at_zero_changes_nothing() -> None:
    assert blocks(predict(residual(40, RELU, Linear(512, 512, 2.0), scale=0.0), width=512)) == (1.0, 1.0)
    assert blocks(predict(residual(40, RELU, Linear(512, 512, 0.0)), width=512)) == pytest.approx((1.0, 1.0))


def test_with_layer_norm_in_the_branch_signal_and_gradient_grow_by_the_number_of_blocks() -> None:
    for norm in ("layer", "rms"):
        net = residual(40, Normalise(norm, eps=0.0), RELU, Linear(512, 512, math.sqrt(2)), norm=norm)  # type: ignore[arg-type]
        assert blocks(predict(net, width=512)) == pytest.approx((41.0, 41.0))


def test_with_batch_norm_in_the_branch_the_gradient_grows_with_a_power_that_tends_to_pi_over_pi_minus_one() -> None:
    def backward(depth: int) -> float:
        net = residual(depth, Normalise("batch", eps=0.0), RELU, Linear(512, 512, math.sqrt(2)), norm="batch")
        return blocks(predict(net, width=512))[0]

    assert backward(40) == pytest.approx(math.prod(1 + 1 / (1 + k * (1 - 1 / math.pi)) for k in range(40)))
    assert blocks(predict(residual(40, Normalise("batch"), RELU, Linear(512, 512, math.sqrt(2))), width=512))[
        1
    ] == pytest.approx(41.0, rel=1e-4)
    slope = math.log(backward(400) / backward(200)) / math.log(2)
    assert slope == pytest.approx(math.pi / (math.pi - 1), abs=9e-3)  # it falls short by 1.6 / depth


@pytest.mark.parametrize(("depth", "measured"), [(10, 21.4), (20, 57.3), (40, 155.0)])
def test_with_batch_norm_over_sixteen_samples_it_grows_as_was_measured(depth: int, measured: float) -> None:
    net = residual(depth, Normalise("batch"), RELU, Linear(512, 512, math.sqrt(2)), norm="batch")
    # The loss's gradient was not centred over the batch: one part in 16 of it does not enter the branches; the rest is chance.
    predicted = blocks(predict(net, width=512, batch=16))[0] * 15 / 16
    assert predicted == pytest.approx(measured, rel=0.035)


def test_a_tanh_residual_net_grows_like_the_root_of_its_depth() -> None:
    short, long = (
        math.log(blocks(predict(residual(n, Activation("tanh"), Linear(512, 512, 1.0)), width=512))[0]) for n in (20, 80)
    )
    assert long / short == pytest.approx(2.25, abs=0.03)  # as measured; 2 in the limit, 4 would be exponential


def test_the_first_layer_of_a_normalised_net_differs_from_the_rest() -> None:
    # Its own matrix makes the length sigma_w^2, all later ones sigma_w^2 E[phi^2], or Var phi under batch norm.
    for norm, first, rest in (
        ("layer", 0.5, 1.0),
        ("batch", 0.5, math.pi / (math.pi - 1)),
    ):
        net = mlp(depth=30, width=512, inputs=512, outputs=512, activation="relu", sigma_w=math.sqrt(2), norm=norm)  # type: ignore[arg-type]
        gains = predict(net, width=512).station_gains() ** 2
        assert gains[0] == pytest.approx(first, rel=1e-4)
        assert gains[1:] == pytest.approx([rest] * 28, rel=1e-4)


# Means over all layers of nets of 16 to 30 layers: layer norm 0.973 and 1.141, batch norm 1.38 to 1.42.
@pytest.mark.parametrize(
    ("norm", "activation", "sigma_w_squared", "depth", "low", "high"),
    [("layer", "relu", 2.0, 26, 0.96, 0.985), ("layer", "tanh", 1.0, 30, 1.13, 1.15), ("batch", "relu", 0.5, 20, 1.38, 1.42)],
)
def test_that_layer_is_why_the_mean_over_a_whole_net_was_measured_below_the_theory_of_its_inside(
    norm: str, activation: str, sigma_w_squared: float, depth: int, low: float, high: float
) -> None:
    net = mlp(
        depth=depth,
        width=512,
        inputs=512,
        outputs=512,
        activation=activation,
        sigma_w=math.sqrt(sigma_w_squared),
        norm=norm,  # type: ignore[arg-type]
    )
    assert low < predict(net, width=512).mean_gain() ** 2 < high


@pytest.mark.parametrize("sigma_w", [0.1, 1.0, 4.0])
def test_batch_norm_explodes_at_any_weight_scale_and_bias(sigma_w: float) -> None:
    net = mlp(depth=12, width=64, inputs=64, outputs=64, activation="relu", sigma_w=sigma_w, sigma_b=0.4, norm="batch")
    inner = predict(net, width=64, batch=32).station_gains()[1:] ** 2
    assert inner == pytest.approx([1.5220] * 10, rel=5e-3)  # eps against a small variance: 0.3 % at sigma_w = 0.1


def test_the_last_block_of_a_pre_norm_net_gets_less_the_deeper_the_net_and_of_a_post_norm_net_the_same() -> None:
    # Xiong 2020: L^(-1/2) and O(1). A feed-forward branch adds 1/2 to the length; the exponent over 4 ... 64 is -0.43.
    branch: tuple[Layer, ...] = (Linear(512, 512, math.sqrt(2)), RELU, Linear(512, 512, math.sqrt(0.5)))
    norm = Normalise("layer", eps=0.0)
    pre = [predict(residual(n, norm, *branch, norm="layer"), width=512).stations[-2].backward_ratio for n in (4, 16, 64)]
    assert pre == pytest.approx([(1 + n / 2) ** -0.5 for n in (4, 16, 64)], rel=1e-4)
    assert math.log(pre[2] / pre[0]) / math.log(16) == pytest.approx(-0.43, abs=5e-3)
    post = []
    for n in (4, 64):
        net = (Linear(512, 512, 1.0), *(x for _ in range(n) for x in (Residual(branch), norm)), Linear(512, 512, 1.0))
        post.append(predict(net, width=512).stations[-2].backward_ratio)
    assert post[0] == pytest.approx(post[1])


def test_dropout_scales_the_gradient_up_as_much_as_the_signal() -> None:
    net = (Linear(64, 64, 1.0), Dropout(0.2), Linear(64, 64, 1.0))
    linear, dropout, _ = predict(net, width=64).layers
    assert dropout.backward_gain == pytest.approx(math.sqrt(1 / 0.8))
    assert dropout.rms / linear.rms == pytest.approx(math.sqrt(1 / 0.8))


def test_samples_of_different_length_are_followed_one_by_one() -> None:
    net = plain(Setting("tanh", 2.0, 0.0), 8, 64)
    short, long = (predict(net, width=64, input_length=q).layers[0].backward_ratio for q in (0.1, 4.0))
    both = predict(net, width=64, input_length=[0.1, 4.0])
    assert both.layers[0].backward_ratio == pytest.approx(math.sqrt((short**2 + long**2) / 2))
    assert both.layers[0].rms == pytest.approx(math.sqrt(2.0 * (0.1 + 4.0) / 2))


def test_gains_ratios_and_layers_agree_with_each_other() -> None:
    prediction = predict(plain(GRID[9].setting, 12, 64), width=64, input_length=[0.3, 1.0, 2.0])
    for here, after in zip(prediction.layers[:-1], prediction.layers[1:], strict=True):
        assert here.backward_ratio == pytest.approx(after.backward_ratio * after.backward_gain)
    assert prediction.layers[-1].backward_ratio == 1.0
    assert prediction.layers[-1].ratio_spread == 0.0
    assert np.prod(prediction.station_gains()) == pytest.approx(prediction.stations[0].backward_ratio)


def test_a_thousand_layers_neither_underflow_nor_overflow() -> None:
    sigmoid = predict(plain(Setting("sigmoid", 1.0, 0.0), 1000, 64), width=64)
    assert sigmoid.layers[0].backward_ratio == 0.0
    assert sigmoid.layers[0].log_ratio == pytest.approx(999 * math.log(sigmoid.mean_gain()))
    assert sigmoid.mean_gain() ** 2 == pytest.approx(0.0557, abs=1e-4)
    assert sigmoid.station_gains()[3:] ** 2 == pytest.approx([0.0557] * 996, abs=1e-4)  # the first are still on their way
    relu = predict(plain(Setting("relu", 1e8, 0.0), 100, 64), width=64)
    assert relu.layers[0].log_ratio == pytest.approx(99 / 2 * math.log(5e7))  # 877: e^710 is the end of float64
    assert relu.mean_gain() == pytest.approx(math.sqrt(5e7))
    assert any("range of float32 at layer 19 of 199" in note for note in relu.notes)  # matrix 10: 1e8 x 5e7^9
    stream = predict(residual(1000, RELU, Linear(512, 512, math.sqrt(2))), width=512)
    assert stream.mean_gain() ** 2 == pytest.approx(2.0, rel=1e-3)  # the head alone does not double


def test_a_matrix_of_zeros_stops_the_gradient_exactly() -> None:
    prediction = predict((Linear(8, 8, 1.0), RELU, Linear(8, 8, 0.0), RELU, Linear(8, 8, 1.0)), width=8)
    assert [p.backward_ratio for p in prediction.layers] == [0.0, 0.0, pytest.approx(math.sqrt(0.5)), 1.0, 1.0]
    assert prediction.layers[2].backward_gain == 0.0
    assert prediction.station_gains() == pytest.approx([0.0, math.sqrt(0.5)])
    assert prediction.layers[0].ratio_interval() == (0.0, 0.0)


def test_the_reach_is_the_layers_until_the_gradient_leaves_the_factor() -> None:
    sigmoid = predict(plain(Setting("sigmoid", 1.0, 0.0), 20, 64), width=64)
    assert sigmoid.reach(100.0) == 4  # 0.236 per layer: 0.0031 after four
    xavier = predict(plain(Setting("relu", 1.0, 0.0), 10, 64), width=64)
    assert xavier.reach(1000.0) == pytest.approx(math.log(1000) / math.log(math.sqrt(2)))  # beyond its ten layers
    assert predict(plain(Setting("relu", 2.0, 0.0), 10, 64), width=64).reach(1000.0) == math.inf
    with pytest.raises(UsageError, match="above 1"):
        sigmoid.reach(0.5)


def test_an_unstable_length_a_narrow_layer_a_jump_and_mere_chance_are_said() -> None:
    assert predict(plain(Setting("relu", 2.0, 0.0), 20, 512), width=512).notes == ()
    (note,) = predict(plain(Setting("gelu", 2.2, 0.0), 20, 512), width=512).notes
    assert "unstable fixed point" in note
    settled = (Linear(512, 512, 1.0), Normalise("layer"), *plain(Setting("gelu", 2.2, 0.0), 20, 512))
    assert predict(settled, width=512).notes == (note,)
    narrow = predict(plain(Setting("relu", 2.0, 0.0), 30, 8), width=8).notes
    assert "8 units" in narrow[0]
    assert "chance alone" in narrow[1]
    jump = predict(residual(2, Activation("hardshrink"), Linear(512, 512, 0.9)), width=512).notes
    assert "hardshrink jumps" in jump[0]


def test_the_interval_of_one_net_lies_around_the_typical_one() -> None:
    first = predict(plain(Setting("relu", 2.0, 0.0), 20, 64), width=64).layers[0]
    low, high = first.ratio_interval(sigmas=2.0)
    assert math.sqrt(low * high) == pytest.approx(math.exp(first.ratio_drift) * first.backward_ratio)
    assert math.log(high / low) == pytest.approx(4.0 * first.ratio_spread)


def test_what_cannot_be_predicted_is_refused() -> None:
    with pytest.raises(UsageError, match="without layers"):
        predict((), width=8)
    with pytest.raises(UnsupportedError, match="over 2 samples"):
        predict((Linear(8, 8, 1.0), Normalise("batch"), RELU, Linear(8, 8, 1.0)), width=8, batch=2)
    with pytest.raises(UsageError, match="no activation 'reloo'"):
        predict((Linear(8, 8, 1.0), Activation("reloo")), width=8)
    for length in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="mean square of an input"):
            predict((Linear(8, 8, 1.0),), width=8, input_length=[1.0, length])
    for wrong in ({"fan_in": 0}, {"sigma_w": -1.0}, {"sigma_b": math.nan}):
        with pytest.raises(UsageError, match="a matrix has units"):
            Linear(**{"fan_in": 8, "fan_out": 8, "sigma_w": 1.0, **wrong})
    with pytest.raises(UsageError, match="dropout rate"):
        Dropout(1.0)
    with pytest.raises(UsageError, match="without a branch"):
        Residual(())


def test_a_net_of_one_layer_is_its_head() -> None:
    prediction = predict(mlp(depth=1, width=64, inputs=20, outputs=3, activation="relu", sigma_w=1.0), width=20)
    assert len(prediction.layers) == 1
    assert prediction.mean_gain() == 1.0
