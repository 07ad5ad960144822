from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from torch import nn

from gradscope.errors import UnsupportedError
from gradscope.theory import critical_gain
from gradscope.training.architectures import mlp, rnn
from gradscope.training.blocks import ACTIVATIONS
from gradscope.training.build import build
from gradscope.training.init_options import Init, Scheme
from gradscope.training.initialisation import effective_sigma_w, gain_of, initialise, lsuv_targets, unit_variance
from gradscope.training.options import Activation
from tests.training.architectures.stations import small

INPUTS, OUTPUTS = 300, 500


def drawn(activation: str = "relu", **init: Any) -> torch.Tensor:
    torch.manual_seed(0)
    layer = nn.Linear(INPUTS, OUTPUTS)
    initialise(layer, Init(**init), activation)
    return layer.weight.detach()


STANDARD_DEVIATIONS = [
    ({"scheme": "kaiming_normal"}, math.sqrt(2 / INPUTS)),
    ({"scheme": "kaiming_uniform"}, math.sqrt(2 / INPUTS)),
    ({"scheme": "kaiming_normal", "fan": "out"}, math.sqrt(2 / OUTPUTS)),
    ({"scheme": "kaiming_normal", "gain": 3.0}, 3 / math.sqrt(INPUTS)),
    ({"scheme": "lecun_normal"}, 1 / math.sqrt(INPUTS)),
    ({"scheme": "lecun_uniform", "fan": "out"}, 1 / math.sqrt(OUTPUTS)),
    ({"scheme": "xavier_normal"}, math.sqrt(2 / (INPUTS + OUTPUTS))),
    ({"scheme": "xavier_uniform", "gain": 2.0}, 2 * math.sqrt(2 / (INPUTS + OUTPUTS))),
    ({"scheme": "normal", "gain": 0.3}, 0.3),
    ({"scheme": "uniform", "gain": 0.3}, 0.3),
    ({"scheme": "trunc_normal", "gain": 0.3}, 0.3),
    ({"scheme": "normal"}, 1.0),
    ({"scheme": "normal", "gain": "critical"}, math.sqrt(2 / INPUTS)),
    ({"scheme": "zeros"}, 0.0),
]


@pytest.mark.parametrize(("init", "std"), STANDARD_DEVIATIONS, ids=lambda v: str(v))
def test_the_standard_deviation_is_the_one_that_the_scheme_promises(init: dict[str, Any], std: float) -> None:
    weight = drawn(**init)
    # Of N draws the standard deviation is off by 1 in sqrt(2 N), for a normal; four such are allowed.
    assert weight.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * weight.numel()))
    assert weight.mean().item() == pytest.approx(0, abs=4 * std / math.sqrt(weight.numel()) + 1e-12)


def test_a_truncated_normal_has_no_entry_beyond_two_standard_deviations_of_the_normal_that_was_cut() -> None:
    untruncated = 0.3 / 0.8796256610342398
    assert drawn(scheme="trunc_normal", gain=0.3).abs().max() <= 2 * untruncated * (1 + 1e-6)


@pytest.mark.parametrize("shape", [(300, 300), (300, 500), (500, 300)])
def test_orthogonal_gives_orthonormal_rows_or_columns_times_the_gain(shape: tuple[int, int]) -> None:
    layer = nn.Linear(*shape)
    initialise(layer, Init(scheme="orthogonal", gain=1.7), "relu")
    w = layer.weight.detach().double()
    gram = w @ w.T if shape[1] <= shape[0] else w.T @ w
    assert torch.allclose(gram, 1.7**2 * torch.eye(len(gram), dtype=torch.float64), atol=1e-5)


def test_identity_is_the_identity_times_the_gain() -> None:
    assert torch.equal(drawn(scheme="identity", gain=2.0), 2.0 * torch.eye(OUTPUTS, INPUTS))


