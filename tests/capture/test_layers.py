"""Signals at the stations of any model: forward, backward, dead and saturated, whatever the modules do with their outputs."""

from __future__ import annotations

import copy
import threading
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gradscope.capture.units import head
from gradscope.record.run import Run
from gradscope.scope import watch
from tests.capture.nets import batches, cross_entropy, mlp
from tests.capture.reference import Eye, Plain, held, norm, value
from tests.capture.test_recorder import plain_loop, warned


def images(n: int, channels: int = 3, size: int = 6) -> Any:
    g = torch.Generator().manual_seed(5)
    for _ in range(n):
        yield torch.randn(8, channels, size, size, generator=g), torch.randint(0, 4, (8,), generator=g)


def image_loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
    for x, y in images(3):
        optimizer.zero_grad()
        loss = cross_entropy(model, x, y)
        loss.backward()
        eye.backward_done()
        eye.before_step()
        optimizer.step()
        eye.step(loss)


def trunk(run: Run) -> list[str]:
    return [i.name for i in run.catalogue.layers if i.trunk]


def names(run: Run) -> list[str]:
    return [i.name for i in run.catalogue.layers]


# ---- what modules do with their outputs


def conv_net(inplace: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for i in range(3):
        layers += [nn.Conv2d(3 if i == 0 else 5, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4))


def test_a_convolutional_net() -> None:
    run, _ = held(lambda: conv_net(False), image_loop)
    assert trunk(run) == ["0", "1", "3", "4", "6", "7", "11"] or trunk(run) == ["0", "3", "6", "11"]


def test_in_place_activations() -> None:
    held(lambda: conv_net(True), image_loop, twin=lambda: conv_net(False))
    held(lambda: mlp_in_place(True), plain_loop, twin=lambda: mlp_in_place(False))


def mlp_in_place(inplace: bool) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.Hardtanh(inplace=inplace), nn.Linear(8, 8), nn.ReLU(inplace), nn.Linear(8, 4))


class InPlaceStream(nn.Module):
    """A residual stream that is added to in place, as memory-thrifty code does."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace
        self.stem = nn.Linear(8, 8)
        self.blocks = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            step = torch.tanh(block(h))
            if self.inplace:
                h = h.clone()
                h += step
                step.mul_(1.0)
            else:
                h = h + step * 1.0
        out: Tensor = self.head(h)
        return out


def test_a_stream_that_is_added_to_in_place() -> None:
    held(lambda: InPlaceStream(False), plain_loop)
    model = InPlaceStream(True)  # tanh's own output is overwritten, which autograd forbids: use what it allows
    model.blocks = nn.ModuleList([nn.Linear(8, 8)])
    held(lambda: Overwriting(True), plain_loop, twin=lambda: Overwriting(False))


class Overwriting(nn.Module):
    """Overwrites a layer's output, which autograd allows where nobody saved it."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace
        self.a, self.b, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h, k = self.a(x), self.b(x)
        if self.inplace:
            h.mul_(2.0).add_(k)
            k[:, 0] = 0.0
        else:
            h = h * 2.0 + k
            k = torch.cat([torch.zeros_like(k[:, :1]), k[:, 1:]], 1)
        out: Tensor = self.head(h + k)
        return out


class Chunks(nn.Module):
    """Outputs that are views of one tensor, and one that nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.split = Splitter()
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        left, right, _ = self.split(x)
        out: Tensor = self.head(left * torch.sigmoid(right))
        return out


class Splitter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 12)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = self.inner(x).chunk(3, -1)
        return parts


def test_modules_with_several_outputs() -> None:
    run, _ = held(Chunks, plain_loop)
    assert {"split.inner", "head"} <= set(names(run))


class Dicts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = DictBody()

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"logits": self.body(x)["hidden"][0], "extras": [x], "note": "text", "nothing": None}


class DictBody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        return {"hidden": [self.layer(x)]}


def test_dict_outputs() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(3):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x)["logits"], y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    run, _ = held(Dicts, loop)
    assert value(run, "steps", "output_backward_norm", 0) is not None


@dataclass
class Output:
    loss: Tensor
    logits: Tensor


class Transformer(nn.Module):
    """Returns its loss with its logits, as models of Hugging Face do."""

    def __init__(self, *, loss_only: bool = False) -> None:
        super().__init__()
        self.loss_only = loss_only
        self.body = mlp(nn.GELU, 2, classes=8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor, y: Tensor) -> Any:
        logits = self.head(self.body(x))
        loss = F.cross_entropy(logits, y)
        return loss if self.loss_only else Output(loss, logits)


def loss_loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
    for x, y in batches(3):
        optimizer.zero_grad()
        out = model(x, y)
        loss = getattr(out, "loss", out)
        loss.backward()
        eye.backward_done()
        eye.before_step()
        optimizer.step()
        eye.step(loss)


def test_a_model_that_returns_its_loss() -> None:
    run, _ = held(Transformer, loss_loop)
    assert value(run, "steps", "output_backward_norm", 0) is not None
    assert trunk(run)[-1] == "head"


def test_a_model_that_returns_nothing_but_its_loss_is_said_to_show_no_output() -> None:
    with pytest.warns(match="output"):
        run, _ = held(lambda: Transformer(loss_only=True), loss_loop)
    assert run.grid("steps", "output_backward_norm").empty
    assert trunk(run)[-1] == "head"


class Scalars(nn.Module):
    """A loss with weights of its own inside the model, and outputs of no dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 1)
        self.scale = Scale()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.scale(self.body(x).mean())
        return out


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def test_outputs_without_dimensions() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, _ in batches(3):
            optimizer.zero_grad()
            loss = model(x).square()
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    with pytest.warns(match="output"):
        held(Scalars, loop)


