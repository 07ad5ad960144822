"""Start the gate that keeps the state open.

The state's own path through a step of an LSTM passes back what the forget gate lets through: half of it at a bias of 0, so
that 20 steps leave a millionth. The bias is set so that a tenth of the gradient survives the whole sequence.

Source: Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015; Tallec & Ollivier 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, setting
from gradscope.numbers import number
from gradscope.theory import gru_step, lstm_step

ANSWERS = ("vanishing-gradients/time",)
COST = 2
TORCH = """
n = lstm.hidden_size  # gates are i, f, g, o
nn.init.constant_(lstm.bias_ih_l0[n : 2 * n].detach(), 2.0)
"""

KEPT = 0.1
"""Share of the gradient that is to survive the sequence."""
TORCH_SCALE = math.sqrt(1 / 3)
"""sigma_w of torch's own recurrent matrices, near which theory is asked."""


def propose(case: Case) -> Iterator[Proposal]:
    cell, now = setting(case, "model.cell"), setting(case, "model.forget_bias")
    if cell not in ("lstm", "gru"):
        return
    bias = keeping_bias(case)
    if now is not None and now >= bias:
        return
    step = lstm_step if cell == "lstm" else gru_step
    then, now_kept = step(bias, TORCH_SCALE).path, step(now or 0.0, TORCH_SCALE).path
    told = f"the state's own path keeps {number(then)} a step; now {number(now_kept)}"
    yield Proposal("forget-bias", {"model.forget_bias": bias}, told)


def suits(case: Case) -> bool:
    return any(info.kind in ("LSTM", "GRU", "LSTMCell", "GRUCell") for info in case.run.catalogue.layers)


def keeping_bias(case: Case) -> float:
    """The bias at which a tenth of the gradient survives as many time steps as the run recorded; at least 1."""
    times = case.run.grid("timesteps", "backward_norm").entities
    length = 1 + max((t for _, t in times), default=20)
    kept = KEPT ** (1.0 / length)
    return max(1.0, round(math.log(kept / (1.0 - kept)), 1))
