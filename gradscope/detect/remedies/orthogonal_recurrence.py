"""Make the recurrent matrix orthogonal.

Through time the same matrix is multiplied at every step. With all eigenvalues of magnitude 1 no direction dies or grows by it;
what is left to lose is the activation's slope.

Source: Saxe, McClelland & Ganguli 2014; Le, Jaitly & Hinton 2015; Pascanu, Mikolov & Bengio 2013, eq. 7.
"""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.detect.case import Case
from gradscope.detect.remedy import Proposal, Value, setting
from gradscope.numbers import number
from gradscope.theory import recurrent_step

ANSWERS = ("vanishing-gradients/time", "exploding-gradients/time")
COST = 2
TORCH = """
for name, weight in rnn.named_parameters():
    if "weight_hh" in name:  # in nn.LSTM gate by gate
        nn.init.orthogonal_(weight)
"""


def propose(case: Case) -> Iterator[Proposal]:
    scheme, radius = setting(case, "model.recurrence.scheme"), setting(case, "model.recurrence.spectral_radius")
    if scheme is None:
        return
    changes: dict[str, Value] = {}
    if scheme != "orthogonal":
        changes["model.recurrence.scheme"] = "orthogonal"
    if radius != 1.0:
        changes["model.recurrence.spectral_radius"] = 1.0
    if not changes:
        return
    cell = setting(case, "model.cell")
    told = "no direction of the state grows or dies by the matrix"
    if cell in ("tanh", "relu"):
        now, then = (recurrent_step(cell, r, weights="orthogonal").factor for r in (float(radius), 1.0))
        told = f"a time step passes back {number(then)} of the gradient near rest; now {number(now)}"
    yield Proposal("orthogonal-recurrence", changes, told)
