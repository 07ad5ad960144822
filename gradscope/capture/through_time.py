"""The gradient through time of recurrent modules, by replay.

What vanishes through time is the gradient of the *last* step's output with respect to earlier states. The graph of a
training shows the sum over all steps that have a loss, which hides the decay, and a fused LSTM shows nothing. So the
module's input, state and weights are kept, its recurrence is unrolled again with torch's own cell functions, and the
gradient that reached the last output is sent back through it alone (Pascanu et al. 2013, eq. 5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.capture.guard import Guard, unguarded
from gradscope.capture.packing import wide

_VF: Any = torch._VF
_CELLS: dict[str, Callable[..., Any]] = {
    "RNN_TANH": _VF.rnn_tanh_cell,
    "RNN_RELU": _VF.rnn_relu_cell,
    "GRU": _VF.gru_cell,
    "LSTM": _VF.lstm_cell,
}


def replayable(module: nn.RNNBase) -> str | None:
    """Why a recurrent module cannot be replayed; None where it can."""
    if module.proj_size:
        return "has proj_size"
    if module.dropout and module.num_layers > 1:
        return "has dropout between its layers"
    return None


@dataclass
class Replay:
    """One call of a recurrent module: what it needs to be unrolled again after the step has changed the weights."""

    name: str
    mode: str
    inputs: Tensor
    """(T, B, features)"""
    state: tuple[Tensor, ...] | None
    weights: list[list[list[Tensor]]]
    """[layer][direction] -> w_ih, w_hh and, with bias, b_ih, b_hh"""
    cotangents: dict[str, Tensor]
    unbatched: bool
    batch_first: bool

    @classmethod
    def begin(
        cls, name: str, module: nn.RNNBase, args: tuple[Any, ...], output: Any, guard: Guard = unguarded
    ) -> Replay | None:
        """Keeps copies and follows the gradient to the output sequence and the last state; None for a packed sequence."""
        if replayable(module) or not args or not isinstance(args[0], Tensor):
            return None
        inputs = args[0].detach()
        unbatched = inputs.dim() == 2
        if unbatched:
            inputs = inputs[:, None]
        elif module.batch_first:
            inputs = inputs.transpose(0, 1)
        state = args[1] if len(args) > 1 else None
        states = None if state is None else tuple(s.detach() for s in (state if isinstance(state, tuple) else (state,)))
        if states is not None and unbatched:
            states = tuple(s[:, None] for s in states)
        weights = [[p.detach().clone() for p in group] for group in module.all_weights]
        directions = 2 if module.bidirectional else 1
        grouped = [weights[i : i + directions] for i in range(0, len(weights), directions)]
        replay = cls(name, module.mode, inputs, states, grouped, {}, unbatched, module.batch_first)
        sequence, last = output
        replay._follow("output", sequence, guard)
        for kind, tensor in zip(("h", "c"), last if isinstance(last, tuple) else (last,), strict=False):
            replay._follow(kind, tensor, guard)
        return replay

    def _follow(self, kind: str, tensor: Tensor, guard: Guard) -> None:
        node, number = tensor.grad_fn, tensor.output_nr
        if node is None:
            return

        def before(gradients: tuple[Tensor | None, ...]) -> None:
            if (gradient := gradients[number]) is not None:
                self.cotangents[kind] = gradient.detach().clone()

        node.register_prehook(guard(before))

    def norms(self) -> Tensor | None:
        """Gradient of the last output with respect to the state after each time step, norm over batch, units and layers: (T,)

        Both h and c of an LSTM count. None where no gradient reached the output.
        """
        if not self.cotangents:
            return None
        with torch.enable_grad():
            states, ends = self._unroll()
            pulls, pulled = self._pull(ends)
            if not pulls:
                return None
            flat = [s for step in states for s in step]
            grads = torch.autograd.grad(pulls, flat, pulled, allow_unused=True)
        per_step = len(states[0])
        device = self.inputs.device
        result = []
        for t in range(len(states)):
            mine = [g for g in grads[t * per_step : (t + 1) * per_step] if g is not None]
            parts = [torch.linalg.vector_norm(g, dtype=wide(device)) for g in mine]
            zero = torch.zeros((), dtype=wide(device), device=device)
            result.append(torch.linalg.vector_norm(torch.stack(parts)) if parts else zero)
        return torch.stack(result)

    def _unroll(self) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """All states by time step, and for each layer and direction the outputs h in the order of the sequence."""
        cell = _CELLS[self.mode]
        steps = len(self.inputs)
        sequence = [x.requires_grad_() for x in self.inputs.detach().clone().unbind(0)]
        collected: list[list[Tensor]] = [[] for _ in range(steps)]
        ends: list[list[Tensor]] = []
        place = 0
        for layer in self.weights:
            outputs: list[list[Tensor]] = []
            for direction, weights in enumerate(layer):
                hidden = weights[1].shape[1]
                zeros = self.inputs.new_zeros(self.inputs.shape[1], hidden)
                start = [zeros, zeros] if self.state is None else [s[place] for s in self.state]
                h, c = start[0], start[1] if len(start) > 1 else zeros
                place += 1
                seen: list[Tensor] = []
                for k in range(steps):
                    x = sequence[k] if direction == 0 else sequence[steps - 1 - k]
                    if self.mode == "LSTM":
                        h, c = cell(x, (h, c), *_biased(weights))
                        collected[k] += [h, c]
                    else:
                        h = cell(x, h, *_biased(weights))
                        collected[k].append(h)
                    seen.append(h)
                ends.append([h, c])
                outputs.append(seen if direction == 0 else seen[::-1])
            sequence = [torch.cat(both, -1) if len(both) > 1 else both[0] for both in zip(*outputs, strict=True)]
        return collected, ends

    def _pull(self, ends: list[list[Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
        """The last states of the last layer with the gradients that reached them, and of all layers where h_n was used."""
        pulls: list[Tensor] = []
        pulled: list[Tensor] = []
        last = self.cotangents.get("output")
        if last is not None:
            if self.unbatched:
                last = last[:, None]
            elif self.batch_first:
                last = last.transpose(0, 1)
            directions = len(self.weights[-1])
            for d, piece in enumerate(last.chunk(directions, -1)):
                pulls.append(ends[len(ends) - directions + d][0])
                pulled.append(piece[-1] if d == 0 else piece[0])
        for kind, at in (("h", 0), ("c", 1)):
            if (end := self.cotangents.get(kind)) is not None:
                for i, states in enumerate(ends):
                    pulls.append(states[at])
                    pulled.append(end[i][None] if self.unbatched else end[i])
        return pulls, pulled


def _biased(weights: list[Tensor]) -> list[Tensor]:
    """A cell's four weights; without biases, zeros in their place."""
    if len(weights) == 4:
        return weights
    zeros = weights[0].new_zeros(weights[0].shape[0])
    return [*weights[:2], zeros, zeros]
