"""The gradient through time, against the graph of the same network unrolled by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gradscope
from gradscope.errors import RecordingWarning
from gradscope.record.run import Run

BATCH, T, FEATURES, HIDDEN = 5, 7, 3, 4


class Sequence(nn.Module):
    """A recurrent module that answers from its last output, or from its last state."""

    def __init__(self, kind: str, *, state: bool = False, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn: nn.RNNBase = getattr(nn, kind)(FEATURES, HIDDEN, **options)
        self.head = nn.Linear(HIDDEN * (2 if self.rnn.bidirectional else 1), 2)
        self.state = state

    def forward(self, x: Tensor) -> Tensor:
        out, last = self.rnn(x)
        if self.state:
            h = last[0] if isinstance(last, tuple) else last
            directions = 2 if self.rnn.bidirectional else 1
            return self.head(torch.cat(list(h[-directions:]), -1))
        return self.head(out[:, -1] if self.rnn.batch_first else out[-1])


def inputs(batch_first: bool = True) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(BATCH, T, FEATURES, generator=generator)
    return (x if batch_first else x.transpose(0, 1)), torch.randint(0, 2, (BATCH,), generator=generator)


def record(model: nn.Module, x: Tensor, y: Tensor) -> Run:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, optimizer, every=1) as scope:
        for _ in range(2):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            scope.step(loss)
    return scope.run


def by_hand(model: Sequence, x: Tensor, y: Tensor) -> np.ndarray:
    """Norm over layers and states of dL/d(state at t), one direction, batch first, in float64 by autograd."""
    model = model.double()
    rnn = model.rnn
    sequence: list[Tensor] = list(x.double().unbind(1))
    states: list[list[Tensor]] = [[] for _ in range(T)]
    for layer in range(rnn.num_layers):
        w_ih, w_hh = getattr(rnn, f"weight_ih_l{layer}"), getattr(rnn, f"weight_hh_l{layer}")
        b = getattr(rnn, f"bias_ih_l{layer}") + getattr(rnn, f"bias_hh_l{layer}")
        h = c = torch.zeros(BATCH, HIDDEN, dtype=torch.float64)
        outputs = []
        for t in range(T):
            if rnn.mode == "LSTM":
                i, f, g, o = (sequence[t] @ w_ih.T + h @ w_hh.T + b).chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                states[t] += [h, c]
            elif rnn.mode == "GRU":
                b_hh = getattr(rnn, f"bias_hh_l{layer}")
                gi, gh = sequence[t] @ w_ih.T + b - b_hh, h @ w_hh.T + b_hh
                (ir, iz, in_), (hr, hz, hn) = gi.chunk(3, 1), gh.chunk(3, 1)
                r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
                h = (1 - z) * (in_ + r * hn).tanh() + z * h
                states[t].append(h)
            else:
                total = sequence[t] @ w_ih.T + h @ w_hh.T + b
                h = total.tanh() if rnn.mode == "RNN_TANH" else total.relu()
                states[t].append(h)
            outputs.append(h)
        sequence = outputs
    loss = F.cross_entropy(model.head(sequence[-1]), y)
    flat = [s for step in states for s in step]
    grads = torch.autograd.grad(loss, flat, allow_unused=True)
    per = len(states[0])
    norms = [
        torch.stack([g.norm() for g in grads[t * per : (t + 1) * per] if g is not None] or [torch.zeros(())]) for t in range(T)
    ]
    return np.array([float(n.norm()) for n in norms])


@pytest.mark.parametrize("kind", ["RNN", "RNN-relu", "GRU", "LSTM"])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_replay_agrees_with_the_graph_unrolled_by_hand(kind: str, layers: int) -> None:
    name, _, nonlinearity = kind.partition("-")
    options = {"nonlinearity": nonlinearity} if nonlinearity else {}
    x, y = inputs()
    run = record(Sequence(name, num_layers=layers, batch_first=True, **options), x, y)
    grid = run.grid("timesteps", "backward_norm")
    assert grid.entities == tuple(("rnn", t) for t in range(T))
    assert grid.present.all()
    expected = by_hand(Sequence(name, num_layers=layers, batch_first=True, **options), x, y)
    np.testing.assert_allclose(grid.values[0], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_the_last_state_serves_as_well_as_the_last_output(kind: str) -> None:
    x, y = inputs()
    by_output = record(Sequence(kind, batch_first=True), x, y).grid("timesteps", "backward_norm")
    by_state = record(Sequence(kind, batch_first=True, state=True), x, y).grid("timesteps", "backward_norm")
    np.testing.assert_allclose(by_state.values[0], by_output.values[0], rtol=1e-6)


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_time_first_and_batch_first_are_the_same(kind: str) -> None:
    first = record(Sequence(kind, batch_first=True), *inputs()).grid("timesteps", "backward_norm")
    second = record(Sequence(kind), *inputs(batch_first=False)).grid("timesteps", "backward_norm")
    np.testing.assert_allclose(second.values[0], first.values[0], rtol=1e-6)


def test_both_directions_have_a_gradient_at_every_step() -> None:
    grid = record(Sequence("GRU", batch_first=True, bidirectional=True, state=True), *inputs()).grid(
        "timesteps", "backward_norm"
    )
    assert (grid.values > 0).all()


def test_a_loss_at_every_step_does_not_hide_the_decay() -> None:
    class EveryStep(Sequence):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0]).flatten(0, 1)

    model = EveryStep("RNN", batch_first=True)
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_(0.1 * torch.eye(HIDDEN))
    x, _ = inputs()
    y = torch.zeros(BATCH * T, dtype=torch.long)
    norms = record(model, x, y).grid("timesteps", "backward_norm").values[0]
    ratios = norms[:-1] / norms[1:]
    assert (ratios < 0.11).all()  # each step back passes at most the recurrent matrix's 0.1


@pytest.mark.parametrize(("options", "why"), [({"num_layers": 2, "dropout": 0.2}, "dropout"), ({"proj_size": 2}, "proj_size")])
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_what_cannot_be_replayed_is_said_and_absent(options: dict[str, Any], why: str) -> None:
    model = Sequence("LSTM", batch_first=True, **options)
    if why == "proj_size":
        model.head = nn.Linear(2, 2)
    with pytest.warns(RecordingWarning, match=why):
        run = record(model, *inputs())
    assert run.grid("timesteps", "backward_norm").empty
    assert any(why in note for note in run.manifest.notes)


def test_a_packed_sequence_is_absent_not_wrong() -> None:
    class Packed(Sequence):
        def forward(self, x: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.full((BATCH,), T), batch_first=True)
            return self.head(self.rnn(packed)[1][-1])

    with pytest.warns(RecordingWarning, match="packed"):
        run = record(Packed("GRU", batch_first=True), *inputs())
    assert run.grid("timesteps", "backward_norm").empty