@pytest.mark.parametrize("units", [1, 4])
def test_the_two_parts_of_a_complex_output_count_each(units: int) -> None:
    class Spectrum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, units)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = torch.fft.fft(self.layer(x)) * (1 + 1j)
            return out.squeeze(-1)

    torch.manual_seed(0)
    model = Spectrum()
    with watch(model, every=1) as scope:
        for k, (x, _) in enumerate(batches(2)):
            out = model(x)
            out.retain_grad()
            loss = (out - 1).abs().pow(3).mean()
            loss.backward()
            scope.step(loss)
            assert out.grad is not None
            parts = [torch.view_as_real(t.detach().resolve_conj()).reshape(len(x), -1).double() for t in (out.grad, out)]
            residual, spread = (part - part.mean(0) for part in parts)
            cosine = float((residual * spread).sum() / (residual.norm() * spread.norm()))
            assert value(scope.run, "steps", "output_backward_norm", k) == pytest.approx(norm(residual), rel=1e-9)
            assert value(scope.run, "steps", "output_correlation", k) == pytest.approx(cosine, rel=1e-9)


def test_a_layer_of_complex_numbers_is_absent_and_said_so_once() -> None:
    class Magnitudes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
            self.spectrum = nn.Linear(8, 8, dtype=torch.complex64)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.spectrum(torch.fft.fft(self.first(x))).abs())
            return out

    torch.manual_seed(0)
    model = Magnitudes()
    with warnings.catch_warnings(record=True) as said, watch(model, every=1) as scope:
        warnings.simplefilter("always")
        for x, y in batches(3):
            loss = cross_entropy(model, x, y)
            loss.backward()
            scope.step(loss)
    assert [str(w.message) for w in said if "complex" in str(w.message)] == list(scope.run.manifest.notes)
    assert len(said) == 1
    assert [info.name for info in scope.run.catalogue.layers] == ["first", "head"]
    assert value(scope.run, "layers", "backward_norm", 2, ("first", 0)) is not None


def test_outputs_of_one_value_a_row() -> None:
    class Regression(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x).squeeze(-1)
            return out

    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(3):
            optimizer.zero_grad()
            out = model(x)
            loss = F.mse_loss(out, y.float())
            loss.backward()
            if isinstance(eye, Plain):
                residual = 2 * (out.detach() - y).double() / len(y)
                expected.append((norm(residual - residual.mean()), float(correlation(residual, out.detach().double()))))
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    expected: list[tuple[float, float]] = []
    run, _ = held(Regression, loop)
    for k, (residual, cosine) in enumerate(expected):
        assert value(run, "steps", "output_backward_norm", k) == pytest.approx(residual, rel=1e-6)
        assert value(run, "steps", "output_correlation", k) == pytest.approx(cosine, rel=1e-5)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a - a.mean(0), b - b.mean(0), 0)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(8, 8)
        self.act = nn.ReLU()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.shared(x))
        h = self.act(self.shared(h))
        out: Tensor = self.head(h)
        return out


def test_a_module_called_twice_has_a_row_a_call() -> None:
    run, _ = held(Twice, plain_loop)
    assert [e for e in run.grid("layers", "backward_norm").entities if e[0] == "shared"] == [("shared", 0), ("shared", 1)]
    a, b = (value(run, "layers", "backward_norm", 0, ("shared", call)) for call in (0, 1))
    assert a != b


# ---- forward passes that are not of the training


def evaluations(model: nn.Module, x: Tensor, kind: str) -> None:
    if kind == "eval":
        model.eval()
        model(x)
        model.train()
    elif kind == "eval without gradient":
        model.eval()
        with torch.no_grad():
            model(x)
        model.train()
    elif kind == "no_grad":
        with torch.no_grad():
            model(x)
    elif kind == "inference":
        with torch.inference_mode():
            model(x)
    else:
        for _ in range(3):
            model(x)


@pytest.mark.parametrize("kind", ["eval", "eval without gradient", "no_grad", "inference", "train without backward"])
@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_evaluation_leaves_no_trace(kind: str, when: str) -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(4):
            optimizer.zero_grad()
            if when == "before":
                evaluations(model, 3 * x, kind)
                discard(eye)
            out = model(x)
            if when == "between":
                kept = eye._open.copy() if isinstance(eye, Plain) else {}
                inputs = {k: list(v) for k, v in eye._inputs.items()} if isinstance(eye, Plain) else {}
                evaluations(model, 3 * x, kind)
                if isinstance(eye, Plain):
                    eye._open, eye._inputs = kept, inputs
            loss = F.cross_entropy(out, y)
            loss.backward()
            eye.backward_done()
            if when == "after":
                evaluations(model, 3 * x, kind)
                discard(eye)
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(lambda: mlp(nn.ReLU), loop)


def discard(eye: Eye) -> None:
    if isinstance(eye, Plain):
        eye.discard_forward()


