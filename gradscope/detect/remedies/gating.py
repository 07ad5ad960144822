"""Use gates: LSTM or GRU through time, highway layers through depth.

A gate decides how much of the state passes unchanged, so that its gradient need not pass weights and slopes at each step. The
gates start open for the state.

Source: Hochreiter & Schmidhuber 1997; Cho et al. 2014; Srivastava, Greff & Schmidhuber 2015.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedies.forget_bias import TORCH_SCALE, keeping_bias
from gradscope.detect.remedy import Proposal, setting
from gradscope.numbers import number
from gradscope.theory import gru_step, lstm_step

ANSWERS = ("vanishing-gradients/time", "exploding-gradients/time", "vanishing-gradients")
COST = 5
TORCH = """
nn.LSTM(inputs, width, batch_first=True)  # for nn.RNN
"""


def propose(case: Case) -> Iterator[Proposal]:
    if setting(case, "model.cell") in ("tanh", "relu"):
        bias = keeping_bias(case)
        for cell, step in (("lstm", lstm_step), ("gru", gru_step)):
            told = f"the state's own path keeps {number(step(bias, TORCH_SCALE).path)} of the gradient a step"
            yield Proposal("gating", {"model.cell": cell, "model.forget_bias": bias}, told)
    elif setting(case, "model.kind") == "mlp":
        told = "each layer starts by passing on 88% of its input unchanged"
        yield Proposal("gating", {"model.kind": "highway"}, told)


def suits(case: Case) -> bool:
    return any(info.recurrent and info.kind in ("RNN", "RNNCell") for info in case.run.catalogue.layers)
