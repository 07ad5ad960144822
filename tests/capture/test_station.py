"""What a station reads where the graph about it is another from one step to the next, or none of the training's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap

from gradscope.scope import watch
from tests.capture.reference import norm, value


class Net(nn.Module):
    """``skip`` adds the input of ``b`` to its output, ``penalty`` takes a loss of it: it is then consumed twice. The graph of a
    skip has as many nodes as that without.
    """

    def __init__(self) -> None:
        super().__init__()
        self.a, self.r, self.b, self.t, self.c = nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4)
        self.how = ""

    def forward(self, x: Tensor) -> Tensor:
        self.h = h = self.r(self.a(x))
        y = self.t(self.b(h))
        out: Tensor = self.c(y + (h if self.how == "skip" else 1.0))
        return out

    def loss(self, x: Tensor) -> Tensor:
        loss = self(x).square().mean()
        return loss + self.h.abs().mean() if self.how == "penalty" else loss

    def at_input_of_b(self, x: Tensor) -> float:
        """Norm of the gradient that ``b`` alone sends to its input."""
        h = self.r(self.a(x)).detach()
        own = h.clone().requires_grad_()
        y = self.t(self.b(own))
        loss = self.c(y + (h if self.how == "skip" else 1.0)).square().mean()
        (gradient,) = torch.autograd.grad(loss, own)
        return norm(gradient)


@pytest.mark.parametrize("how", ["skip", "penalty"])
@pytest.mark.parametrize("of", [(40, 80), (20, 30), (0, 20)], ids=["later", "for a while", "at first"])
def test_a_second_consumer_of_its_input_that_comes_and_goes_is_not_counted_in(how: str, of: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model, twin, wanted = Net(), Net(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1) as scope:
        for k in range(80):
            model.how = twin.how = how if of[0] <= k < of[1] else ""
            twin.load_state_dict(model.state_dict())
            x = torch.randn(12, 8)
            wanted.append(twin.at_input_of_b(x))
            optimizer.zero_grad()
            loss = model.loss(x)
            loss.backward()
            optimizer.step()
            scope.step(loss)
    for k, expected in enumerate(wanted):
        assert value(scope.run, "layers", "input_backward_norm", k, ("b", 0)) == pytest.approx(expected, rel=1e-6), k


def test_over_micro_batches_a_second_consumer_in_one_of_them_makes_no_wrong_number() -> None:
    torch.manual_seed(0)
    model, twin, wanted = Net(), Net(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hows = [("", ""), ("skip", ""), ("", "skip"), ("skip", "skip")] * 3
    with watch(model, optimizer, every=1) as scope:
        for of_step in hows:
            twin.load_state_dict(model.state_dict())
            optimizer.zero_grad()
            squares = 0.0
            for how in of_step:
                model.how = twin.how = how
                x = torch.randn(12, 8)
                squares += twin.at_input_of_b(x) ** 2
                loss = model.loss(x)
                loss.backward()
            wanted.append(squares**0.5)
            optimizer.step()
            scope.step(loss)
    for k, (of_step, expected) in enumerate(zip(hows, wanted, strict=True)):
        got = value(scope.run, "layers", "input_backward_norm", k, ("b", 0))
        assert got is None if len(set(of_step)) == 2 else got == pytest.approx(expected, rel=1e-6), k


@pytest.mark.parametrize("how", ["frozen", "detached"])
def test_an_input_that_loses_its_graph_is_absent_and_all_else_is_recorded(how: str) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(8, 8), nn.Linear(8, 8), nn.Softsign(), nn.Linear(8, 4)]  # on a sequence, a node is not all of a layer
    model = nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cut = [k > 5 and (how == "frozen" or k % 2 == 1) for k in range(12)]
    wanted, weights = [], []
    model.forward = lambda x: layers[3](layers[2](layers[1](below(x))))  # type: ignore[method-assign]
    with watch(model, optimizer, every=1) as scope:
        for is_cut in cut:

            def below(x: Tensor, is_cut: bool = is_cut) -> Tensor:
                out: Tensor = layers[0](x)
                return out.detach() if is_cut and how == "detached" else out

            if how == "frozen":
                layers[0].requires_grad_(not is_cut)
            optimizer.zero_grad()
            out = model(torch.randn(3, 5, 8))
            out.retain_grad()
            loss = out.square().mean()
            loss.backward()
            wanted.append(norm(out.grad))
            weights.append(norm(layers[1].weight.grad))
            optimizer.step()
            scope.step(loss)
    for k, is_cut in enumerate(cut):
        assert value(scope.run, "layers", "backward_norm", k, ("3", 0)) == pytest.approx(wanted[k], rel=1e-6)
        assert value(scope.run, "parameters", "grad_norm", k, ("1.weight", 0)) == pytest.approx(weights[k], rel=1e-9)
        assert (value(scope.run, "layers", "input_backward_norm", k, ("1", 0)) is None) == is_cut


def _dual(model: nn.Module, x: Tensor) -> None:
    with forward_ad.dual_level():
        model(forward_ad.make_dual(x, torch.randn_like(x)))


def _loss(model: nn.Module) -> Callable[[Any, Tensor], Tensor]:
    def loss(parameters: Any, x: Tensor) -> Tensor:
        out: Tensor = functional_call(model, parameters, (x[None],)).square().mean()
        return out

    return loss


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # of torch's own forward mode
@pytest.mark.parametrize(
    "transformation",
    [
        lambda model, x: vmap(grad(_loss(model)), in_dims=(None, 0))(dict(model.named_parameters()), x),
        lambda model, x: grad(_loss(model))(dict(model.named_parameters()), x[0]),
        lambda model, x: jvp(model, (x,), (torch.randn_like(x),)),
        lambda model, x: vmap(model[0])(x),
        _dual,
    ],
    ids=["vmap of grad", "grad", "jvp", "a module inside", "forward mode"],
)
def test_a_transformation_of_the_model_beside_its_training_leaves_no_trace(
    transformation: Callable[[nn.Sequential, Tensor], Any],
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wanted = []
    with watch(model, optimizer, every=1) as scope:
        for k in range(8):
            optimizer.zero_grad()
            x = torch.randn(12, 8)
            if k > 1:
                transformation(model, x)
            out = model(x)
            out.retain_grad()
            loss = out.square().mean()
            loss.backward()
            wanted.append((norm(out), norm(out.grad)))
            optimizer.step()
            scope.step(loss)
    for k, (forward, backward) in enumerate(wanted):
        assert value(scope.run, "layers", "forward_norm", k, ("2", 0)) == pytest.approx(forward, rel=1e-6)
        assert value(scope.run, "layers", "backward_norm", k, ("2", 0)) == pytest.approx(backward, rel=1e-6)
    assert {name for name, _ in scope.run.grid("layers", "forward_norm").entities} == {"0", "1", "2"}