def test_two_forward_passes_before_one_backward_are_one_batch() -> None:
    """Their losses are added up: each is a micro-batch."""

    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(4):
            optimizer.zero_grad()
            if isinstance(eye, Plain):
                first = cross_entropy(model, x[:5], y[:5])
                kept = dict(eye._open)
                eye._calls, eye._entered, eye._open = {}, {}, {}
                second = cross_entropy(model, x[5:], y[5:])
                loss = first + second
                loss.backward()
                eye._seen.append({k: (v, o.grad.double()) for k, (o, v) in kept.items() if o.grad is not None})
            else:
                loss = cross_entropy(model, x[:5], y[:5]) + cross_entropy(model, x[5:], y[5:])
                loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(lambda: mlp(nn.ReLU), loop)


def test_several_backwards_through_one_forward_are_absent_not_wrong() -> None:
    def train(scope: Any) -> None:
        for x, y in batches(3):
            model.zero_grad()
            out = model(x)
            F.cross_entropy(out, y).backward(retain_graph=True)
            loss = out.square().mean()
            loss.backward()
            total.append(float(np.sqrt(sum(norm(p.grad) ** 2 for p in model.parameters() if p.grad is not None))))
            scope.step(loss)

    model, total = mlp(), []
    scope = warned("several backwards", train, model)
    run = scope.run
    assert run.grid("layers", "backward_norm").empty
    assert run.grid("steps", "output_backward_norm").empty
    assert value(run, "layers", "forward_norm", 1, ("0", 0)) is not None
    assert value(run, "steps", "total_norm", 1) == pytest.approx(total[1], rel=1e-9)


