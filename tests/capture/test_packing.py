"""Large tensors are read in float32 where that is right, and lose no step where it no longer is."""

import numpy as np
import pytest
import torch
from torch import nn

from gradscope.capture.packing import SAFE, SETTLED, long_norm
from gradscope.scope import watch
from tests.capture.reference import FLOAT32

WIDTH, ROWS, STEPS, SHRINKS = 128, 1024, 64, 0.83


def test_gradients_that_sink_out_of_float32s_range_are_recorded_at_every_step() -> None:
    """They fall by 17 % a step, as those of a net that slowly dies, and pass the end of the range between two looks at them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x, norms, at_output = torch.randn(ROWS, WIDTH), [], []
    with watch(model, optimizer, every=1) as scope:
        for step in range(STEPS):
            optimizer.zero_grad()
            out = model(x)
            out.retain_grad()
            loss = 1e-5 * SHRINKS**step * out.square().mean()
            loss.backward()
            at_output.append(float(torch.linalg.vector_norm(out.grad.double())))
            norms.append(float(torch.linalg.vector_norm(model[2].weight.grad.double())))
            optimizer.step()
            scope.step(loss)
    for seen in (norms, at_output):
        assert seen[0] > SETTLED[0]
        assert seen[-1] < SAFE[0]
    weights, outputs = scope.run.grid("parameters", "grad_norm"), scope.run.grid("layers", "backward_norm")
    np.testing.assert_allclose(weights.values[:, weights.entities.index(("2.weight", 0))], norms, rtol=FLOAT32)
    np.testing.assert_allclose(outputs.values[:, outputs.entities.index(("2", 0))], at_output, rtol=FLOAT32)
    assert weights.present.all()
    assert outputs.present.all()


@pytest.mark.parametrize("norm", SAFE)
def test_a_float32_norm_is_right_at_both_ends_of_its_range_even_where_small_numbers_are_flushed_to_zero(norm: float) -> None:
    torch.manual_seed(0)
    entries = torch.randn(2**22)
    entries *= norm / float(torch.linalg.vector_norm(entries.double()))
    flushed = torch.set_flush_denormal(True)
    try:
        found = float(long_norm(entries, exact=False))
    finally:
        torch.set_flush_denormal(False)
    if not flushed and norm < 1:
        pytest.skip("this processor keeps small numbers")
    np.testing.assert_allclose(found, float(torch.linalg.vector_norm(entries.double())), rtol=FLOAT32)
