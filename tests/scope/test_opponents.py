"""A loss that depends on parameters which another training changes is known as such, and no other is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gradscope
from gradscope.record.reader import load_run


def net(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs))


def descent(*models: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for model in models for p in model.parameters()], lr=0.1)


def adversaries(tmp_path: Path, *, as_number: bool = False, frozen: bool = False) -> tuple[bool, bool]:
    """A generator against a discriminator, two steps; whether the loss of each is known as shared, read from its folder."""
    torch.manual_seed(0)
    maker, judge = net(4, 2), net(2, 1)
    made, judged = descent(maker), descent(judge)
    with gradscope.watch(maker, made, out=tmp_path / "g") as g, gradscope.watch(judge, judged, out=tmp_path / "d") as d:
        for _ in range(2):
            judged.zero_grad()
            real = F.softplus(-judge(torch.randn(16, 2))).mean() + F.softplus(judge(maker(torch.randn(16, 4)).detach())).mean()
            real.backward()
            judged.step()
            d.step(real)
            made.zero_grad()
            judge.requires_grad_(not frozen)
            fooled = F.softplus(-judge(maker(torch.randn(16, 4)))).mean()
            fooled.backward()
            judge.requires_grad_(True)
            made.step()
            g.step(fooled.item() if as_number else fooled)
    return load_run(tmp_path / "g").manifest.shared_loss, load_run(tmp_path / "d").manifest.shared_loss


def shared(model: nn.Module, optimizer: Any, loss: Any) -> bool:
    with gradscope.watch(model, optimizer) as scope:
        for _ in range(2):
            optimizer.zero_grad()
            value: Tensor = loss(torch.randn(16, 4, requires_grad=True))
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scope.step(value)
    return scope.run.manifest.shared_loss


def test_a_generators_loss_depends_on_its_opponent_and_the_opponents_data_on_the_generator(tmp_path: Path) -> None:
    assert adversaries(tmp_path) == (True, True)


@pytest.mark.parametrize("how", [{"as_number": True}, {"frozen": True}])
def test_a_number_and_frozen_parameters_tell_nothing_of_it(tmp_path: Path, how: dict[str, bool]) -> None:
    assert adversaries(tmp_path, **how) == (False, False)


def test_a_net_alone_shares_its_loss_with_nobody_whatever_its_inputs_ask_for() -> None:
    model = net(4, 3)
    assert not shared(model, descent(model), lambda x: model(x).square().mean())


def test_a_part_of_a_net_shares_its_loss_where_the_rest_is_trained_by_an_optimizer_that_is_not_watched() -> None:
    body, head = net(4, 8), nn.Linear(8, 3)
    assert not shared(body, descent(body, head), lambda x: head(body(x)).square().mean())
    assert not shared(body, descent(body), lambda x: head.requires_grad_(False)(body(x)).square().mean())
    head.requires_grad_(True)
    assert shared(body, descent(body), lambda x: head(body(x)).square().mean())


def test_a_scope_that_is_closed_is_no_opponent_of_a_later_training() -> None:
    body, head = net(4, 8), nn.Linear(8, 3)
    with gradscope.watch(head, descent(head)) as earlier:
        earlier.step(1.0)
    assert shared(body, descent(body), lambda x: head(body(x)).square().mean())
    assert not earlier.run.manifest.shared_loss


def test_two_nets_trained_side_by_side_share_nothing() -> None:
    one, other = net(4, 3), net(4, 3)
    with gradscope.watch(other, descent(other)) as beside:
        assert not shared(one, descent(one), lambda x: one(x).square().mean())
        loss = other(torch.randn(16, 4)).square().mean()
        loss.backward()
        beside.step(loss)
    assert not beside.run.manifest.shared_loss