def test_a_gradient_penalty_does_not_count_as_a_backward_of_the_training() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(3):
            optimizer.zero_grad()
            probe = x.clone().requires_grad_()
            (slope,) = torch.autograd.grad(model(probe).sum(), probe)  # a step of an attack, say
            discard(eye)
            loss = cross_entropy(model, x + 0.1 * slope.sign(), y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(lambda: mlp(nn.ReLU), loop)


def test_a_backward_for_some_inputs_only() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(3):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward(inputs=list(model.parameters()))
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(lambda: mlp(nn.ReLU), loop)


def test_a_copy_of_a_watched_model_is_not_watched() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        for x, y in batches(3):
            optimizer.zero_grad()
            twin = copy.deepcopy(model)  # an average of the weights, a teacher
            if not isinstance(eye, Plain):
                cross_entropy(twin, 3 * x, y).backward()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(lambda: mlp(nn.ReLU), loop)


class LowRank(nn.Module):
    """A weight and what is added to it, of modules of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(8, 2, bias=False), nn.Parameter(torch.ones(8, 2))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.down(self.up @ self.down.weight).matmul(self.down.weight)


def test_what_makes_a_weight_is_no_layer_and_its_parameters_are_the_layer_s() -> None:
    def build() -> nn.Module:
        first = parametrizations.weight_norm(nn.Linear(8, 8))
        second = parametrizations.spectral_norm(nn.Linear(8, 8, bias=False))
        third = parametrizations.orthogonal(nn.Linear(8, 8, bias=False))
        parametrize.register_parametrization(third, "weight", LowRank())
        return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), third, nn.Tanh(), nn.Linear(8, 4))

    torch.manual_seed(0)
    model, seen = build(), dict[str, Tensor]()
    for name, module in model.named_children():
        module.register_forward_hook(lambda _m, _a, o, name=name: (o.retain_grad(), seen.update({name: o}))[0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1) as scope:
        for k, (x, y) in enumerate(batches(3)):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            optimizer.step()
            scope.step(loss)
            for name, output in seen.items():
                assert value(scope.run, "layers", "forward_norm", k, (name, 0)) == pytest.approx(norm(output), rel=1e-6)
                assert value(scope.run, "layers", "backward_norm", k, (name, 0)) == pytest.approx(norm(output.grad), rel=1e-6)
    assert names(scope.run) == [str(i) for i in range(7)]
    assert trunk(scope.run) == ["0", "2", "4", "6"]
    catalogue = scope.run.catalogue
    assert {p.name: p.layer for p in catalogue.parameters} == {p: i.name for i in catalogue.layers for p in i.parameters}
    assert [p.name for p in catalogue.parameters if p.layer == "0"] == [n for n, _ in model.named_parameters() if n[0] == "0"]
    assert "4.parametrizations.weight.1.down.weight" in catalogue.layers[4].parameters


# ---- activations called as functions


class Functional(nn.Module):
    def __init__(self, activation: Any) -> None:
        super().__init__()
        self.activation = activation
        self.first, self.norm, self.second = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.activation(self.first(x))
        h = self.activation(self.norm(self.second(h)))
        out: Tensor = self.head(h)
        return out


SATURATING: list[tuple[Any, nn.Module]] = [
    (torch.tanh, nn.Tanh()),
    (torch.sigmoid, nn.Sigmoid()),
    (lambda x: F.hardtanh(x, -0.25, 0.5), nn.Hardtanh(-0.25, 0.5)),
]


@pytest.mark.parametrize(("function", "module"), SATURATING, ids=["tanh", "sigmoid", "hardtanh"])
def test_saturation_of_activations_called_as_functions(function: Any, module: nn.Module) -> None:
    torch.manual_seed(0)
    model = Functional(function)
    with torch.no_grad():
        model.first.weight.mul_(8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen: dict[str, Tensor] = {}
    model.first.register_forward_hook(lambda m, a, o: seen.update(first=o.detach()))
    model.norm.register_forward_hook(lambda m, a, o: seen.update(norm=o.detach()))
    from tests.capture.reference import saturated_share

    with watch(model, optimizer, every=1) as scope:
        for k, (x, y) in enumerate(batches(3)):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            optimizer.step()
            expected = {name: saturated_share(module, t.flatten()) for name, t in seen.items()}
            scope.step(loss)
            for name, share in expected.items():
                assert value(scope.run, "layers", "saturated_share", k, (name, 0)) == pytest.approx(share, abs=1e-12), (k, name)
    assert {i.name: i.activation for i in scope.run.catalogue.layers}["first"] == "two-sided"


@pytest.mark.parametrize("phi", [torch.relu, lambda x: F.dropout(torch.relu(x), 0.3)], ids=["alone", "dropped"])
def test_dead_units_of_a_relu_called_as_a_function(phi: Any) -> None:
    """Behind a dropout too: its mask is a constant, where a gate is a signal."""
    torch.manual_seed(0)
    model = Functional(phi)
    with torch.no_grad():
        model.first.bias[:3] = -100.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1) as scope:
        for x, y in batches(2):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            optimizer.step()
            scope.step(loss)
    assert value(scope.run, "layers", "dead_share", 1, ("first", 0)) == pytest.approx(3 / 8)


FLAT: list[tuple[Any, nn.Module, float]] = [
    (F.gelu, nn.Identity(), -6.0),  # a rest of gradient, 1e-6, comes through
    (F.gelu, nn.ReLU(), -2.0),  # none does through what stands behind
    (torch.relu, nn.Identity(), -6.0),
]


@pytest.mark.parametrize(("phi", "behind", "bias"), FLAT, ids=["on the flat part", "blocked behind", "both"])
def test_a_unit_that_a_function_leaves_without_slope_or_gradient_is_dead(phi: Any, behind: nn.Module, bias: float) -> None:
    """In each micro-batch: one that passes something in one of them is not."""
    torch.manual_seed(0)
    model = Functional(lambda h: behind(phi(h)))
    model.behind = behind
    with torch.no_grad():
        model.first.weight.mul_(0.1)
        model.first.bias[:] = torch.tensor([bias] * 5 + [1.0] * 3)
        model.first.weight[3] = torch.tensor([8.0] + [0.0] * 7)
    x = torch.randn(12, 8)
    x[:, 0] = 0.0
    with watch(model, every=1) as scope:
        for k, wakes in enumerate((False, True)):
            model.zero_grad()
            for rows in x.split(4):
                rows[0, 0] = float(wakes)  # wakes unit 3
                loss = model(rows).square().mean()
                loss.backward()
            assert loss.item()
            scope.step(loss)
            assert value(scope.run, "layers", "dead_share", k, ("first", 0)) == (5 - wakes) / 8


def test_a_function_s_slope_alone_tells_dead_units_where_no_gradient_comes_back() -> None:
    torch.manual_seed(0)
    model = Functional(F.gelu)
    with torch.no_grad():
        model.first.bias[:3] = -100.0
        model.second.weight.zero_()
    with watch(model, every=1) as scope:
        loss = model(torch.randn(4, 8)).square().mean()
        loss.backward()
        scope.step(loss)
    assert value(scope.run, "layers", "backward_norm", 0, ("first", 0)) == 0.0
    assert value(scope.run, "layers", "dead_share", 0, ("first", 0)) == 3 / 8


def test_a_saturated_share_over_micro_batches_of_different_sizes_is_that_of_all_entries() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    flat = entries = 0
    with watch(model, optimizer, every=1) as scope:
        for rows, scale in ((16, 1.0), (3, 30.0), (1, 5.0)):
            x = scale * torch.randn(rows, 6)
            inputs = model[0](x).detach()
            slope = 1.0 - torch.tanh(inputs.double()) ** 2
            flat += int((slope < 0.05).sum())
            entries += slope.numel()
            loss = model(x).square().mean()
            loss.backward()
        optimizer.step()
        scope.step(loss)
    assert 0 < flat < entries
    assert value(scope.run, "layers", "saturated_share", 0, ("1", 0)) == pytest.approx(flat / entries, rel=1e-9)


def test_a_bounded_rectifier_called_as_a_function_has_dead_units_and_no_saturated_ones() -> None:
    torch.manual_seed(0)
    model = Functional(F.relu6)
    with torch.no_grad():
        model.first.bias[:3] = -100.0
        model.first.bias[3:5] = 3.0
    with watch(model, every=1) as scope:
        for x, y in batches(2):
            loss = cross_entropy(model, x, y)
            loss.backward()
            scope.step(loss)
    assert value(scope.run, "layers", "dead_share", 1, ("first", 0)) == 3 / 8
    assert value(scope.run, "layers", "saturated_share", 1, ("first", 0)) is None


class Changing(nn.Module):
    """A layer of whose output an activation takes this or that; ``phi`` may be replaced while it trains."""

    def __init__(self, phi: Any) -> None:
        super().__init__()
        self.first, self.head, self.phi = nn.Linear(8, 8), nn.LazyLinear(4), phi

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.phi(self.first(x)))
        return out


def test_another_activation_on_the_same_output_is_never_read_by_the_first_one_s_slope() -> None:
    """Until it is known it is absent; where there are two at once, one is read."""
    from tests.capture.reference import saturated_share

    torch.manual_seed(0)
    model = Changing(torch.relu)
    model(torch.zeros(1, 8))
    with watch(model, every=1) as scope:
        for k, (x, y) in enumerate(batches(20)):
            if k == 12:
                model.phi = torch.tanh
            elif k == 17:
                model.phi = lambda h: torch.relu(h) + torch.tanh(h)
            loss = cross_entropy(model, x, y)
            loss.backward()
            scope.step(loss)
            share = value(scope.run, "layers", "saturated_share", k, ("first", 0))
            expected = saturated_share(nn.Tanh(), model.first(x).detach().flatten())
            assert share is None if k < 12 else share in (None, pytest.approx(expected, abs=1e-12)), k
        assert value(scope.run, "layers", "saturated_share", 16, ("first", 0)) is not None


def test_what_a_function_makes_of_an_activation_s_output_is_not_the_activation_s() -> None:
    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.phi, self.head = nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(F.gelu(self.phi(self.first(x))))
            return out

    torch.manual_seed(0)
    model = Stacked()
    with torch.no_grad():
        model.first.bias[:3] = -100.0
    with watch(model, every=1) as scope:
        for x, y in batches(2):
            loss = cross_entropy(model, x, y)
            loss.backward()
            scope.step(loss)
    assert [value(scope.run, "layers", "dead_share", k, ("phi", 0)) for k in range(2)] == [3 / 8, 3 / 8]


def test_an_activation_of_some_of_the_units_says_nothing_of_all() -> None:
    torch.manual_seed(0)
    model = Changing(lambda h: torch.cat([torch.relu(h[:, :4]), h[:, 4:]], -1))
    model(torch.zeros(1, 8))
    with torch.no_grad():
        model.first.bias[:2] = -100.0
    with watch(model, every=1) as scope:
        for x, y in batches(2):
            loss = cross_entropy(model, x, y)
            loss.backward()
            scope.step(loss)
    assert value(scope.run, "layers", "dead_share", 1, ("first", 0)) == 2 / 8  # by the gradient, which is 0 there


def test_dead_units_of_a_function_of_an_images_mean() -> None:
    """What the activation takes is smaller than what the convolution gives: its units are the channels all the same."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(torch.relu(self.conv(x).mean((2, 3))))
            return out

    torch.manual_seed(0)
    model = Pooled()
    with torch.no_grad():
        model.conv.bias[:3] = -100.0  # type: ignore[index]
        model.conv.bias[3:] = 100.0  # type: ignore[index]
    with watch(model, every=1) as scope:
        for k in range(2):
            loss = model(torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(k))).square().sum()
            loss.backward()
            scope.step(loss)
    assert [value(scope.run, "layers", "dead_share", k, ("conv", 0)) for k in range(2)] == [3 / 8, 3 / 8]


