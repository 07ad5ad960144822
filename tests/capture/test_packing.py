"""Norms are right whatever the magnitudes: small tensors and large ones, at every step, also where float32 would lie."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from gradscope.capture.packing import ROW, SAFE, SMALL, long_norm, short_norms
from gradscope.scope import watch
from tests.capture.reference import FLOAT32

WIDTH, ROWS = 128, 1024
SINKS = [1e-3 * 0.83**step for step in range(100)]
"""By 17 % a step, as in a net that slowly dies: out of float32's range between two looks at it."""
FALLS = [1.0, 1e-12, 1e-20, 1e-12, 1e-30, 1e10, 1.0]
"""As after a first step that overthrows a net."""


@pytest.mark.parametrize("factors", [SINKS, FALLS], ids=["sinks", "falls"])
def test_gradients_that_leave_float32s_range_are_recorded_at_every_step(factors: Sequence[float]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
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
    assert min(at_weight) < SAFE[0]
    for table, column, entity, norms in (
        ("parameters", "grad_norm", "2.weight", at_weight),
        ("layers", "backward_norm", "2", at_output),
    ):
        grid = scope.run.grid(table, column)
        assert grid.present.all()
        np.testing.assert_allclose(grid.values[:, grid.entities.index((entity, 0))], norms, rtol=FLOAT32)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-12, 1.0, 1e12, 1e25])
@pytest.mark.parametrize("entries", [SMALL + 1, 3 * ROW, 100_003])
def test_a_norm_of_any_magnitude_is_right(scale: float, entries: int) -> None:
    tensor = torch.randn(entries, generator=torch.Generator().manual_seed(entries)) * scale
    expected = float(torch.linalg.vector_norm(tensor.double()))
    assert float(long_norm(tensor)) == pytest.approx(expected, rel=1e-7)
    both = torch.stack([tensor[: 2 * ROW], torch.ones(2 * ROW)]).view(2, 2, ROW)
    expected = float(torch.linalg.vector_norm(tensor[: 2 * ROW].double()))
    assert float(short_norms(both)[0]) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 0.0])
def test_a_norm_that_is_no_ordinary_number_stays_what_it_is(odd: float) -> None:
    whole = torch.full((3, 2, ROW), odd)
    expected = abs(odd) if odd else 0.0
    assert float(long_norm(whole.view(-1))) == pytest.approx(expected, nan_ok=True)
    assert short_norms(whole).tolist() == pytest.approx([expected] * 3, nan_ok=True)


@pytest.mark.parametrize("shape", [(65_536,), (1, 16, 64, 64), (1, 3 * ROW + 5), (3, 64, 64), (4, ROW), (7,), (0,)])
def test_a_norm_is_right_whatever_the_shape(shape: tuple[int, ...]) -> None:
    """One row of many entries too: float32 squares added up one after the other would be off by 3e-5."""
    both = torch.randn((2, *shape), generator=torch.Generator().manual_seed(0))
    expected = torch.linalg.vector_norm(both.double().flatten(1), dim=1)
    assert short_norms(both).tolist() == pytest.approx(expected.tolist(), rel=2e-7)


@pytest.mark.parametrize("entry", [0.7, 1.1, 3.3, 5.9, 9.7])
def test_a_norm_of_equal_entries_is_right_although_rounding_goes_one_way(entry: float) -> None:
    """The gradient of a mean."""
    equal = torch.full((65_536,), entry)
    expected = float(torch.linalg.vector_norm(equal.double()))
    assert float(short_norms(equal[None])[0]) == pytest.approx(expected, rel=FLOAT32)
    assert float(long_norm(equal)) == pytest.approx(expected, rel=FLOAT32)
