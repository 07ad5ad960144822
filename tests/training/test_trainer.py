from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from gradscope.training.build import build, loss_function
from gradscope.training.config import Config
from gradscope.training.data import Data, Split
from gradscope.training.optimizers import OPTIMIZERS
from gradscope.training.trainer import Trainer
from tests.training.configs import config


def doubled(given: Config) -> Trainer:
    setup = build(given)
    parts = (Split(s.x.double(), s.y) for s in (setup.data.train, setup.data.validation))
    return Trainer(replace(setup, model=setup.model.double(), data=Data(*parts, setup.data.outputs)))


def gradients(trainer: Trainer) -> list[torch.Tensor]:
    return [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.model.parameters()]


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce"])
@pytest.mark.parametrize("times", [2, 3, 8])
def test_accumulated_micro_batches_have_the_gradient_of_the_big_batch(times: int, loss: str) -> None:
    size = 8
    small = doubled(config(loss=loss, data={"batch_size": size}, training={"accumulate": times}))
    whole = doubled(config(loss=loss, data={"batch_size": size * times}))
    x, classes = (torch.cat(parts) for parts in zip(*(small.batches[i] for i in range(times)), strict=True))
    output = whole.model(x)
    expected_loss = whole.setup.loss(output, classes)
    expected_loss.backward()  # type: ignore[no-untyped-call]
    got_loss, got_accuracy = small.step(0)
    for ours, theirs in zip(gradients(small), gradients(whole), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12 * theirs.abs().max().item())
    assert got_loss.item() == pytest.approx(expected_loss.item(), rel=1e-12)
    assert got_accuracy.item() == pytest.approx((output.argmax(1) == classes).double().mean().item())


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_step_is_the_one_that_torch_takes(name: str) -> None:
    given = config(optimizer={"name": name, "lr": 0.01}, schedule={"name": "cosine", "warmup_steps": 2})
    trainer, other = Trainer(build(given)), Trainer(build(given))
    reference = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}[
        name
    ]
    more: dict[str, Any] = {"momentum": 0.9} if name == "sgd" else {}
    optimizer = reference(other.model.parameters(), lr=0.01, **more)
    for step, lr in enumerate([0.005, 0.01, 0.01, 0.0085355339]):
        trainer.step(step)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        x, classes = other.batches[step]
        other.setup.loss(other.model(x), classes).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for ours, theirs in zip(weights(trainer), weights(other), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-8)


def test_weight_decay_and_other_options_reach_the_optimizer() -> None:
    trainer = Trainer(build(config(optimizer={"name": "adamw", "weight_decay": 0.3, "betas": [0.8, 0.9], "eps": 1e-6})))
    (group,) = trainer.optimizer.param_groups
    assert (group["weight_decay"], group["betas"], group["eps"]) == (0.3, (0.8, 0.9), 1e-6)


def test_clipping_by_norm_scales_the_accumulated_gradient_down() -> None:
    free, clipped = (Trainer(build(config(training={"accumulate": 2, "clip_norm": c}))) for c in (None, 0.05))
    for trainer in (free, clipped):
        trainer.step(0)
    total = torch.stack([g.norm() for g in gradients(free)]).norm()
    assert total > 0.05
    for ours, raw in zip(gradients(clipped), gradients(free), strict=True):
        assert torch.allclose(ours, raw * 0.05 / total, rtol=1e-4)


def test_clipping_by_value_cuts_each_entry_off() -> None:
    free, clipped = (Trainer(build(config(training={"clip_value": c}))) for c in (None, 0.01))
    for trainer in (free, clipped):
        trainer.step(0)
    assert any((g.abs() > 0.01).any() for g in gradients(free))
    for ours, raw in zip(gradients(clipped), gradients(free), strict=True):
        assert torch.equal(ours, raw.clamp(-0.01, 0.01))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce"])
