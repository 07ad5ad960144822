"""Large tensors are read in float32 where that is right, and lose no step where it no longer is."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from gradscope.capture.packing import SAFE, SETTLED
from gradscope.scope import watch
from tests.capture.reference import FLOAT32

WIDTH, ROWS = 128, 1024
SINKS = [1e-3 * 0.83**step for step in range(100)]
"""By 17 % a step, as in a net that slowly dies: out of float32's range between two looks at it."""
FALLS = [1.0, 1e-12, 1e-20, 1e-12]
"""As after a first step that overthrows a net."""


@pytest.mark.parametrize("factors", [SINKS, FALLS], ids=["sinks", "falls"])
def test_gradients_that_leave_float32s_range_are_recorded_at_every_step(factors: Sequence[float]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x, at_weight, at_output = torch.randn(ROWS, WIDTH), [], []
    with watch(model, optimizer, every=1) as scope:
        for factor in factors:
            optimizer.zero_grad()
            out = model(x)
            out.retain_grad()
            loss = factor * out.square().mean()
            loss.backward()
            at_output.append(float(torch.linalg.vector_norm(out.grad.double())))
            at_weight.append(float(torch.linalg.vector_norm(model[2].weight.grad.double())))
            optimizer.step()
            scope.step(loss)
    for table, column, entity, norms in (
        ("parameters", "grad_norm", "2.weight", at_weight),
        ("layers", "backward_norm", "2", at_output),
    ):
        assert norms[0] > SETTLED[0]
        assert min(norms) < SAFE[0]
        grid = scope.run.grid(table, column)
        assert grid.present.all()
        np.testing.assert_allclose(grid.values[:, grid.entities.index((entity, 0))], norms, rtol=FLOAT32)
