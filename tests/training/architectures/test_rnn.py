from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradscope.training.architectures import rnn
from gradscope.training.build import build
from gradscope.training.init_options import Init
from gradscope.training.trainer import Trainer
from tests.training.architectures.stations import small, watched

CELLS = ["tanh", "relu", "lstm", "gru"]
GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}


def network(**options: Any) -> Any:
    return rnn.build(rnn.Options.model_validate({"width": 12, **options}), (7, 3), 4)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 3])
def test_forward_and_backward_are_those_of_torchs_cells_called_step_by_step(cell: str, layers: int) -> None:
    # In float64, where the order of the sums changes the 15th digit alone.
    model, x, classes = network(cell=cell, layers=layers).double(), torch.randn(5, 7, 3).double(), torch.randint(4, (5,))
    F.cross_entropy(model(x), classes).backward()

    made = {"tanh": nn.RNNCell, "relu": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}[cell]
    kind = {"nonlinearity": cell} if made is nn.RNNCell else {}
    cells = nn.ModuleList(made(3 if layer == 0 else 12, 12, **kind) for layer in range(layers)).double()
    head = nn.Linear(12, 4).double()
    for layer, one in enumerate(cells):
        one.load_state_dict({p: getattr(model.rnn, f"{p}_l{layer}") for p in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")})
    head.load_state_dict(model.head.state_dict())
    below = list(x.unbind(1))
    for one in cells:
        state: Any = None
        states = []
        for step in below:
            state = one(step, state)
            states.append(state[0] if cell == "lstm" else state)
        below = states
    y = head(below[-1])
    F.cross_entropy(y, classes).backward()

    assert torch.allclose(model(x), y, rtol=1e-10, atol=1e-12)
    for layer, one in enumerate(cells):
        for name, parameter in one.named_parameters():
            ours = getattr(model.rnn, f"{name}_l{layer}").grad
            assert torch.allclose(ours, parameter.grad, rtol=1e-10, atol=1e-12), (layer, name)
    assert torch.allclose(model.head.weight.grad, head.weight.grad, rtol=1e-10, atol=1e-12)
    assert torch.allclose(model.head.bias.grad, head.bias.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("scheme", ["orthogonal", "identity", "gaussian"])
@pytest.mark.parametrize("radius", [0.5, 1.3])
def test_every_gate_has_the_spectral_radius_that_was_asked_for(cell: str, scheme: str, radius: float) -> None:
    model = network(cell=cell, layers=2, recurrence={"scheme": scheme, "spectral_radius": radius})
    for layer in range(2):
        gates = getattr(model.rnn, f"weight_hh_l{layer}").split(12)
        assert len(gates) == GATES[cell]
        for gate in gates:
            assert torch.linalg.eigvals(gate.double()).abs().max().item() == pytest.approx(radius, rel=1e-5)


def test_recurrence_is_orthogonal_or_the_identity_by_name() -> None:
    orthogonal = network(recurrence={"spectral_radius": 0.9}).rnn.weight_hh_l0
    assert torch.allclose(orthogonal @ orthogonal.T, 0.81 * torch.eye(12), atol=1e-5)
    identity = network(recurrence={"scheme": "identity"}).rnn.weight_hh_l0
    assert torch.equal(identity, torch.eye(12))


@pytest.mark.parametrize(("cell", "gate"), [("lstm", 1), ("gru", 1)])
def test_the_forget_bias_is_on_the_gate_that_keeps_the_state(cell: str, gate: int) -> None:
    model = network(cell=cell, forget_bias=30.0, init={"scheme": "zeros"})
    total = (model.rnn.bias_ih_l0 + model.rnn.bias_hh_l0).detach().reshape(GATES[cell], 12)
    expected = torch.zeros(GATES[cell], 12)
    expected[gate] = 30.0
    assert torch.equal(total, expected)
    nn.init.zeros_(model.rnn.weight_hh_l0)
    # A gate that is open all the way keeps what the state was, whatever comes in.
    before = torch.rand(1, 5, 12)
    memory = (before, before) if cell == "lstm" else before
    _, after = model.rnn(torch.randn(5, 7, 3), memory)
    drift = (after[1] if cell == "lstm" else after) - before
    assert torch.allclose(drift, torch.zeros_like(before), atol=1e-5)


def test_input_weights_are_drawn_gate_by_gate() -> None:
    torch.manual_seed(0)
    model = rnn.build(rnn.Options(cell="lstm", width=200, init=Init(scheme="xavier_normal")), (4, 300), 2)
    for gate in model.rnn.weight_ih_l0.split(200):  # type: ignore[operator, union-attr]
        assert gate.std().item() == pytest.approx((2 / 500) ** 0.5, rel=0.02)


def test_the_biases_of_a_cell_add_up_to_the_value_that_was_asked_for() -> None:
    model = network(init={"scheme": "xavier_uniform", "bias": 0.25})
    assert torch.equal(model.rnn.bias_ih_l0 + model.rnn.bias_hh_l0, torch.full((12,), 0.25))
    assert [name for name, _ in network(bias=False).named_parameters()] == [
        "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
        "head.weight",
    ]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"forget_bias": 1.0}, "forget_bias"),
        ({"cell": "lstm", "forget_bias": 1.0, "bias": False}, "forget_bias"),
        ({"bias": False, "init": {"bias": 1.0}}, "init.bias"),
        ({"init": {"scheme": "lsuv"}}, "init.scheme"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        network(**options)


def test_dropout_acts_in_training_alone() -> None:
    model, x = network(dropout=0.5), torch.randn(5, 7, 3)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_through_time_is_recorded_at_every_step_of_the_sequence(cell: str) -> None:
    run, _ = watched(small({"kind": "rnn", "cell": cell, "width": 8}, {"name": "recall", "length": 6, "batch_size": 16}))
    recurrent = [layer.name for layer in run.manifest.catalogue.layers if layer.recurrent]
    assert recurrent == ["rnn"]
    norms = run.grid("timesteps", "backward_norm")
    assert {t for _, t in norms.entities} == set(range(6))
    assert (norms.values > 0).all()


def test_a_gru_learns_the_adding_problem_far_below_the_error_of_knowing_nothing() -> None:
    data = {"name": "adding", "length": 8, "points": 1000, "batch_size": 64}
    optimizer = {"name": "adam", "lr": 0.02}
    model = {"kind": "rnn", "cell": "gru", "width": 16}
    trainer = Trainer(build(small(model, data, loss="mse", optimizer=optimizer, training={"steps": 250, "clip_norm": 1.0})))
    for step in range(250):
        trainer.step(step)
    assert trainer.validate()[0].item() < 0.03