def test_an_automatic_gain_is_what_torch_gives_and_square_root_of_two_where_torch_knows_none() -> None:
    assert gain_of(Init(), "relu") == pytest.approx(math.sqrt(2))
    assert gain_of(Init(), "tanh") == pytest.approx(5 / 3)
    assert gain_of(Init(scheme="orthogonal"), "sigmoid") == 1.0
    assert gain_of(Init(), "identity") == 1.0
    assert gain_of(Init(), "gelu") == pytest.approx(math.sqrt(2))
    assert gain_of(Init(scheme="xavier_uniform"), "relu") == 1.0
    assert gain_of(Init(scheme="lecun_normal"), "relu") == 1.0


@pytest.mark.parametrize("scheme", ["kaiming_normal", "orthogonal", "lecun_uniform", "xavier_normal", "normal", "trunc_normal"])
def test_a_critical_gain_gives_a_square_layer_the_sigma_w_of_theory_whatever_the_scheme(scheme: Scheme) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(400, 400)
    initialise(layer, Init(scheme=scheme, gain="critical"), "tanh")
    (sigma_w,) = effective_sigma_w(layer).values()
    assert sigma_w == pytest.approx(critical_gain("tanh"), rel=0.011)


def test_a_critical_gain_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="tanhshrink"):
        gain_of(Init(gain="critical"), "tanhshrink")
    with pytest.raises(UnsupportedError, match="lsuv"):
        gain_of(Init(scheme="lsuv", gain="critical"), "relu")


def test_biases_start_at_their_value() -> None:
    layer = nn.Linear(3, 4)
    initialise(layer, Init(bias=0.25), "relu")
    assert torch.equal(layer.bias, torch.full((4,), 0.25))


def test_convolutions_count_their_receptive_field() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3)
    initialise(conv, Init(), "relu")
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.015)
    assert effective_sigma_w(nn.Sequential(conv))["0"] == pytest.approx(math.sqrt(2), rel=0.015)


def lsuv_network(**options: Any) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = mlp.build(mlp.Options.model_validate({"width": 48, "init": {"scheme": "lsuv"}, **options}), (8,), 5)
    return model, torch.randn(256, 8)


@pytest.mark.parametrize(
    "options", [{"depth": 30, "activation": "tanh"}, {"depth": 12, "activation": "sigmoid", "bias": False}]
)
def test_after_lsuv_every_layer_has_output_variance_one_on_the_batch(options: dict[str, Any]) -> None:
    model, batch = lsuv_network(**options)
    factors = unit_variance(model, batch)
    variances = {}
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _m, _i, y, name=name: variances.__setitem__(name, y.var(correction=0).item()))
    model(batch)
    assert set(factors) == set(layers)
    assert all(v == pytest.approx(1, rel=1e-4) for v in variances.values())


def test_lsuv_in_one_pass_equals_its_authors_loop() -> None:
    model, batch = lsuv_network(depth=6, activation="relu")
    reference, _ = lsuv_network(depth=6, activation="relu")
    unit_variance(model, batch)
    with torch.no_grad():
        for layer in [m for m in reference.modules() if isinstance(m, nn.Linear)]:
            for _ in range(10):  # their T_max
                seen: list[torch.Tensor] = []
                hook = layer.register_forward_hook(lambda _m, _i, y, seen=seen: seen.append(y))
                reference(batch)
                hook.remove()
                variance = seen[0].var(correction=0)
                if abs(variance - 1) < 1e-6:
                    break
                layer.weight /= variance.sqrt()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_lsuv_leaves_buffers_modes_hooks_and_the_random_state_alone() -> None:
    model, batch = lsuv_network(depth=5, norm="batch", dropout=0.5, activation="rrelu")
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    model.eval()
    state = torch.get_rng_state()
    unit_variance(model, batch)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(b, buffers[n]) for n, b in model.named_buffers())
    assert not any(m.training or m._forward_hooks for m in model.modules())


def test_a_layer_without_variance_is_left_as_it_is_by_lsuv() -> None:
    layer = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(layer.weight)
    assert unit_variance(layer, torch.randn(8, 3)) == {}
    assert not layer.weight.any()


