"""The gradient through time in a probe, beside theory's factor per step: plain cells and gated ones, and what has no theory."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradscope
from gradscope.probe import Probe, TimeProbe
from gradscope.probe.text import in_time, write
from gradscope.theory import recurrent_step, through_time

WIDTH, STEPS = 256, 40
TOLERANCE = 0.035
"""Of the factor per step: what one draw of 256 units strays by, 0.5 / sqrt(256) for a Gaussian matrix at the most."""


class Reader(nn.Module):
    """Answers from the last output of a recurrent module."""

    def __init__(self, cell: str, inputs: int, width: int = WIDTH, **options: Any) -> None:
        super().__init__()
        self.rnn = getattr(nn, cell)(inputs, width, batch_first=True, **options)
        self.head = nn.Linear(width * (2 if options.get("bidirectional") else 1), 3)
        self.state: Any = None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.rnn(x, *(() if self.state is None else (self.state,)))[0][:, -1])
        return out


def reader(cell: str, inputs: int = 16, *, seed: int = 0, **options: Any) -> Reader:
    torch.manual_seed(seed)
    return Reader(cell, inputs, **options)


@torch.no_grad()
def plain(gain: float, *, orthogonal: bool, drive: float = 0.05) -> Reader:
    """A tanh cell of this gain, whose inputs of size 1 add this variance to its units."""
    model = reader("RNN")
    own = model.rnn.weight_hh_l0
    nn.init.orthogonal_(own, gain) if orthogonal else nn.init.normal_(own, std=gain / math.sqrt(WIDTH))
    nn.init.normal_(model.rnn.weight_ih_l0, std=math.sqrt(drive / 16))
    for name in ("bias_ih_l0", "bias_hh_l0"):
        getattr(model.rnn, name).zero_()
    return model


def probed(model: nn.Module, inputs: int = 16, steps: int = STEPS) -> Probe:
    random = torch.Generator().manual_seed(1)
    batch = torch.randn(8, steps, inputs, generator=random), torch.randint(0, 3, (8,), generator=random)
    return gradscope.probe(model, batch, F.cross_entropy)


def in_time_of(model: nn.Module, **options: Any) -> TimeProbe:
    (found,) = probed(model, **options).through_time
    return found


@pytest.mark.parametrize(
    ("gain", "orthogonal"), [(0.5, True), (0.9, True), (1.0, True), (1.5, True), (0.9, False), (1.5, False)]
)
def test_a_plain_cell_passes_back_per_step_what_is_predicted(gain: float, orthogonal: bool) -> None:
    found = in_time_of(plain(gain, orthogonal=orthogonal))
    kind = "orthogonal" if orthogonal else "gaussian"
    steady = recurrent_step("tanh", gain, 0.05, kind)  # type: ignore[arg-type]
    assert found.theory is None
    assert found.agrees is True
    assert found.predicted is not None
    assert found.factor is not None
    assert found.factor == pytest.approx(found.predicted, rel=TOLERANCE)
    assert found.factor == pytest.approx(steady.factor, rel=2 * TOLERANCE)  # the weights' and inputs' own scale strays too
    assert found.factor < steady.bound
    whole = through_time("tanh", gain, 0.05, STEPS)[1]
    assert found.ratio is not None
    assert math.log(found.ratio) == pytest.approx(math.log(whole), abs=TOLERANCE * (STEPS - 1))


@pytest.mark.parametrize(("bias", "path"), [(-5.0, 0.0067), (0.0, 0.5), (1.0, 0.731), (3.0, 0.953)])
def test_the_cell_path_of_an_lstm_is_the_sigmoid_of_its_forget_bias(bias: float, path: float) -> None:
    """Gers 2000; the loop through the weights comes on top, so that the measured factor lies above the path."""
    model = reader("LSTM")
    with torch.no_grad():
        model.rnn.bias_ih_l0[WIDTH : 2 * WIDTH] += bias
    found = in_time_of(model)
    assert found.path == pytest.approx(path, rel=0.02)
    assert found.agrees is True
    assert found.factor is not None
    assert found.path is not None
    assert found.factor > found.path
    assert found.factor == pytest.approx(found.predicted, rel=TOLERANCE)


@pytest.mark.parametrize("bias", [0.0, 2.0])
def test_a_gru_passes_back_per_step_what_is_predicted(bias: float) -> None:
    model = reader("GRU")
    with torch.no_grad():
        model.rnn.bias_hh_l0[WIDTH : 2 * WIDTH] += bias
    found = in_time_of(model)
    assert found.factor == pytest.approx(found.predicted, rel=TOLERANCE)
    assert found.path == pytest.approx(1 / (1 + math.exp(-bias)), rel=0.02)


class ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.RNNCell(16, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 32)
        for at in x.unbind(1):
            h = self.cell(at, h)
        out: Tensor = self.head(h)
        return out


def given_a_state() -> Reader:
    model = reader("GRU", width=32)
    model.state = torch.ones(1, 8, 32)
    return model


def identity() -> Reader:
    model = reader("RNN", width=32, nonlinearity="relu")
    nn.init.eye_(model.rnn.weight_hh_l0)
    return model


def shut() -> Reader:
    model = reader("LSTM", width=32)
    nn.init.constant_(model.rnn.bias_ih_l0[:32], -3.0)
    return model


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (ByHand, "torch's own recurrent modules alone"),
        (lambda: reader("RNN", width=32, num_layers=2), "of one layer and one direction"),
        (lambda: reader("RNN", width=32, bidirectional=True), "of one layer and one direction"),
        (given_a_state, "from a state of 0"),
        (identity, "no random matrix"),
        (shut, "do not start around 0"),
    ],
    ids=["by-hand", "layers", "directions", "state", "identity", "shut"],
)
def test_where_theory_has_no_factor_it_says_why_and_measures(make: Any, why: str) -> None:
    found = in_time_of(make(), steps=12)
    assert why in (found.theory or "")
    assert found.predicted is found.interval is found.agrees is None
    assert found.factor is not None
    assert f"Theory has no prediction of that: {found.theory}." in in_time(found)


@pytest.mark.parametrize(("cell", "layers"), [("RNN", 1), ("GRU", 1), ("LSTM", 1), ("GRU", 2)])
def test_that_there_is_no_prediction_over_depth_is_not_said_of_the_one_through_time(cell: str, layers: int) -> None:
    found = probed(reader(cell, width=32, num_layers=layers))
    assert found.theory == "it follows a recurrent layer (rnn) through time alone"
    page = " ".join(write(found).split())
    assert f"theory: no prediction over depth: {found.theory}" in page
    assert "no prediction for this net" not in page
    assert ("(theory: 0." in page) == (layers == 1)


def test_a_decay_is_a_finding_where_rounding_loses_it_and_names_its_cause() -> None:
    """0.5^39 is 2e-12, under float32's 1.2e-7; a torch LSTM of 40 steps keeps 1e-7 and more, and is left to its training."""
    sick = probed(plain(0.5, orthogonal=True))
    (finding,) = sick.report.findings
    assert finding.rule == "vanishing-gradients"
    assert finding.timesteps is not None
    assert finding.threshold == 2.0**-23
    assert finding.cause is not None
    assert finding.cause.startswith("a time step passes back 0.4")
    assert "the recurrent weights have a gain of 0.5" in finding.cause
    assert probed(reader("LSTM", width=64), steps=20).report.findings == ()


