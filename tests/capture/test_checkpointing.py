"""Gradient checkpointing runs parts of the model twice; what they record is one run."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from gradscope.scope import watch
from tests.capture.nets import batches, cross_entropy, mlp
from tests.capture.reference import Plain, Watched, agree, value
from tests.capture.test_layers import names, trunk


class Block(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear, self.act, self.dropout, self.out = nn.Linear(8, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.dropout(self.act(self.linear(x))))


class Thrifty(nn.Module):
    """Blocks that may be checkpointed; the net is the same either way."""

    def __init__(self, reentrant: bool | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.stem = nn.Linear(8, 8)
        self.blocks = nn.ModuleList([Block(dropout) for _ in range(3)])
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = block(h) if self.reentrant is None else checkpoint(block, h, use_reentrant=self.reentrant)
        out: Tensor = self.head(h)
        return out


def train(model: nn.Module, optimizer: Any, eye: Any, *, parts: int, evaluate: bool = False) -> None:
    for x, y in batches(5):
        optimizer.zero_grad()
        for some, labels in zip(x.chunk(parts), y.chunk(parts), strict=True):
            loss = cross_entropy(model, some, labels) / parts
            if evaluate and not isinstance(eye, Plain):
                with torch.no_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # torch's: nothing here requires a gradient
                    model(3 * x)
            loss.backward()
            eye.backward_done()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        eye.before_step()
        optimizer.step()
        eye.step(loss)


def told(reentrant: bool) -> Any:
    """What is said once of reentrant checkpoints."""
    return pytest.warns(match="not taken to be on the trunk") if reentrant else nullcontext()


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_checkpointed_net_records_what_the_plain_one_does(reentrant: bool, parts: int) -> None:
    torch.manual_seed(0)
    other = Thrifty(None)
    torch.manual_seed(0)
    model = Thrifty(reentrant)
    plain = Plain(other)
    train(other, torch.optim.SGD(other.parameters(), lr=0.1), plain, parts=parts)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with told(reentrant), watch(model, optimizer, every=1) as scope:
        train(model, optimizer, Watched(scope), parts=parts)
    agree(scope.run, plain, rel=1e-6)
    assert {f"blocks.{i}.{part}" for i in range(3) for part in ("linear", "act", "out")} <= set(names(scope.run))
    if not reentrant:
        assert trunk(scope.run) == ["stem", "blocks.0", "blocks.1", "blocks.2", "head"]


@pytest.mark.parametrize("reentrant", [True, False])
def test_evaluation_between_a_checkpointed_forward_and_its_backward(reentrant: bool) -> None:
    torch.manual_seed(0)
    other = Thrifty(None)
    torch.manual_seed(0)
    model = Thrifty(reentrant)
    plain = Plain(other)
    train(other, torch.optim.SGD(other.parameters(), lr=0.1), plain, parts=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with told(reentrant), watch(model, optimizer, every=1) as scope:
        train(model, optimizer, Watched(scope), parts=1, evaluate=True)
    agree(scope.run, plain, rel=1e-6)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_net_with_dropout_is_the_same_training(reentrant: bool) -> None:
    weights = []
    for watched in (False, True):
        torch.manual_seed(0)
        model = Thrifty(reentrant, dropout=0.3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if watched:
            with told(reentrant), watch(model, optimizer, every=1) as scope:
                train(model, optimizer, Watched(scope), parts=1)
        else:
            train(model, optimizer, Plain(model, calls=False), parts=1)
        weights.append([p.detach().clone() for p in model.parameters()] + [torch.rand(2)])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


class FunctionsInside(nn.Module):
    """Activations called as functions within a checkpoint: what they saved is gone until backward."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.runs = 0

    def inner(self, x: Tensor) -> Tensor:
        self.runs += 1
        return torch.tanh(self.second(torch.relu(self.first(x))))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(checkpoint(self.inner, x, use_reentrant=self.reentrant))
        return out


def test_no_checkpoint_is_run_again_to_look_at_an_activation() -> None:
    runs = []
    for watched in (False, True):
        torch.manual_seed(0)
        model = FunctionsInside(False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if watched:
            with pytest.warns(match="called as functions"), watch(model, optimizer, every=1) as scope:
                train(model, optimizer, Watched(scope), parts=1)
            for name in ("first", "second"):
                assert value(scope.run, "layers", "backward_norm", 2, (name, 0)) is not None
                assert value(scope.run, "layers", "saturated_share", 2, (name, 0)) is None
        else:
            train(model, optimizer, Plain(model, calls=False), parts=1)
        runs.append(model.runs)
    assert runs[0] == runs[1]


def test_checkpointed_sequences() -> None:
    class Chain(nn.Module):
        def __init__(self, segments: int) -> None:
            super().__init__()
            self.body, self.segments = mlp(nn.Tanh, 5, classes=8), segments
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = x.clone().requires_grad_()
            h = checkpoint_sequential(self.body, self.segments, x, use_reentrant=True) if self.segments else self.body(x)
            out: Tensor = self.head(h)
            return out

    torch.manual_seed(0)
    other = Chain(0)
    torch.manual_seed(0)
    model = Chain(2)
    plain = Plain(other)
    train(other, torch.optim.SGD(other.parameters(), lr=0.1), plain, parts=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with told(True), watch(model, optimizer, every=1) as scope:
        train(model, optimizer, Watched(scope), parts=1)
    agree(scope.run, plain, rel=1e-6)


def test_a_module_in_several_reentrant_checkpoints_is_said_and_absent() -> None:
    class Shared(Thrifty):
        def __init__(self, reentrant: bool | None) -> None:
            super().__init__(reentrant)
            self.blocks = nn.ModuleList([self.blocks[0]] * 3)

    torch.manual_seed(0)
    model = Shared(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(match="several times under reentrant checkpoints"), watch(model, optimizer, every=1) as scope:
        train(model, optimizer, Watched(scope), parts=1)
    assert not [
        i for i in names(scope.run) if i.startswith("blocks") and not scope.run.series("layers", "backward_norm", i).empty
    ]
    assert value(scope.run, "layers", "backward_norm", 2, ("head", 0)) is not None