def test_the_effective_sigma_w_of_orthonormal_square_weights_is_their_gain() -> None:
    layer = nn.Linear(64, 64)
    initialise(layer, Init(scheme="orthogonal", gain=1.3), "relu")
    assert effective_sigma_w(nn.Sequential(layer)) == {"0": pytest.approx(1.3, rel=1e-5)}


def test_every_activation_of_the_config_has_its_module() -> None:
    assert set(ACTIVATIONS) == set(get_args(Activation))


@pytest.mark.parametrize("scheme", get_args(Scheme))
def test_every_scheme_draws_finite_weights(scheme: Scheme) -> None:
    assert drawn(scheme=scheme).isfinite().all()


def drawn_by_layer(**init: Any) -> dict[str, nn.Linear]:
    torch.manual_seed(0)
    given = {"width": 200, "depth": 4, "init": init}
    model = mlp.build(mlp.Options.model_validate(given), (200,), 200)
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def test_layers_start_by_the_last_of_the_patterns_that_speak_of_them() -> None:
    layers = drawn_by_layer(
        scheme="normal",
        gain=0.5,
        layers={
            "linear": {"bias": 0.25},
            "layers.*": {"scheme": "orthogonal", "bias": 0.5},
            "layers.1": {"gain": 3.0},
            "head": {"scheme": "zeros"},
        },
    )
    eye = torch.eye(200)
    gain = {name: math.sqrt(2.0) for name in ("layers.0", "layers.2")} | {"layers.1": 3.0}  # a scheme of one's own: auto
    for name, expected in gain.items():
        w = layers[name].weight.detach()
        assert torch.allclose(w @ w.T, expected**2 * eye, atol=1e-4), name
        assert (layers[name].bias == 0.5).all()
    assert not layers["head"].weight.any()
    assert (layers["head"].bias == 0.25).all()


def test_what_a_layer_does_not_say_is_as_for_all() -> None:
    head = drawn_by_layer(scheme="normal", gain=0.5, bias=0.125, layers={"head": {"gain": 0.01}})["head"]
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.015)
    assert (head.bias == 0.125).all()


def test_lsuv_scales_the_layers_that_start_by_it_and_no_others() -> None:
    own = {"layers.1": {"scheme": "normal", "gain": 0.3}}
    model, batch = lsuv_network(depth=4, init={"scheme": "lsuv", "layers": own})
    drawn = {name: p.detach().clone() for name, p in model.named_parameters()}
    init = Init.model_validate({"scheme": "lsuv", "layers": own})
    factors = unit_variance(model, batch, lsuv_targets(model, init, "relu"))
    assert set(factors) == {"layers.0", "layers.2", "head"}
    assert torch.equal(dict(model.named_parameters())["layers.1.weight"], drawn["layers.1.weight"])
    assert model(batch).var(correction=0).item() == pytest.approx(1, rel=1e-4)


def test_the_inputs_of_a_recurrent_layer_start_by_their_own_scheme() -> None:
    layers = {"recurrent": {"scheme": "zeros", "bias": 0.5}, "head": {"scheme": "zeros"}}
    given = {"width": 6, "init": {"scheme": "xavier_uniform", "layers": layers}}
    model = rnn.build(rnn.Options.model_validate(given), (5, 3), 2)
    parameters = dict(model.named_parameters())
    assert not parameters["rnn.weight_ih_l0"].any()
    assert parameters["rnn.weight_hh_l0"].any()
    assert (parameters["rnn.bias_ih_l0"] + parameters["rnn.bias_hh_l0"] == 0.5).all()
    assert not parameters["head.weight"].any()


@pytest.mark.parametrize("kind", ["cnn", "resnet", "transformer", "highway"])
def test_every_architecture_reads_the_start_of_single_layers(kind: str) -> None:
    data = {"name": "digits", "batch_size": 8, **({"layout": "rows"} if kind == "transformer" else {})}
    setup = build(small({"kind": kind, "width": 4, "init": {"layers": {"head": {"scheme": "zeros"}}}}, data))
    zero = [name for name, p in setup.model.named_parameters() if name.endswith("weight") and not p.any()]
    assert zero == ["head.weight"]
