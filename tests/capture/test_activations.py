"""What kind of activation a module is, found by evaluating it once for all that are alike."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradscope.capture.activations import Activation, Erf, as_module, examine


def kind(module: nn.Module) -> str | None:
    found = examine(module)
    return None if found is None else found.kind


def test_where_an_activation_is_flat_says_of_which_kind_it_is() -> None:
    assert [kind(m) for m in (nn.ReLU(), nn.ReLU6(), nn.Tanh(), nn.Sigmoid(), Erf())] == ["one-sided"] * 2 + ["two-sided"] * 3
    assert [kind(m) for m in (nn.Linear(2, 2), nn.Dropout(), nn.Identity(), nn.Softmax(-1), nn.Sequential(nn.ReLU()))] == [
        None
    ] * 5


@pytest.mark.parametrize("slope", [0.01, 0.2])
def test_options_make_modules_of_one_class_unlike(slope: float) -> None:
    found = examine(nn.LeakyReLU(slope))
    assert isinstance(found, Activation)
    assert (found.kind == "one-sided") == (slope < 0.05)


class Own(nn.Module):
    def __init__(self, power: int) -> None:
        super().__init__()
        self.phi = [torch.tanh, torch.relu][power]

    def forward(self, x: Tensor) -> Tensor:
        return self.phi(x)


def test_a_module_that_may_do_as_it_likes_is_evaluated_itself() -> None:
    assert [kind(Own(0)), kind(Own(1))] == ["two-sided", "one-sided"]
    overridden = nn.Tanh()
    assert kind(nn.Tanh()) == "two-sided"
    overridden.forward = torch.relu  # type: ignore[method-assign]
    assert kind(overridden) == "one-sided"


class Noting(nn.Module):
    """Counts, collects and draws in its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.seen, self.total = 0, list[int](), torch.zeros(())
        self.own = random.Random(0)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(x.numel())
        self.total += 1.0
        random.random(), np.random.rand(), torch.rand(()), self.own.random()
        return torch.tanh(x)


def test_evaluating_a_module_leaves_nothing_in_it_nor_in_the_random_states() -> None:
    noting, calls = Noting(), list[int]()
    noting.register_forward_hook(lambda *_: calls.append(1))
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), noting.own.getstate()
    assert kind(noting) == "two-sided"
    assert (noting.calls, noting.seen, float(noting.total), noting.training) == (0, [], 0.0, True)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), noting.own.getstate()
    assert before == after
    assert calls == []


def test_a_unit_that_each_row_sends_to_a_flat_end_is_dead() -> None:
    found = examine(nn.ReLU6())
    assert found is not None
    inputs = torch.tensor([[-1.0, 7.0, -1.0, 1.0], [7.0, 8.0, -2.0, 7.0], [-1.0, 6.0, float("nan"), -3.0]])
    slope = torch.autograd.grad(nn.ReLU6()(inputs.requires_grad_()).sum(), inputs)[0]
    assert (slope[:, :2] == 0).all()
    assert found.alive(inputs.detach()[None], 1).tolist() == [[False, False, True, True]]  # one with a NaN is not dead


def test_a_hook_that_cannot_take_the_grid_hides_no_activation() -> None:
    hooked = nn.ReLU()
    hooked.register_forward_hook(lambda _module, args, _output: args[0][0, 0, 0])
    assert kind(hooked) == "one-sided"


def test_like_modules_of_torch_are_evaluated_once() -> None:
    first = examine(nn.ELU(1.25))
    assert first is not None
    assert examine(nn.ELU(1.25)) is first
    assert examine(nn.ELU(1.5)) is not first
    assert examine(nn.ELU(1.25, inplace=True)) != first


X = torch.linspace(-3.0, 3.0, 9, requires_grad=True)
CALLED: list[tuple[Callable[[Tensor], Tensor], nn.Module]] = [
    (F.relu, nn.ReLU()),
    (lambda x: F.leaky_relu(x, 0.3), nn.LeakyReLU(0.3)),
    (lambda x: F.elu(x, 0.5), nn.ELU(0.5)),
    (F.selu, nn.SELU()),
    (lambda x: F.celu(x, 0.5), nn.CELU(0.5)),
    (lambda x: F.softplus(x, 2.0), nn.Softplus(2.0)),
    (F.relu6, nn.Hardtanh(0.0, 6.0)),
    (lambda x: F.gelu(x, approximate="tanh"), nn.GELU("tanh")),
    (torch.erf, Erf()),
]


@pytest.mark.parametrize(("phi", "module"), CALLED, ids=lambda x: repr(x) if isinstance(x, nn.Module) else "")
def test_a_function_is_the_module_with_the_options_that_its_node_has_kept(
    phi: Callable[[Tensor], Tensor], module: nn.Module
) -> None:
    found = as_module(phi(X).grad_fn)
    assert repr(found) == repr(module)
    assert found is not None
    assert torch.equal(found(X), phi(X))


def test_what_is_no_activation_is_no_module() -> None:
    assert as_module((2.0 * X).grad_fn) is None
    assert as_module(None) is None


class Step(nn.Module):
    """A ReLU above 0, and -1 below."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, -torch.ones_like(x) + 0 * x)


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu().square()


class Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0)


class Relu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.ReLU(), True),
        (nn.ReLU(inplace=True), True),
        (Relu(), True),
        (Clamp(), False),  # it passes a gradient at 0
        (nn.ReLU6(), False),  # its units die at 6 too
        (nn.LeakyReLU(), False),
        (nn.GELU(), False),
        (nn.Softplus(), False),
        (nn.Threshold(0.0, 1.0), False),
        (Step(), False),
        (Square(), False),  # its slope is next to nothing where its output is not 0 yet
    ],
)
def test_it_rectifies_where_its_output_alone_tells_which_units_pass_a_gradient(module: nn.Module, expected: bool) -> None:
    found = examine(module)
    assert found is not None
    assert found.rectifies is expected
