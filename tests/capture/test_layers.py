"""What is recorded at the layers, against plain torch: ``retain_grad`` on every output, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import gradscope
from gradscope.errors import RecordingWarning
from gradscope.record.run import Run

BATCH = 12


def data(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(BATCH, *shape, generator=generator), torch.randint(0, 4, (BATCH,), generator=generator)


def watched(model: nn.Module, loss_of: Callable[[nn.Module], Tensor], steps: int = 2, **options: Any) -> Run:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with gradscope.watch(model, optimizer, **{"every": 1, **options}) as scope:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = loss_of(model)
            loss.backward()
            optimizer.step()
            scope.step(loss)
    return scope.run


def reference(build: Callable[[], nn.Module], loss_of: Callable[[nn.Module], Tensor]) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Each leaf module's outputs and their gradients, by call, in the first step: plain hooks and ``retain_grad``."""
    model = build()
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object, output: Tensor) -> None:
            if output.requires_grad:
                output.retain_grad()
                seen.setdefault(name, []).append(output)

        return hook

    for name, module in model.named_modules():
        if name and not any(True for _ in module.children()):
            module.register_forward_hook(keep(name))
    loss_of(model).backward()
    return {n: [(o.detach().double(), o.grad.double()) for o in outs if o.grad is not None] for n, outs in seen.items()}


def assert_as_reference(run: Run, expected: dict[str, list[tuple[Tensor, Tensor]]], names: list[str]) -> None:
    grids = {c: run.grid("layers", c) for c in ("forward_norm", "forward_mean", "forward_std", "backward_norm")}
    place = {e: i for i, e in enumerate(grids["forward_norm"].entities)}
    for name in names:
        for call, (output, gradient) in enumerate(expected[name]):
            at = place[name, call]
            wanted = {
                "forward_norm": output.norm(),
                "forward_mean": output.mean(),
                "forward_std": output.std(correction=0),
                "backward_norm": gradient.norm(),
            }
            for column, value in wanted.items():
                assert grids[column].present[0, at], (column, name)
                np.testing.assert_allclose(
                    grids[column].values[0, at], float(value), rtol=1e-6, atol=1e-9, err_msg=f"{column} {name}"
                )


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 4))


def plain_loss(model: nn.Module) -> Tensor:
    x, y = data(6)
    return F.cross_entropy(model(x), y)


def test_a_plain_net_is_recorded_as_retain_grad_reads_it() -> None:
    run = watched(plain(), plain_loss)
    assert [i.name for i in run.catalogue.layers] == ["0", "1", "2", "3", "4", "5"]
    assert [i.name for i in run.catalogue.layers if i.trunk] == ["0", "2", "5"]
    assert_as_reference(run, reference(plain, plain_loss), ["0", "1", "2", "3", "4", "5"])


def test_the_input_gradient_is_what_the_module_alone_sends_back() -> None:
    run = watched(plain(), plain_loss)
    expected = reference(plain, plain_loss)
    grid = run.grid("layers", "input_backward_norm")
    for name, before in (("1", "0"), ("2", "1"), ("3", "2"), ("4", "3"), ("5", "4")):
        at = grid.entities.index((name, 0))
        for step in range(2):
            assert grid.present[step, at], name
        np.testing.assert_allclose(grid.values[0, at], float(expected[before][0][1].norm()), rtol=1e-6)
    assert not grid.present[:, grid.entities.index(("0", 0))].any()  # the input needs no gradient


def test_a_module_of_several_nodes_has_no_input_gradient_rather_than_a_part_of_it() -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 16), nn.Softsign(), nn.Linear(16, 4))

    grid = watched(build(), plain_loss).grid("layers", "input_backward_norm")
    assert not grid.present[:, grid.entities.index(("1", 0))].any()
    assert grid.present[:, grid.entities.index(("2", 0))].all()


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))


def test_activations_in_place_leave_the_gradients_and_the_outputs_before_them_right() -> None:
    def loss_of(model: nn.Module) -> Tensor:
        x, y = data(2, 5, 5)
        return F.cross_entropy(model(x), y)

    def apart() -> nn.Module:
        model = convolutional()
        for m in model:
            if isinstance(m, nn.ReLU):
                m.inplace = False
        return model

    for steps in (1, 3):  # a station is told to be overwritten at the first sample, and copied from then on
        run = watched(convolutional(), loss_of, steps)
        assert_as_reference(run, reference(apart, loss_of), ["0", "1", "2", "3", "4", "7"])
        assert run.grid("layers", "forward_norm").present.all()


def test_large_outputs_have_exact_norms_and_say_on_how_many_rows_the_rest_was_taken() -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(16 * 24 * 24, 4))

    def loss_of(model: nn.Module) -> Tensor:
        x, y = data(1, 24, 24)
        return F.cross_entropy(model(x), y)

    run = watched(build(), loss_of, 4)
    expected = reference(build, loss_of)
    for column, which in (("forward_norm", 0), ("backward_norm", 1)):
        grid = run.grid("layers", column)
        np.testing.assert_allclose(grid.values[0, 0], float(expected["0"][0][which].norm()), rtol=1e-6)
        assert grid.present.all()
    rows = run.grid("layers", "rows").values[0, 0]
    assert 0 < rows < BATCH
    part = expected["0"][0][0][: int(rows)]
    np.testing.assert_allclose(run.grid("layers", "forward_mean").values[0, 0], float(part.mean()), rtol=1e-6, atol=1e-9)


