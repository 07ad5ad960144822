"""Mixed precision: gradients are recorded without the loss scale, and a step that the scaler skips shows who overflowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradscope.scope import watch
from tests.capture.nets import batches, cross_entropy, mlp
from tests.capture.reference import FLOAT32, Plain, Watched, agree, held, value

Optimizer = Callable[[Any], torch.optim.Optimizer]
SGD: Optimizer = lambda p: torch.optim.SGD(p, lr=0.1)  # noqa: E731
FUSED: Optimizer = lambda p: torch.optim.AdamW(p, lr=0.01, fused=True)  # noqa: E731


def scaled_twins(optimizer: Optimizer, *, unscale: bool, clip: float | None = None, init_scale: float = 65536.0) -> None:
    """A training under a scaler, watched, against plain torch's gradients divided by the scale."""

    def train(model: nn.Module, taken: Any, scaler: Any, eye: Any) -> None:
        for x, y in batches(5):
            taken.zero_grad()
            loss = cross_entropy(model, x, y)
            scaler.scale(loss).backward()
            eye.backward_done()
            if unscale:
                scaler.unscale_(taken)
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            if isinstance(eye, Plain):
                eye.scale = (lambda: 1.0) if unscale else scaler.get_scale
                eye.before_step()
                eye.scale = scaler.get_scale
            scaler.step(taken)
            scaler.update()
            eye.step(loss)

    torch.manual_seed(0)
    other = mlp()
    scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=2)
    plain = Plain(other, scale=scaler.get_scale)
    train(other, optimizer(other.parameters()), scaler, plain)
    torch.manual_seed(0)
    model = mlp()
    taken = optimizer(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=2)
    with watch(model, taken, every=1, scaler=scaler) as scope:
        train(model, taken, scaler, Watched(scope))
    agree(scope.run, plain, rel=1e-6)
    assert [value(scope.run, "steps", "skipped", k) for k in range(5)] == [0.0] * 5
    assert value(scope.run, "steps", "loss_scale", 4) == scaler.get_scale() > init_scale
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("optimizer", [SGD, FUSED])
@pytest.mark.parametrize("unscale", [False, True])
def test_gradients_are_recorded_without_the_loss_scale(optimizer: Optimizer, unscale: bool) -> None:
    scaled_twins(optimizer, unscale=unscale)


@pytest.mark.parametrize("optimizer", [SGD, FUSED])
def test_clipping_under_a_scaler_records_both_norms(optimizer: Optimizer) -> None:
    scaled_twins(optimizer, unscale=True, clip=0.05)


def test_a_clip_of_scaled_gradients_is_read_as_what_it_is() -> None:
    """Without unscale_ the limit applies to scaled gradients: a mistake that the record shows."""
    scaled_twins(FUSED, unscale=False, clip=100.0, init_scale=1024.0)


@pytest.mark.parametrize("optimizer", [SGD, FUSED])
def test_an_overflow_step_is_skipped_and_shows_the_layer_that_overflowed(optimizer: Optimizer) -> None:
    torch.manual_seed(0)
    model = mlp(nn.Tanh, 4)
    taken = optimizer(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    skipped = []

    def explode(gradient: Tensor) -> Tensor:
        return gradient * 1e38

    with watch(model, taken, every=1, scaler=scaler) as scope:
        for step, (x, y) in enumerate(batches(4)):
            taken.zero_grad()
            before = [p.detach().clone() for p in model.parameters()]
            inner: list[Tensor] = []
            handle = model[4].register_forward_hook(lambda m, a, out, inner=inner: inner.append(out))
            loss = cross_entropy(model, x, y)
            handle.remove()
            if step == 1:
                inner[0].register_hook(explode)
            scaler.scale(loss).backward()
            scaler.step(taken)
            scaler.update()
            skipped.append(float(all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))))
            scope.step(loss)
    run = scope.run
    assert skipped == [0.0, 1.0, 0.0, 0.0]
    assert [value(run, "steps", "skipped", k) for k in range(4)] == skipped
    counts = {name: value(run, "parameters", "nonfinite_count", 1, (name, 0)) for name in dict(model.named_parameters())}
    assert counts["6.weight"] == counts["6.bias"] == 0.0
    assert counts["4.weight"] == 64.0
    assert counts["0.weight"] == 64.0
    assert np.isfinite(value(run, "layers", "backward_norm", 1, ("6", 0)))  # type: ignore[arg-type]
    assert not np.isfinite(value(run, "layers", "backward_norm", 1, ("2", 0)))  # type: ignore[arg-type]
    assert not np.isfinite(value(run, "steps", "total_norm", 1))  # type: ignore[arg-type]
    assert value(run, "parameters", "nonfinite_count", 2, ("4.weight", 0)) == 0.0


def test_autocast_to_bfloat16_records_the_float32_gradients() -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Any) -> None:
        for x, y in batches(4):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = cross_entropy(model, x, y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(lambda: mlp(nn.ReLU), loop)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_models_of_another_precision(dtype: torch.dtype) -> None:
    def loop(model: nn.Module, optimizer: Any, eye: Any) -> None:
        for x, y in batches(4):
            optimizer.zero_grad()
            loss = cross_entropy(model, x.to(dtype), y)
            loss.backward()
            eye.backward_done()
            eye.before_step()
            optimizer.step()
            eye.step(loss)

    held(lambda: mlp(nn.ReLU).to(dtype), loop)
    held(lambda: nn.Sequential(nn.Linear(8, 2048), nn.Tanh(), nn.Linear(2048, 4)).to(dtype), loop, rel=FLOAT32)  # large tensors


def test_a_disabled_scaler_is_no_scaler() -> None:
    torch.manual_seed(0)
    model = mlp()
    optimizer = SGD(model.parameters())
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    with watch(model, optimizer, every=1, scaler=scaler) as scope:
        for x, y in batches(2):
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scope.step(loss)
    assert scope.run.grid("steps", "skipped").empty
    assert scope.run.grid("steps", "loss_scale").empty
