"""A recurrent network that reads a sequence and answers from its last state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from gradscope.numbers import exact
from gradscope.strict.section import Section
from gradscope.training.init_options import Init
from gradscope.training.options import Count, ModelOptions, Positive, Shape, Share

if TYPE_CHECKING:
    from torch import nn

GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}
"""Cell -> square matrices in its recurrent weight, one a gate."""


class Recurrence(Section):
    """How the recurrent weights start, each gate's matrix by itself. Its eigenvalues lie on a circle under orthogonal (Saxe,
    McClelland & Ganguli 2014), are all one under identity (Le, Jaitly & Hinton 2015) and fill a disc under gaussian.
    """

    scheme: Literal["orthogonal", "identity", "gaussian"] = "orthogonal"
    """How a matrix is drawn."""
    spectral_radius: Positive = 1.0
    """Magnitude of its largest eigenvalue, exactly."""


class Options(ModelOptions):
    """Recurrent layers on top of each other, torch.nn.RNN, LSTM or GRU, and a linear head on the last step's output, or on each
    of the last where the data ask for many answers. Rows are sequences.
    """

    kind: Literal["rnn"] = "rnn"
    reads = (2,)
    answers_often = True
    cell: Literal["tanh", "relu", "lstm", "gru"] = "tanh"
    """The recurrent cell: an Elman cell with tanh or ReLU, LSTM (Hochreiter & Schmidhuber 1997), or GRU (Cho et al. 2014)."""
    layers: Count = 1
    """Recurrent layers; each reads the outputs of the one below."""
    width: Count = 64
    """Units of each layer's state."""
    bias: bool = True
    """Whether cells and head have biases."""
    forget_bias: float | None = None
    """What the bias of LSTM's forget gate, or of GRU's update gate, starts from: above 0, the state is kept at first. null is
    init.bias."""
    dropout: Share = 0.0
    """Share of the last state's units that is dropped while training, before the head."""
    recurrence: Recurrence = Recurrence()
    """How the weights from state to state start."""
    init: Init = Init(scheme="xavier_uniform")
    """How the weights of inputs, each gate's by itself, and of the head start."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        yield from super().contradictions()
        if self.forget_bias is not None and GATES[self.cell] == 1:
            yield "forget_bias", f"the {self.cell} cell has no gate that forgets (expected null, or the cell lstm or gru)"
        if not self.bias and self.forget_bias is not None:
            yield "forget_bias", f"there are no biases to start at {exact(self.forget_bias)}: bias is false"
        if not self.bias and self.init.bias:
            yield "init.bias", f"there are no biases to start at {exact(self.init.bias)}: bias is false"
        if "lsuv" in self.init.schemes:
            yield "init.scheme", "lsuv scales layers that are called once; a recurrent layer is called at every step"


def build(options: Options, input_shape: Shape, outputs: int, answers: int = 1) -> nn.Module:
    """The network, ``rnn`` and ``head``, with its weights drawn from torch's random state."""
    from gradscope.training.recurrent import RecurrentNetwork, initialise_recurrent

    model = RecurrentNetwork(options, input_shape[-1], outputs, answers)
    initialise_recurrent(model, options)
    return model
