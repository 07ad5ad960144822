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


# ---- against cells of torch, unrolled by the test itself: any layout, state and direction


class Answer(nn.Module):
    """Runs a recurrent module in any way that it can be called, and answers from one of its outputs."""

    def __init__(self, kind: str, *, use: str = "output", named: bool = False, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn: nn.RNNBase = getattr(nn, kind)(FEATURES, HIDDEN, **options)
        self.use, self.named = use, named
        self.head = nn.Linear(HIDDEN * (2 if self.rnn.bidirectional else 1), 2)

    def features(self, x: Tensor, state: Any) -> Tensor:
        out, last = self.rnn(input=x, hx=state) if self.named else self.rnn(x, state)
        if self.use == "state":
            h = last[0] if isinstance(last, tuple) else last
            return torch.cat(list(h[-2:] if self.rnn.bidirectional else h[-1:]), -1)
        if self.use == "all states":
            return torch.cat([*(sum(part) for part in (last if isinstance(last, tuple) else (last,)))], -1)
        ends = out if out.dim() == 2 else out.transpose(0, 1) if self.rnn.batch_first else out
        if not self.rnn.bidirectional:
            return ends[-1]
        return torch.cat([ends[-1][..., :HIDDEN], ends[0][..., HIDDEN:]], -1)  # each direction's own last

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        features = self.features(x, state)
        return self.head(features[..., : self.head.in_features])


def cells_by_hand(model: Answer, x: Tensor, state: Any, loss_of: Any) -> list[float]:
    """Norm over the states that are taken at each step, by autograd through torch's own cell functions in float64."""
    rnn = model.rnn
    cell = {"LSTM": torch.lstm_cell, "GRU": torch.gru_cell, "RNN_TANH": torch.rnn_tanh_cell, "RNN_RELU": torch.rnn_relu_cell}
    unbatched = x.dim() == 2
    x = x.double()[:, None] if unbatched else x.double().transpose(0, 1) if rnn.batch_first else x.double()
    directions = 2 if rnn.bidirectional else 1
    shape = (rnn.num_layers * directions, x.shape[1], HIDDEN)
    given = [
        s.double()[:, None] if unbatched else s.double()
        for s in (state if isinstance(state, tuple) else (state,))
        if s is not None
    ]
    first = given or [torch.zeros(shape, dtype=torch.float64) for _ in range(2 if rnn.mode == "LSTM" else 1)]
    states: list[list[Tensor]] = [[] for _ in range(len(x))]
    layer_input = [row.requires_grad_() for row in x]
    ends: list[list[Tensor]] = []
    for layer in range(rnn.num_layers):
        by_direction = []
        for direction in range(directions):
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            names = [f"weight_ih{suffix}", f"weight_hh{suffix}"] + (
                [f"bias_ih{suffix}", f"bias_hh{suffix}"] if rnn.bias else []
            )
            weights = [getattr(rnn, n).detach().double() for n in names]
            if not rnn.bias:
                weights += [torch.zeros(weights[0].shape[0], dtype=torch.float64)] * 2
            now = [s[layer * directions + direction] for s in first]
            outputs = []
            for k in range(len(x)):
                row = layer_input[k if direction == 0 else len(x) - 1 - k]
                if rnn.mode == "LSTM":
                    now = list(cell["LSTM"](row, (now[0], now[1]), *weights))
                else:
                    now = [cell[rnn.mode](row, now[0], *weights)]
                states[k] += now
                outputs.append(now[0])
            ends.append(now)
            by_direction.append(outputs if direction == 0 else outputs[::-1])
        layer_input = [torch.cat(both, -1) for both in zip(*by_direction, strict=True)]
    if model.use == "all states":
        features = torch.cat([sum(e[i] for e in ends) for i in range(len(ends[0]))], -1)
    else:
        features = torch.cat([e[0] for e in ends[-directions:]], -1)
    features = features[0] if unbatched else features
    loss = loss_of(F.linear(features[..., : model.head.in_features], model.head.weight.double(), model.head.bias.double()))
    per_step = len(states[0])
    grads = torch.autograd.grad(loss, [s for step in states for s in step], allow_unused=True)
    steps = [[g for g in grads[t * per_step : (t + 1) * per_step] if g is not None] for t in range(len(x))]
    return [float(torch.stack([g.norm() for g in step]).norm()) if step else 0.0 for step in steps]


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("use", ["output", "state", "all states"])
def test_any_depth_and_direction(kind: str, bidirectional: bool, layers: int, use: str) -> None:
    if use == "all states" and bidirectional and kind != "LSTM":
        pytest.skip("the head is as wide as two states")
    compare(Answer(kind, use=use, num_layers=layers, bidirectional=bidirectional), batch=3)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("batch_first", [False, True])
def test_any_layout_and_initial_state(kind: str, state: bool, batch: int | None, batch_first: bool) -> None:
    model = Answer(kind, num_layers=2, batch_first=batch_first, named=batch is None)
    compare(model, batch=batch, state=state)


def test_without_biases_and_with_a_rectifier() -> None:
    compare(Answer("RNN", nonlinearity="relu", bias=False, num_layers=2), batch=3)
    compare(Answer("LSTM", bias=False, bidirectional=True), batch=3)


def compare(model: Answer, *, batch: int | None, state: bool = False) -> None:
    g = torch.Generator().manual_seed(4)
    shape = (T, FEATURES) if batch is None else (batch, T, FEATURES) if model.rnn.batch_first else (T, batch, FEATURES)
    x = torch.randn(shape, generator=g)
    directions = 2 if model.rnn.bidirectional else 1
    size = (model.rnn.num_layers * directions, HIDDEN) if batch is None else (model.rnn.num_layers * directions, batch, HIDDEN)
    first: Any = torch.randn(size, generator=g) if state else None
    if state and model.rnn.mode == "LSTM":
        first = (first, torch.randn(size, generator=g))

    def loss_of(logits: Tensor) -> Tensor:
        return logits.square().sum() + logits.sum()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, optimizer, every=1) as scope:
        for k in range(2):
            expected = cells_by_hand(model, x, first, loss_of)
            optimizer.zero_grad()
            loss = loss_of(model(x, first))
            loss.backward()
            optimizer.step()
            scope.step(loss)
            grid = scope.run.grid("timesteps", "backward_norm")
            assert grid.entities == tuple(("rnn", t) for t in range(T))
            np.testing.assert_allclose(grid.values[k], expected, rtol=2e-5)