# ---- dimensions of units


def test_micro_batches_with_other_numbers_of_units_have_no_share_of_dead_ones() -> None:
    """An activation whose units are the last dimension, of sequences of several lengths."""

    class Sequences(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.phi = nn.Conv1d(3, 4, 3, padding=1), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.phi(self.conv(x).cumsum(1)).mean(-1)  # which may have changed what the units are
            return out

    torch.manual_seed(0)
    model = Sequences()
    with watch(model, every=1) as scope:
        for k in range(4):
            for length in (5, 7) if k % 2 else (5, 5):
                loss = model(torch.randn(1, 3, length)).square().mean()
                loss.backward()
            scope.step(loss)
    shares = [value(scope.run, "layers", "dead_share", k, ("phi", 0)) for k in range(4)]
    assert [share is None for share in shares] == [False, True, False, True]
    assert value(scope.run, "layers", "backward_norm", 1, ("phi", 0)) is not None


def test_the_units_of_an_activation_behind_sums_and_functions_are_those_of_the_layer_before() -> None:
    """A sequence of channels looks like one of features: the channels of the convolution tell."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.conv = nn.Conv1d(3, 8, 3, padding=1), nn.Conv1d(8, 8, 3, padding=1)
            self.add, self.again, self.last = nn.ReLU(), nn.ReLU(inplace=True), nn.Hardtanh(0.0, 0.5)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x)
            h = self.add(h + F.gelu(self.conv(h)) * 0.5)
            h = self.last(self.again(h - 0.1))
            out: Tensor = self.head(h.mean(-1))
            return out

    torch.manual_seed(0)
    model = Residual()
    with torch.no_grad():
        model.stem.bias[:3] = -100.0  # type: ignore[index]
    seen: dict[str, Tensor] = {}
    for name in ("add", "again", "last"):
        model.get_submodule(name).register_forward_pre_hook(lambda m, a, name=name: seen.update({name: a[0].detach().clone()}))
    with watch(model, every=1) as scope:
        loss = model(torch.randn(5, 3, 6)).square().mean()
        loss.backward()
        scope.step(loss)
    for name, inputs in seen.items():
        blocked = (inputs <= 0) | (inputs >= 0.5) if name == "last" else inputs <= 0
        dead = float(blocked.all(2).all(0).double().mean())
        assert dead >= 3 / 8
        assert value(scope.run, "layers", "dead_share", 0, (name, 0)) == pytest.approx(dead), name


def test_the_units_of_any_layout() -> None:
    class Layouts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wave = nn.Conv1d(8, 5, 3, padding=1)
            self.relu = nn.ReLU()
            self.rows = nn.Linear(5, 7)
            self.act = nn.ReLU()
            self.head = nn.Linear(7, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.relu(self.wave(x[:, :, None].expand(-1, -1, 6)))  # (rows, 5 channels, 6)
            h = self.act(self.rows(h.transpose(1, 2).reshape(-1, 2, 3, 5)))  # (rows, 2, 3, 7 features)
            out: Tensor = self.head(h.mean((1, 2)))
            return out

    torch.manual_seed(0)
    model = Layouts()
    with torch.no_grad():
        model.wave.bias[:2] = -100.0  # type: ignore[index]
        model.rows.bias[:3] = -100.0
    outputs: dict[str, Tensor] = {}
    for name in ("wave", "rows"):
        model.get_submodule(name).register_forward_hook(lambda m, a, o, name=name: outputs.update({name: o.detach()}))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watch(model, optimizer, every=1) as scope:
        for x, y in batches(2):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            optimizer.step()
            scope.step(loss)
    widths = {i.name: i.width for i in scope.run.catalogue.layers}
    assert widths == {"wave": 5, "relu": 5, "rows": 7, "act": 7, "head": 4}
    waves = float((outputs["wave"] <= 0).all(2).all(0).double().mean())
    rows = float((outputs["rows"] <= 0).flatten(0, 2).all(0).double().mean())
    assert waves >= 2 / 5
    assert rows >= 3 / 7
    for name, dead in {"wave": waves, "relu": waves, "rows": rows, "act": rows}.items():
        assert value(scope.run, "layers", "dead_share", 1, (name, 0)) == pytest.approx(dead), name


def test_moments_of_a_large_output_say_on_how_many_rows() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 8192), nn.ReLU(), nn.Linear(8192, 4))

    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    outputs: list[Tensor] = []
    model[0].register_forward_hook(lambda m, a, o: outputs.append(o.detach().double()))  # type: ignore[index]
    with watch(model, optimizer, every=1) as scope:
        for x, y in batches(2, rows=20):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            optimizer.step()
            scope.step(loss)
    for k, out in enumerate(outputs):
        assert value(scope.run, "layers", "rows", k, ("0", 0)) == 8.0
        assert value(scope.run, "layers", "forward_norm", k, ("0", 0)) == pytest.approx(norm(out), rel=1e-6)
        assert value(scope.run, "layers", "forward_mean", k, ("0", 0)) == pytest.approx(float(out[:8].mean()), rel=1e-9)
        std = float(out[:8].std(unbiased=False))
        assert value(scope.run, "layers", "forward_std", k, ("0", 0)) == pytest.approx(std, rel=1e-9)


@pytest.mark.parametrize("mean", [0.5, 30.0, 1000.0])
def test_the_deviation_of_outputs_far_from_zero(mean: float) -> None:
    """Where their squares, and the mean's, have all but a millionth in common; a rectifier's outputs are read in float32."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    with torch.no_grad():
        model[0].weight.mul_(0.3)
        model[0].bias.fill_(mean)
    x = torch.randn(64, 8)
    with watch(model, every=1) as scope:
        loss = model(x).square().mean()
        loss.backward()
        scope.step(loss)
    out = x
    for i, layer in enumerate(model[:2]):
        out = layer(out)
        expected = float(out.detach().double().std(unbiased=False))
        assert value(scope.run, "layers", "forward_std", 0, (str(i), 0)) == pytest.approx(expected, rel=1e-6), i


def test_the_gradient_at_the_input_of_a_module() -> None:
    torch.manual_seed(0)
    model = Twice()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1) as scope:
        for k, (x, y) in enumerate(batches(4)):
            optimizer.zero_grad()
            inputs: list[tuple[str, Tensor]] = []
            hooks = [
                m.register_forward_pre_hook(lambda m, a, name=n, to=inputs: to.append((name, a[0])))
                for n, m in model.named_children()
            ]
            loss = cross_entropy(model, x, y)
            for hook in hooks:
                hook.remove()
            tensors = [t for _, t in inputs if t.requires_grad]
            for t in tensors:
                t.retain_grad()
            loss.backward()
            optimizer.step()
            scope.step(loss)
            calls: dict[str, int] = {}
            for name, t in inputs:
                call = calls[name] = calls.get(name, -1) + 1
                expected = None if t.grad is None else norm(t.grad)
                got = value(scope.run, "layers", "input_backward_norm", k, (name, call))
                assert got == (None if expected is None else pytest.approx(expected, rel=1e-6)), (k, name, call)


