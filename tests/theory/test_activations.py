from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gradscope.errors import UsageError
from gradscope.theory.activations import ACTIVATIONS, erf, find_activation
from tests.theory.simulation import torch_activation

OPTIONS: list[tuple[str, dict[str, float]]] = [
    ("leaky_relu", {"negative_slope": 0.3}),
    ("prelu", {"init": 0.1}),
    ("elu", {"alpha": 0.7}),
    ("celu", {"alpha": 0.4}),
    ("softplus", {"beta": 3.0}),
    ("hardtanh", {"min_val": -2.0, "max_val": 0.5}),
    ("softshrink", {"lambd": 0.2}),
    ("hardshrink", {"lambd": 1.1}),
]


@pytest.mark.parametrize(("name", "options"), [(name, {}) for name in ACTIVATIONS if name != "rrelu"] + OPTIONS)
def test_phi_and_its_slope_are_what_torch_computes_and_back_propagates(name: str, options: dict[str, float]) -> None:
    x = torch.linspace(-9.0, 9.0, 1801, dtype=torch.float64) + 1e-4  # off every kink
    x.requires_grad_()
    y = torch_activation(name, **options)(x)
    y.sum().backward()
    ours, at = find_activation(name, **options), x.detach().numpy()
    np.testing.assert_allclose(ours.phi(at), y.detach().numpy(), rtol=1e-12, atol=1e-14)
    # torch keeps the constants of hardsigmoid and celu in float32, whatever the input.
    single = 1e-6 if name in ("hardsigmoid", "celu") else 1e-10
    np.testing.assert_allclose(ours.slope(at), x.grad.numpy(), rtol=single, atol=1e-14)


def test_a_randomised_slope_is_the_root_mean_square_of_those_that_training_draws() -> None:
    torch.manual_seed(0)
    drawn = torch.nn.functional.rrelu(torch.full((400_000,), -1.0, dtype=torch.float64), training=True)
    ours = find_activation("rrelu").slope(np.array([-1.0, 1.0]))
    assert ours[0] == pytest.approx(float(drawn.square().mean().sqrt()), rel=2e-3)  # its standard error is 4e-4
    assert ours[1] == 1.0


def test_the_error_function_is_exact_to_float64() -> None:
    x = np.concatenate([np.linspace(-7.0, 7.0, 20_001), [0.0, 1e-12, -1e-300, 1e300]])
    assert np.max(np.abs(erf(x) - np.array([math.erf(v) for v in x]))) < 3e-16


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "logsigmoid", "silu", "mish", "selu", "elu", "gelu", "gelu_tanh"])
def test_no_activation_overflows_far_out(name: str) -> None:
    ours, far = find_activation(name), np.array([-1e4, -800.0, 800.0, 1e4])
    with np.errstate(over="raise", invalid="raise"):
        assert np.isfinite(ours.phi(far)).all()
        assert np.isfinite(ours.slope(far)).all()


def test_names_are_found_in_any_case_and_a_misspelt_one_is_refused_with_the_nearest() -> None:
    assert find_activation("Tanh") is not None
    with pytest.raises(UsageError) as wrong:
        find_activation("leaky_rellu")
    assert wrong.value.hint == "did you mean leaky_relu?"
    with pytest.raises(UsageError) as wrong:
        find_activation("quux")
    assert "known: identity" in str(wrong.value.hint)