def test_micro_batches_add_up_over_time() -> None:
    model = Sequence("LSTM", batch_first=True)
    x, y = inputs()
    whole = record(model, x, y).grid("timesteps", "backward_norm").values[0]
    model = Sequence("LSTM", batch_first=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, optimizer, every=1) as scope:
        with torch.no_grad():
            model(x)
        model(3 * x)  # no backward follows
        for part in (slice(0, 2), slice(2, BATCH)):
            loss = F.cross_entropy(model(x[part]), y[part], reduction="sum") / BATCH
            loss.backward()
        optimizer.step()
        scope.step(loss)
    grid = scope.run.grid("timesteps", "backward_norm")
    assert grid.entities == tuple(("rnn", t) for t in range(T))
    np.testing.assert_allclose(grid.values[0], whole, rtol=1e-5)


def test_sequences_of_several_lengths_in_one_step() -> None:
    """At each time step, over the rows that have it."""
    x, y = inputs()
    parts = [(x[:2, :4], y[:2]), (x[2:], y[2:])]
    alone = []
    for some, labels in parts:
        model = Sequence("RNN", batch_first=True)
        alone.append(record(model, some, labels).grid("timesteps", "backward_norm").values[0])
    model = Sequence("RNN", batch_first=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, optimizer, every=1) as scope:
        for some, labels in parts:
            loss = F.cross_entropy(model(some), labels)
            loss.backward()
        optimizer.step()
        scope.step(loss)
    expected = np.sqrt(np.pad(alone[0], (0, T - 4)) ** 2 + alone[1] ** 2)
    np.testing.assert_allclose(scope.run.grid("timesteps", "backward_norm").values[0], expected, rtol=1e-5)


def test_autocast_is_replayed_in_the_precision_of_the_weights() -> None:
    x, y = inputs()
    exact = record(Sequence("GRU", batch_first=True), x, y).grid("timesteps", "backward_norm").values[0]
    model = Sequence("GRU", batch_first=True)  # oneDNN has no LSTM in bfloat16 on every machine
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, optimizer, every=1) as scope:
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        scope.step(loss)
    np.testing.assert_allclose(scope.run.grid("timesteps", "backward_norm").values[0], exact, rtol=0.05)


def test_what_was_overwritten_or_called_again_is_said_and_absent() -> None:
    x, y = inputs()
    model = Sequence("GRU", batch_first=True)

    def overwrites(scope: Any) -> None:
        given = x.clone()
        loss = F.cross_entropy(model(given), y)
        loss.backward()
        given.zero_()
        scope.step(loss)

    def calls_again(scope: Any) -> None:
        loss = F.cross_entropy(model(x) + model.head(model.rnn(2 * x)[0][:, -1]), y)
        loss.backward()
        scope.step(loss)

    run = said("overwritten", overwrites, model)
    assert run.grid("timesteps", "backward_norm").empty
    assert not said("again", calls_again, model).grid("timesteps", "backward_norm").empty