def test_dead_and_saturated_shares() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 4))
    with torch.no_grad():
        model[0].bias[:3] = -100.0  # three of ten units never fire
        model[2].bias[:2] = 50.0  # two of eight sit on the flat part for every row
        model[2].weight[2:] *= 1e-3
    run = watched(model, plain_loss, 1)
    dead, saturated = run.grid("layers", "dead_share"), run.grid("layers", "saturated_share")
    assert dead.values[0, dead.entities.index(("1", 0))] == pytest.approx(0.3)
    assert dead.values[0, dead.entities.index(("0", 0))] == pytest.approx(0.3)
    assert saturated.values[0, saturated.entities.index(("3", 0))] == pytest.approx(0.25)
    assert not saturated.present[0, saturated.entities.index(("1", 0))]


class Functional(nn.Module):
    """Activations called as functions, one of them a gate."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.gate, self.second = nn.Linear(6, 10), nn.Linear(6, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)) * torch.sigmoid(self.gate(x)))


def test_functional_activations_are_seen_and_gates_are_not_called_dead() -> None:
    model = Functional()
    with torch.no_grad():
        model.first.bias[:5] = -100.0
        model.gate.bias.fill_(-20.0)
    run = watched(model, plain_loss, 1)
    shares = run.grid("layers", "saturated_share")
    assert not shares.present[0, shares.entities.index(("gate", 0))]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.act, self.head = nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.inner(self.act(self.inner(x)))))


def test_a_second_call_in_one_forward_is_its_own_row() -> None:
    run = watched(Twice(), plain_loss)
    entities = run.grid("layers", "backward_norm").entities
    assert {("inner", 0), ("inner", 1), ("act", 0), ("act", 1), ("head", 0)} == set(entities)
    assert_as_reference(run, reference(Twice, plain_loss), ["inner", "act", "head"])


class Outputs(nn.Module):
    """Several outputs, in whatever a model may return."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.stem, self.a, self.b = kind, nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Any:
        h = torch.tanh(self.stem(x))
        a, b = self.a(h), self.b(h)
        loss = F.cross_entropy(a, data(6)[1]) + b.square().mean()
        return {"tuple": (a, b), "dict": {"logits": a, "other": b}, "loss": {"loss": loss, "logits": a}}[self.kind]


@pytest.mark.parametrize("kind", ["tuple", "dict", "loss"])
def test_several_outputs_and_models_that_return_their_loss(kind: str) -> None:
    def loss_of(model: nn.Module) -> Tensor:
        x, y = data(6)
        out = model(x)
        if kind == "loss":
            return out["loss"]
        a, b = out if kind == "tuple" else out.values()
        return F.cross_entropy(a, y) + b.square().mean()

    run = watched(Outputs(kind), loss_of)
    assert_as_reference(run, reference(lambda: Outputs(kind), loss_of), ["stem", "a", "b"])
    assert run.grid("steps", "output_backward_norm").present.any()


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.reentrant = reentrant
        self.stem, self.body, self.head = nn.Linear(6, 8), nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        h = self.body(h) if self.reentrant is None else checkpoint(self.body, h, use_reentrant=self.reentrant)
        return self.head(h)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_part_is_counted_once(reentrant: bool) -> None:
    run = watched(Checkpointed(reentrant), plain_loss)
    expected = reference(lambda: Checkpointed(None), plain_loss)
    assert_as_reference(run, expected, ["stem", "body.0", "body.1", "head"])
    assert all(call == 0 for _, call in run.grid("layers", "forward_norm").entities)


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8))
        self.right = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.left(x[:, :3]), self.right(x[:, 3:])], 1))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down, self.deep, self.up, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        down = torch.tanh(self.down(x))
        return self.head(torch.tanh(self.up(torch.cat([down, torch.tanh(self.deep(down))], 1))))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(h)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.act, self.outer = nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.outer(self.act(self.inner(h)))


@pytest.mark.parametrize(
    ("build", "trunk"),
    [
        (Towers, ["left.0", "left.2", "right.0", "right.2", "head"]),
        (UNet, ["down", "up", "head"]),
        (Residual, ["stem", "blocks.0", "blocks.1", "blocks.2", "head"]),
    ],
)
def test_the_trunk_is_what_every_path_to_the_loss_passes(build: Callable[[], nn.Module], trunk: list[str]) -> None:
    run = watched(build(), plain_loss)
    assert [i.name for i in run.catalogue.layers if i.trunk] == trunk
    assert run.grid("layers", "backward_norm").present.all()


def test_submodules_called_without_the_root_are_seen() -> None:
    def loss_of(model: nn.Module) -> Tensor:
        x, y = data(6)
        return F.cross_entropy(model.head(torch.tanh(model.stem(x))), y)

    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 4)

    with pytest.warns(RecordingWarning, match="output"):
        run = watched(Parts(), loss_of)
    assert_as_reference(run, reference(Parts, loss_of), ["stem", "head"])


def test_what_runs_between_the_steps_is_not_recorded() -> None:
    x, _ = data(6)

    def loss_of(model: nn.Module) -> Tensor:
        with torch.no_grad():
            model(x + 1)
        model.eval()
        model(x + 2)
        model.train()
        return plain_loss(model)

    run = watched(plain(), loss_of)
    assert_as_reference(run, reference(plain, plain_loss), ["0", "2", "5"])


def test_a_tiny_gradient_has_its_norm() -> None:
    def tiny(model: nn.Module) -> Tensor:
        return plain_loss(model) * 1e-30

    run = watched(plain(), tiny)
    grads = run.grid("parameters", "grad_norm")
    assert (grads.values[grads.present] > 0).all()
    expected = reference(plain, tiny)
    np.testing.assert_allclose(run.grid("layers", "backward_norm").values[0, 0], float(expected["0"][0][1].norm()), rtol=1e-5)