# ---- the shape of the net


class Residual(nn.Module):
    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        self.stem = nn.Linear(8, 8)
        self.blocks = nn.ModuleList([ResidualBlock(norm_first) for _ in range(3)])
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        out: Tensor = self.head(h)
        return out


class ResidualBlock(nn.Module):
    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.norm, self.inner = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        if self.norm_first:
            return x + torch.relu(self.inner(self.norm(x)))
        out: Tensor = self.norm(x + torch.relu(self.inner(x)))
        return out


@pytest.mark.parametrize("norm_first", [True, False])
def test_the_trunk_of_a_residual_net_is_its_stream(norm_first: bool) -> None:
    run, _ = held(lambda: Residual(norm_first), plain_loop)
    stream = ["stem", "blocks.0", "blocks.1", "blocks.2", "head"]
    ends = stream if norm_first else ["stem", "blocks.0.norm", "blocks.1.norm", "blocks.2.norm", "head"]
    assert trunk(run) == ends


class WrittenOut(nn.Module):
    """A highway net in one forward pass (Srivastava et al. 2015): its stream is no module's output."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(8, 6), nn.Linear(6, 4)
        self.layers = nn.ModuleList([nn.Linear(6, 12) for _ in range(layers)])

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for layer in self.layers:
            new, gate = layer(h).chunk(2, 1)
            h = torch.sigmoid(gate) * torch.tanh(new) + (1.0 - torch.sigmoid(gate)) * h
        out: Tensor = self.head(h)
        return out


def test_a_stream_that_is_no_module_s_output_is_read_where_modules_take_it() -> None:
    run, _ = held(lambda: WrittenOut(4), plain_loop)
    stream = ["input of layers.1", "input of layers.2", "input of layers.3", "input of head"]
    assert trunk(run) == ["stem", *stream, "head"]
    assert names(run)[:4] == ["stem", "layers.0", "input of layers.1", "layers.1"]
    assert {i.width for i in run.catalogue.layers if i.kind == "stream"} == {6}
    assert value(run, "layers", "forward_norm", 0, ("input of layers.1", 0)) is None


def test_between_the_stations_of_blocks_a_row_of_two_sums_is_left_alone() -> None:
    run, _ = held(lambda: WrittenOut(2), plain_loop)
    assert trunk(run) == ["stem", "head"]


class Row(nn.Module):
    """A layer as many write it: matrix, norm, activation and dropout in a module of their own, with a path around or not."""

    def __init__(self, phi: nn.Module, *, around: bool) -> None:
        super().__init__()
        self.linear, self.norm, self.phi, self.around = nn.Linear(8, 8), nn.LayerNorm(8), phi, around

    def forward(self, x: Tensor) -> Tensor:
        h = F.dropout(self.phi(self.norm(self.linear(x))), 0.2)
        return x + h if self.around else h


@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("phi", [nn.PReLU, nn.Tanhshrink, nn.GELU])
def test_a_row_in_a_module_of_its_own_is_one_station_of_the_trunk(phi: Any, around: bool) -> None:
    """Whatever the activation is made of: tanhshrink takes its input twice."""
    rows = (Row(phi(), around=around) for _ in range(2))
    model = nn.Sequential(nn.Linear(8, 8), *rows, nn.Linear(8, 4))
    with watch(model, every=1) as scope:
        loss = model(torch.randn(5, 8)).square().sum()
        loss.backward()
        scope.step(loss)
    assert trunk(scope.run) == (["0", "1", "2", "3"] if around else ["0", "1.linear", "2.linear", "3"])


def test_the_trunk_of_a_plain_net_is_every_matrix() -> None:
    run, _ = held(lambda: mlp(nn.ReLU, 5), plain_loop)
    assert trunk(run) == ["0", "2", "4", "6", "8"]
    kinds = {i.name: i.activation for i in run.catalogue.layers}
    assert kinds["1"] == "one-sided"
    assert kinds["0"] is None


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = mlp(nn.ReLU, 3, classes=8), mlp(nn.Tanh, 3, classes=8)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.cat([self.left(x), self.right(2 * x)], 1))
        return out


def test_two_towers_have_both_on_the_trunk() -> None:
    run, _ = held(Towers, plain_loop)
    assert trunk(run) == [*(f"left.{i}" for i in (0, 2, 4)), *(f"right.{i}" for i in (0, 2, 4)), "head"]


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)])
        self.middle = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.ModuleList([nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)])
        self.head = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for conv in self.down:
            x = torch.relu(conv(x))
            kept.append(x)
            x = F.max_pool2d(x, 2, ceil_mode=True)
        x = torch.relu(self.middle(x))
        for conv in self.up:
            skip = kept.pop()
            x = torch.relu(conv(torch.cat([F.interpolate(x, skip.shape[-2:]), skip], 1)))
        out: Tensor = self.head(x).mean((2, 3))
        return out


def test_a_unet() -> None:
    run, _ = held(UNet, image_loop)
    assert trunk(run) == ["down.0", "up.1", "head"]
    assert len(names(run)) == 6


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(8, 8)
        self.layers = nn.ModuleList([nn.Linear(8 * (i + 1), 8) for i in range(3)])
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        seen = [self.stem(x)]
        for layer in self.layers:
            seen.append(torch.relu(layer(torch.cat(seen, 1))))
        out: Tensor = self.head(torch.cat(seen, 1))
        return out


def test_a_dense_net() -> None:
    run, _ = held(Dense, plain_loop)
    assert trunk(run) == ["stem", "head"]
    assert names(run) == ["stem", "layers.0", "layers.1", "layers.2", "head"]


def test_a_frozen_stem_drops_out() -> None:
    def build() -> nn.Module:
        model = mlp(nn.ReLU, 4)
        model[0].requires_grad_(False)
        model[2].requires_grad_(False)
        return model

    run, _ = held(build, plain_loop)
    assert trunk(run) == ["4", "6"]


class LateHead(nn.Module):
    """An auxiliary head that joins in after some steps: no station that was known falls silent."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.extra = mlp(nn.Tanh, 2, classes=8), nn.Linear(8, 4), nn.Linear(8, 4)
        self.joined = False

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        out: Tensor = self.head(h)
        return out + self.extra(h) if self.joined else out


