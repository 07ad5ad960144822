"""The gradient through time of recurrent modules, by replay.

What vanishes through time is the gradient of the *last* step's output with respect to earlier states. The graph of a
training shows the sum over all steps that have a loss, which hides the decay, and a fused LSTM shows nothing. So the
module's input, state and weights are kept, its recurrence is unrolled again with torch's own cell functions, and the
gradient that reached the last output is sent back through it alone (Pascanu et al. 2013, eq. 5).
"""

from __future__ import annotations

from collections.abc import Callable
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


def unseen(module: nn.RNNBase, args: tuple[Any, ...]) -> str | None:
    """Why a call of a recurrent module cannot be replayed; None where it can."""
    if (why := replayable(module)) is not None:
        return why
    if not args or not isinstance(args[0], Tensor):
        return "takes a packed sequence"
    if any(hasattr(p, "to_local") for p in module.parameters()):
        return "has its weights sharded"
    return None


class Replay:
    """One call of a recurrent module: what it needs to be unrolled again after the step has changed the weights.

    Kept by the graph of the call alone until a gradient comes back to it.
    """

    def __init__(self, name: str, module: nn.RNNBase, args: tuple[Any, ...], output: Any) -> None:
        self.name = name
        self.module = module
        self.mode = module.mode
        self.batch_first = module.batch_first
        weights = [[p.detach().clone() for p in group] for group in module.all_weights]
        directions = 2 if module.bidirectional else 1
        self.weights = [weights[i : i + directions] for i in range(0, len(weights), directions)]
        """[layer][direction] -> w_ih, w_hh and, with bias, b_ih, b_hh"""
        self.dtype = weights[0][0].dtype  # under autocast the inputs have another
        inputs = args[0].detach()
        self.unbatched = inputs.dim() == 2
        self.inputs = self._in_time(inputs).to(self.dtype)
        """(T, B, features)"""
        state = args[1] if len(args) > 1 else None
        given = () if state is None else state if isinstance(state, tuple) else (state,)
        self.state = tuple(self._batched(s.detach(), 1).to(self.dtype) for s in given)
        self._kept = [(tensor, tensor._version) for tensor in (self.inputs, *self.state)]
        sequence, last = output
        self.outputs = [("output", sequence), *zip(("h", "c"), last if isinstance(last, tuple) else (last,), strict=False)]
        self.cotangents: dict[str, Tensor] = {}
        self.repeated = False

    def follow(self, counts: Callable[[Replay], bool], guard: Guard = unguarded) -> None:
        """Keeps the gradients that come to the outputs, if ``counts`` says that they count."""
        outputs, self.outputs = self.outputs, []
        for kind, tensor in outputs:
            if tensor.grad_fn is not None:
                tensor.grad_fn.register_prehook(guard(self._keeper(kind, tensor.output_nr, counts)))

    def _keeper(self, kind: str, number: int, counts: Callable[[Replay], bool]) -> Callable[[tuple[Tensor | None, ...]], None]:
        def before(gradients: tuple[Tensor | None, ...]) -> None:
            if (gradient := gradients[number]) is not None and counts(self):
                self.repeated = self.repeated or kind in self.cotangents
                self.cotangents[kind] = gradient.detach().to(self.dtype, copy=True)

        return before

    @property
    def lost(self) -> str | None:
        """Why there is nothing to replay although a gradient came."""
        if self.repeated:
            return "got several gradients one after the other"
        if any(tensor._version != version for tensor, version in self._kept):
            return "had its input or state overwritten"
        return None

    def _in_time(self, tensor: Tensor) -> Tensor:
        """(T, B, features), whatever the layout of the module."""
        tensor = self._batched(tensor, 1)
        return tensor.transpose(0, 1) if self.batch_first and not self.unbatched else tensor

    def _batched(self, tensor: Tensor, dim: int) -> Tensor:
        return tensor.unsqueeze(dim) if self.unbatched else tensor

    def norms(self) -> Tensor | None:
        """Gradient of the last output with respect to the state after each time step, norm over batch, units and layers: (T,)

        Both h and c of an LSTM count. A direction that runs backwards counts its steps as it takes them: its last is the first
        of the sequence. None where no gradient reached the output, or several did one after the other.
        """
        if not self.cotangents or self.lost:
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
                start = [s[place] for s in self.state] or [zeros, zeros]
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
            last = self._in_time(last)
            directions = len(self.weights[-1])
            for d, piece in enumerate(last.chunk(directions, -1)):
                pulls.append(ends[len(ends) - directions + d][0])
                pulled.append(piece[-1] if d == 0 else piece[0])
        for kind, at in (("h", 0), ("c", 1)):
            if (end := self.cotangents.get(kind)) is not None:
                for i, states in enumerate(ends):
                    pulls.append(states[at])
                    pulled.append(self._batched(end, 1)[i])
        return pulls, pulled


def _biased(weights: list[Tensor]) -> list[Tensor]:
    """A cell's four weights; without biases, zeros in their place."""
    if len(weights) == 4:
        return weights
    zeros = weights[0].new_zeros(weights[0].shape[0])
    return [*weights[:2], zeros, zeros]
