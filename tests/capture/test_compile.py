"""Compiled models: parameters are recorded as ever, layers are said to be out of sight."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradscope
from gradscope.errors import RecordingWarning
from gradscope.record.run import Run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))


def record(model: nn.Module) -> Run:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(8, 6, generator=generator), torch.randint(0, 4, (8,), generator=generator)
    with gradscope.watch(model, optimizer, every=1) as scope:
        for _ in range(3):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            scope.step(loss)
    return scope.run


def assert_parameters_as_eager(run: Run) -> None:
    eager = record(net())
    for column in ("grad_norm", "weight_norm", "update_norm", "zero_count"):
        got, expected = run.grid("parameters", column), eager.grid("parameters", column)
        assert got.entities == expected.entities
        np.testing.assert_allclose(got.values, expected.values, rtol=1e-5)


def test_a_compiled_model_has_its_parameters_recorded_under_their_own_names() -> None:
    with pytest.warns(RecordingWarning, match="compiled"):
        run = record(torch.compile(net(), backend="aot_eager"))
    assert_parameters_as_eager(run)
    assert run.grid("layers", "backward_norm").empty


def test_a_model_compiled_in_place_is_told_as_well() -> None:
    model = net()
    model.compile(backend="aot_eager")
    with pytest.warns(RecordingWarning, match="compiled"):
        run = record(model)
    assert_parameters_as_eager(run)


def test_the_layers_around_a_compiled_part_are_still_seen() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            inner = net()
            self.stem, self.head = inner[0], inner[2]
            self.middle = torch.compile(nn.Sequential(nn.Tanh()), backend="aot_eager")

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.middle(self.stem(x)))

    with pytest.warns(RecordingWarning, match="middle is compiled"):
        run = record(Mixed())
    assert [i.name for i in run.catalogue.layers] == ["stem", "head"]
    assert run.grid("layers", "backward_norm").present.all()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None and shutil.which("cc") is None, reason="inductor needs a C compiler")
def test_inductor_records_the_same_parameters() -> None:
    with pytest.warns(RecordingWarning, match="compiled"):
        run = record(torch.compile(net()))
    assert_parameters_as_eager(run)