def test_a_layer_that_joins_in_later_is_found() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        assert isinstance(model, LateHead)
        for k, (x, y) in enumerate(batches(18)):
            model.joined = k >= 6
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    run, _ = held(LateHead, loop, unseen=[(6, ("extra", 0))])
    assert "extra" in names(run)


class Skipping(nn.Module):
    """Residual layers of which two in three forward passes leave out the middle one (Huang et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(8, 6), nn.Linear(6, 4)
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(5)])
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for i, layer in enumerate(self.layers):
            if i != 2 or self.passes % 3 == 2:
                h = h + torch.tanh(layer(h))
        self.passes += 1
        out: Tensor = self.head(h)
        return out


def test_a_layer_that_joins_in_later_stands_where_it_ran() -> None:
    run, _ = held(Skipping, plain_loop)
    stream = [f"input of layers.{i}" for i in range(1, 5)]
    assert trunk(run) == ["stem", *stream, "input of head", "head"]
    assert [name for name in names(run) if not name.startswith("input")] == ["stem", *(f"layers.{i}" for i in range(5)), "head"]


class Pieces(nn.Module):
    """Trained through methods of its own: the root is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(nn.Tanh, 3, classes=8), mlp(nn.ReLU, 2)

    def encode(self, x: Tensor) -> Tensor:
        out: Tensor = self.encoder(x)
        return out