def test_a_gate_that_forgets_is_told_what_would_keep_a_tenth() -> None:
    model = reader("LSTM", width=32)
    nn.init.constant_(model.rnn.bias_ih_l0[32:64], -5.0)
    (finding,) = probed(model).report.findings
    kept = 0.1 ** (1 / (STEPS - 1))
    assert finding.cause is not None
    assert finding.cause.endswith(f"a gate that keeps {kept:.2g} of the state would leave a tenth over {STEPS - 1} steps")


def test_a_growth_through_time_names_the_gain_of_the_weights() -> None:
    model = identity()
    with torch.no_grad():
        model.rnn.weight_hh_l0.mul_(1.6)
    (finding,) = probed(model).report.findings
    assert finding.rule == "exploding-gradients"
    assert finding.cause is not None
    assert "passes back 1.6 of the gradient: the recurrent weights have a gain of 1.6" in finding.cause


def test_what_it_says_of_time_is_in_the_json() -> None:
    data = json.loads(json.dumps(probed(reader("GRU", width=32), steps=12).to_dict(), allow_nan=False))
    (found,) = data["through_time"]
    assert found["layer"] == "rnn"
    assert found["steps"] == 12
    assert found["agrees"] is True
    low, high = found["interval"]
    assert low < found["factor"] < high
