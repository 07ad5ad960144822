"""Which modules one forward pass calls, in order and nested, and the values that reach the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from gradscope.capture.activations import as_module
from gradscope.capture.naming import public_names, unwrap
from gradscope.record.grid import Floats

RESHAPES = ("View", "Reshape", "Alias", "Squeeze", "Unsqueeze", "Clone", "Mean")
"""Autograd nodes, by a part of their name, behind which an activation is looked for: they move values, or take their mean."""
SHAPING = (nn.Identity, nn.Flatten, nn.Unflatten)
ROWS = 64
"""Samples whose lengths theory follows: the mean over more of them moves next to nothing."""
LENGTHS = 65_536
"""The most that are followed where they are images: as many lengths a sample as it has places."""


@dataclass
class Call:
    """One call of a module; ``inside`` are the calls within it. An activation that is no module has the name ''."""

    name: str
    module: nn.Module
    inside: list[Call] = field(default_factory=list)
    unchanged: bool = False
    """Whether a module that is not torch's own gave what it got: a learned shift that starts at 0."""


@dataclass(frozen=True)
class Inputs:
    """What reaches the first layer: units or channels; mean squares by sample (S,), of images by place (S, ...);
    mean product of two samples; number of samples.
    """

    width: int
    lengths: Floats
    overlap: float
    rows: int


@dataclass(frozen=True)
class Recurrent:
    """A call of a recurrent module: ``lengths`` (T,) are the mean squares of what enters at each time step."""

    module: nn.RNNBase
    lengths: tuple[float, ...]
    from_rest: bool

    @classmethod
    def of(cls, module: nn.RNNBase, args: Sequence[object]) -> Recurrent | None:
        """None where its input is a packed sequence."""
        values = args[0] if args else None
        if not isinstance(values, Tensor):
            return None
        in_time = values.detach().double()
        if in_time.dim() == 3 and module.batch_first:
            in_time = in_time.transpose(0, 1)
        lengths = in_time.flatten(1).square().mean(1)
        return cls(module, tuple(lengths.tolist()), len(args) < 2 or args[1] is None)


class Calls:
    """A context: what ``model`` calls while it is open; ``top`` are the outermost calls."""

    def __init__(self, model: nn.Module) -> None:
        self.root = unwrap(model)
        self.top: list[Call] = []
        self.inputs: Inputs | None = None
        self.recurrent: dict[str, Recurrent] = {}
        self._open = [self.top]
        self._made: set[Any] = set()
        self._handles: list[Any] = []

    def __enter__(self) -> Calls:
        for module, name in public_names(self.root).items():
            if module is not self.root or not any(True for _ in module.children()):
                self._handles.append(module.register_forward_pre_hook(self._entering(name or type(module).__name__)))
                self._handles.append(module.register_forward_hook(self._left, always_call=True))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self.let_go()

    def let_go(self) -> None:
        """Of the autograd graph."""
        self._made = set()

    def _entering(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            tensor = next((a for a in args if isinstance(a, Tensor)), None)
            if tensor is not None and not any(True for _ in module.children()):
                self._see(module, tensor)
            if isinstance(module, nn.RNNBase) and name not in self.recurrent and (seen := Recurrent.of(module, args)):
                self.recurrent[name] = seen
            call = Call(name, module)
            self._open[-1].append(call)
            self._open.append(call.inside)

        return hook

    def _left(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        self._open.pop()
        if not isinstance(output, Tensor) or any(True for _ in module.children()):
            return
        if output.grad_fn is not None:
            self._made.add(output.grad_fn)
        if not type(module).__module__.startswith("torch.nn.") and args and isinstance(args[0], Tensor):
            call = self._open[-1][-1]
            call.unchanged = torch.equal(output, args[0])
            call.module = _wrapped(output.grad_fn, args[0].grad_fn) or module

    def _see(self, module: nn.Module, tensor: Tensor) -> None:
        if self.inputs is None and not isinstance(module, SHAPING):
            self.inputs = _inputs(tensor.detach(), places=isinstance(module, _ConvNd))
        node: Any = tensor.grad_fn
        while node is not None and node not in self._made and any(part in type(node).__name__ for part in RESHAPES):
            node = node.next_functions[0][0]
        if node is not None and node not in self._made and (phi := as_module(node)) is not None:
            self._made.add(node)
            self._open[-1].append(Call("", phi))


def _wrapped(made: Any, source: Any) -> nn.Module | None:
    """The activation that a module of one's own calls as a function, where that is all it does."""
    phi = as_module(made)
    return phi if phi is not None and source is not None and made.next_functions[0][0] is source else None


def _inputs(tensor: Tensor, *, places: bool) -> Inputs | None:
    """None where the values are no vectors of floating-point numbers, or with ``places`` no images of them."""
    if not tensor.is_floating_point() or tensor.dim() < 2 + places or not tensor.numel():
        return None
    rows = tensor.to(torch.float64).movedim(1, -1) if places else tensor.flatten(0, -2).to(torch.float64)
    count = len(rows)
    lengths = rows.square().mean(-1)
    alike = (rows.sum(0).square().mean() - lengths.sum(0).mean()) / (count * (count - 1)) if count > 1 else torch.zeros(())
    most = min(count, ROWS, max(1, LENGTHS * count // lengths.numel()))
    chosen = torch.linspace(0, count - 1, most, device=lengths.device).long()
    return Inputs(rows.shape[-1], lengths[chosen].cpu().numpy(), float(alike), count)