def test_an_evaluation_in_another_thread_takes_nothing_from_a_forward_pass_that_runs_beside_it() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        inside, passed = threading.Event(), threading.Event()

        def evaluate() -> None:
            with torch.no_grad():
                model(torch.zeros(3, 8))

        def meet(module: nn.Module, _args: object) -> None:
            """The evaluation goes in and waits there while the training's forward pass goes on."""
            if torch.is_grad_enabled():
                threading.Thread(target=evaluate).start()
                assert inside.wait(10)
            else:
                inside.set()
                assert passed.wait(10)

        model.get_submodule("1").register_forward_pre_hook(meet)
        for x, y in batches(3):
            inside.clear()
            passed.clear()
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            passed.set()
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(lambda: mlp(nn.Tanh), loop)


def test_layers_that_are_added_or_replaced_are_recorded_from_the_step_after() -> None:
    torch.manual_seed(0)
    model = mlp(nn.ReLU)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    missing: dict[int, set[str]] = {}
    with watch(model, optimizer, every=1) as scope:
        for k, (x, y) in enumerate(batches(12)):
            if k == 4:
                model[2] = nn.Linear(8, 8)
                optimizer.add_param_group({"params": list(model[2].parameters())})
            if k == 8:
                model.append(nn.Tanh()).append(nn.Linear(4, 4))
                model[1] = nn.Tanh()
            optimizer.zero_grad()
            seen: dict[str, Tensor] = {}
            handles = [
                m.register_forward_hook(lambda _m, _a, o, name=n, seen=seen: (o.retain_grad(), seen.update({name: o}))[0])
                for n, m in model.named_children()
            ]
            loss = cross_entropy(model, x, y)
            loss.backward()
            for handle in handles:
                handle.remove()
            optimizer.step()
            scope.step(loss)
            for name, output in seen.items():
                got = value(scope.run, "layers", "backward_norm", k, (name, 0))
                if got is None:
                    missing.setdefault(k, set()).add(name)
                else:
                    assert got == pytest.approx(norm(output.grad), rel=1e-6), (k, name)
    assert missing == {4: {"2"}, 8: {"1", "5", "6"}}
    assert {i.name: i.kind for i in scope.run.catalogue.layers}["1"] == "Tanh"


def test_a_lazy_model_is_recorded_once_it_has_parameters() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(4))
    with watch(model, every=1) as scope:
        for k, (x, y) in enumerate(batches(3)):
            model.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            expected = norm(model[0].weight.grad)  # type: ignore[arg-type]
            scope.step(loss)
            assert value(scope.run, "parameters", "grad_norm", k, ("0.weight", 0)) == (
                None if k == 0 else pytest.approx(expected)
            )
    assert value(scope.run, "layers", "dead_share", 2, ("0", 0)) is not None


def test_submodules_called_without_the_root() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Eye) -> None:
        assert isinstance(model, Pieces)
        for x, y in batches(3):
            optimizer.zero_grad()
            loss = torch.zeros(())
            for some, labels in zip(x.chunk(2), y.chunk(2), strict=True):
                loss = F.cross_entropy(model.decoder(model.encode(some)), labels) / 2
                loss.backward()
                eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    with pytest.warns(match="output"):
        run, _ = held(Pieces, loop)
    assert trunk(run) == ["encoder.0", "encoder.2", "encoder.4", "decoder.0", "decoder.2"]


def test_a_model_in_eval_mode_is_said_to_show_no_layers() -> None:
    model = mlp()
    model.eval()

    def train(scope: Any) -> None:
        for x, y in batches(2):
            model.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            optimizer.step()
            scope.step(loss)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scope = warned("no module", train, model, optimizer)
    assert scope.run.grid("layers", "forward_norm").empty
    assert value(scope.run, "steps", "total_norm", 1) is not None


def test_a_transformer() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)
            self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.body(x[:, None].expand(-1, 3, -1)).mean(1))
            return out

    run, _ = held(Encoder, plain_loop)
    assert trunk(run)[-1] == "head"
    assert {"body.layers.0", "body.layers.1"} <= set(trunk(run))


@pytest.mark.parametrize("rows", [256, 40_000])  # together with others, and a large one alone
def test_the_mean_of_a_rectifiers_output_is_right_where_its_sum_overflows(rows: int) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    x = 1e37 * torch.rand(rows, 2)
    out = head(model[:2](x).detach())
    with watch(model, torch.optim.SGD(model.parameters(), lr=0.0), every=1) as scope:
        loss = (model(x) * 1e-30).square().mean()
        loss.backward()
        scope.step(loss)
    assert out.sum().isinf()
    assert value(scope.run, "layers", "forward_mean", 0, ("1", 0)) == pytest.approx(float(out.double().mean()), rel=1e-6)
    assert value(scope.run, "layers", "dead_share", 0, ("1", 0)) == 1 - float((out > 0).any(0).double().mean())