@pytest.mark.parametrize("clip_norm", [None, 1e-3])
def test_lower_precisions_take_the_same_step_to_their_rounding(precision: str, loss: str, clip_norm: float | None) -> None:
    low = Trainer(build(config(loss=loss, training={"precision": precision, "clip_norm": clip_norm, "accumulate": 2})))
    full = Trainer(build(config(loss=loss, training={"clip_norm": clip_norm, "accumulate": 2})))
    if low.scaler:  # its first scale of 65536 overflows here, and the step would be skipped
        low.scaler.load_state_dict({**low.scaler.state_dict(), "scale": 256.0})
    losses = [float(t.step(0)[0]) for t in (low, full)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]
    for ours, theirs in zip(low.model.parameters(), full.model.parameters(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, theirs, rtol=0.02, atol=2e-3)


def test_an_overflow_in_float16_skips_the_step_and_halves_the_scale() -> None:
    trainer = Trainer(build(config(training={"precision": "float16"}, model={"init": {"scheme": "normal", "gain": 3000.0}})))
    before = weights(trainer)
    trainer.step(0)
    assert trainer.scaler is not None
    assert trainer.scaler.get_scale() == 32768.0
    assert all(torch.equal(a, b) for a, b in zip(before, weights(trainer), strict=True))


def test_validation_is_the_mean_over_all_its_rows_in_eval_mode() -> None:
    trainer = Trainer(build(config(data={"batch_size": 17}, model={"dropout": 0.5, "norm": "batch"})))
    held = trainer.setup.data.validation
    assert len(held) % 17 != 0
    trainer.step(0)
    state = torch.get_rng_state()
    loss, accuracy = trainer.validate()
    assert torch.equal(state, torch.get_rng_state())
    assert all(m.training for m in trainer.model.modules())
    trainer.model.eval()
    with torch.no_grad():
        outputs = trainer.model(held.x)
    assert loss.item() == pytest.approx(nn.functional.cross_entropy(outputs, held.y).item(), rel=1e-5)
    assert accuracy.item() == pytest.approx((outputs.argmax(1) == held.y).float().mean().item())


def test_losses_against_one_hot_classes_are_those_of_torch() -> None:
    outputs, classes = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    hot = torch.eye(3)[classes]
    assert torch.equal(loss_function("mse", 3)(outputs, classes), (outputs - hot).square().mean())
    bce = -(hot * outputs.sigmoid().log() + (1 - hot) * (1 - outputs.sigmoid()).log()).mean()
    assert torch.allclose(loss_function("bce", 3)(outputs, classes), bce)


def test_a_restored_trainer_goes_on_bit_by_bit() -> None:
    given = config(optimizer={"name": "adam"}, model={"dropout": 0.3, "norm": "batch"})
    straight, first = Trainer(build(given)), Trainer(build(given))
    torch.manual_seed(5)
    losses = [straight.step(s)[0] for s in range(6)]
    torch.manual_seed(5)
    for s in range(3):
        first.step(s)
    state = first.state_dict()
    second = Trainer(build(given))
    second.load_state_dict(state)
    assert [second.step(s)[0] for s in range(3, 6)] == losses[3:]
    assert all(torch.equal(a, b) for a, b in zip(weights(straight), weights(second), strict=True))


def test_compiling_changes_the_result_by_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend="aot_eager"))
    compiled, eager = Trainer(build(config(training={"compile": True}))), Trainer(build(config()))
    assert compiled.forward is not compiled.model
    for step in range(3):
        assert compiled.step(step)[0].item() == pytest.approx(eager.step(step)[0].item(), rel=1e-5)


def test_weights_and_data_do_not_depend_on_the_random_state_before() -> None:
    torch.manual_seed(1)
    one = build(config())
    torch.manual_seed(2)
    two = build(config())
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    assert torch.equal(one.data.train.x, two.data.train.x)
    other = build(config(seed=1))
    assert not torch.equal(next(one.model.parameters()), next(other.model.parameters()))