def said(what: str, train: Any, model: nn.Module) -> Run:
    with pytest.warns(RecordingWarning, match=what), gradscope.watch(model, every=1) as scope:
        train(scope)
    assert any(what in note for note in scope.run.manifest.notes)
    return scope.run


# ---- recurrences written as loops


class Loop(nn.Module):
    """``h = tanh(x U + h W)`` with raw parameters, or torch's cells, stepped by hand."""

    def __init__(self, kind: str, *, every_step: bool = False, running: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.every_step, self.running = kind, every_step, running
        if kind == "raw":
            self.U, self.W = nn.Parameter(0.5 * torch.randn(FEATURES, HIDDEN)), nn.Parameter(0.5 * torch.randn(HIDDEN, HIDDEN))
            self.b = nn.Parameter(torch.zeros(HIDDEN))
        elif kind == "linear":
            self.input, self.recurrent = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, HIDDEN, bias=False)
        else:
            self.cell = getattr(nn, kind)(FEATURES, HIDDEN)
        self.head = nn.Linear(HIDDEN, 2)
        self.uses: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        h: Any = x.new_zeros(len(x), HIDDEN)
        state: Any = (h, h) if self.kind == "LSTMCell" else h
        answers, self.uses = [], []
        total: Any = 0.0
        for row in x.unbind(1):
            if self.kind == "raw":
                use = h @ self.W
                h = torch.tanh(row @ self.U + use + self.b)
            elif self.kind == "linear":
                use = self.recurrent(h)
                h = torch.tanh(self.input(row) + use)
            else:
                state = self.cell(row, state)
                use = h = state[0] if isinstance(state, tuple) else state
            self.uses.append(use)
            if use.requires_grad:
                use.retain_grad()
            answers.append(self.head(h))
            total = total + answers[-1]
        if self.running:
            return total
        return torch.stack(answers, 1).flatten(0, 1) if self.every_step else self.head(h)


@pytest.mark.parametrize(("kind", "layer"), [("raw", "W"), ("linear", "recurrent")])
def test_a_recurrence_written_as_a_loop(kind: str, layer: str) -> None:
    x, y = inputs()
    model = Loop(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradscope.watch(model, optimizer, every=1) as scope:
        for k in range(4):
            optimizer.zero_grad()
            expected = np.zeros(T)
            for part in (slice(0, 2), slice(2, BATCH)):
                loss = F.cross_entropy(model(x[part]), y[part], reduction="sum") / BATCH
                loss.backward()
                expected += [float(u.grad.double().square().sum()) for u in model.uses]  # type: ignore[union-attr]
            optimizer.step()
            scope.step(loss)
            grid = scope.run.grid("timesteps", "backward_norm")
            assert grid.entities == tuple((layer, t) for t in range(T))
            np.testing.assert_allclose(grid.values[k], np.sqrt(expected), rtol=1e-9)


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_cells_stepped_by_hand_have_a_gradient_at_every_step(kind: str) -> None:
    x, y = inputs()
    run = record(Loop(kind), x, y)
    grid = run.grid("timesteps", "backward_norm")
    assert grid.entities == tuple(("cell", t) for t in range(T))
    assert grid.present.all()
    assert next(i for i in run.catalogue.layers if i.name == "cell").recurrent
    calls = np.array([run.series("layers", "backward_norm", "cell").values[0]])[0]
    if kind == "RNNCell":  # its pre-activations pass on less than its states get, and vanish with them
        assert (grid.values[0] <= calls * (1 + 1e-6)).all()


@pytest.mark.parametrize("kind", ["raw", "linear", "GRUCell"])
@pytest.mark.parametrize("running", [False, True])
def test_a_loop_with_a_loss_at_every_step_is_said_and_absent(kind: str, running: bool) -> None:
    x, y = inputs()
    model = Loop(kind, every_step=True, running=running)
    answers = y if running else y.repeat_interleave(T)
    with pytest.warns(RecordingWarning, match="losses of their own"):
        run = record(model, x, answers)
    assert run.grid("timesteps", "backward_norm").empty


def test_what_is_used_often_but_not_in_a_row_is_no_recurrence() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(sum(torch.tanh(self.body(row)) for row in x.unbind(1)))

    run = record(Siamese(), *inputs())
    assert run.grid("timesteps", "backward_norm").empty
    assert not run.manifest.notes
