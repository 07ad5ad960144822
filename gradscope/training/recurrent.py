"""What recurrent networks are made of, and how their weights start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gradscope.training.blocks import dense
from gradscope.training.initialisation import draw, initialise

if TYPE_CHECKING:
    from gradscope.training.architectures.rnn import Options, Recurrence

CELLS: Mapping[str, tuple[Callable[..., nn.RNNBase], dict[str, Any]]] = {
    "tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
}
"""Module of each cell of the options, and what it is made with."""
FORGETS = {"lstm": 1, "gru": 1}
"""Which of a cell's gates, in torch's order (i f g o, r z n), says how much of the state is kept."""


class RecurrentNetwork(nn.Module):
    """(rows, steps, features) through ``rnn``; ``head`` on the output of the last step, the last state of the top layer.

    With ``answers``, on the outputs of so many last steps: (rows, answers, outputs).
    """

    def __init__(self, options: Options, features: int, outputs: int, answers: int = 1) -> None:
        super().__init__()
        self.read = -1 if answers == 1 else slice(-answers, None)
        module, kind = CELLS[options.cell]
        self.rnn = module(features, options.width, options.layers, bias=options.bias, batch_first=True, **kind)
        self.dropout = nn.Dropout(options.dropout) if options.dropout else None
        self.head = dense(options.width, outputs, bias=options.bias)

    def forward(self, x: Tensor) -> Tensor:
        # On the CPU torch has LSTM and GRU in low precision only for some processors: there, they are computed in float32.
        gated = isinstance(self.rnn, nn.LSTM | nn.GRU)
        with torch.autocast(x.device.type, enabled=torch.is_autocast_enabled(x.device.type) and not (gated and x.is_cpu)):
            states, _ = self.rnn(x)
        last = states[:, self.read]
        if self.dropout is not None:
            last = self.dropout(last)
        y: Tensor = self.head(last)
        return y


@torch.no_grad()
def initialise_recurrent(model: RecurrentNetwork, options: Options) -> None:
    """Draw all weights from torch's random state: recurrent ones by ``recurrence``, the others by ``init``.

    A cell adds two biases. Both start so that their sum is ``init.bias``, or ``forget_bias`` at the gate that forgets: the
    first holds it, the second is 0.
    """
    activation = options.cell if options.cell in ("tanh", "relu") else "tanh"
    initialise(model, options.init, activation)
    own = options.init.of("rnn", "recurrent")
    for name, parameter in model.rnn.named_parameters():
        gates = torch.split(parameter, options.width)
        if name.startswith("weight_hh"):
            for gate in gates:
                draw_recurrence(gate, options.recurrence)
        elif name.startswith("weight_ih"):
            for gate in gates:
                draw(gate, own, activation)
        else:
            first = name.startswith("bias_ih")
            parameter.fill_(own.bias if first else 0.0)
            if first and options.forget_bias is not None:
                gates[FORGETS[options.cell]].fill_(options.forget_bias)


def draw_recurrence(weight: Tensor, recurrence: Recurrence) -> None:
    """Fill a square matrix so that the largest magnitude of its eigenvalues is ``spectral_radius``."""
    if recurrence.scheme == "identity":
        nn.init.eye_(weight)
    elif recurrence.scheme == "orthogonal":
        nn.init.orthogonal_(weight)
    else:
        nn.init.normal_(weight)
        weight.div_(torch.linalg.eigvals(weight.double()).abs().max())
    weight.mul_(recurrence.spectral_radius)
