"""One station: the hooks on one module, made once and reused at every sampled step.

Objects that live through a whole step are what Python's garbage collector scans; a recorder that makes a few dozen a
module and step can cost more in collections than in statistics. So a station's hooks, and those of each of its calls, are
made when they are first needed, and only what differs from step to step is written into them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from gradscope.capture.activations import Activation
from gradscope.capture.graph import Node, behind, input_edge, input_paths, tensors_in
from gradscope.capture.naming import own_parameters
from gradscope.capture.passes import Passes
from gradscope.capture.piles import Key, Pile
from gradscope.capture.units import LIMIT, Units, head, unit_dim, width


class Station:
    """A module that is watched; ``before`` and ``after`` are its forward pre-hook and forward hook, guarded."""

    def __init__(
        self,
        passes: Passes,
        name: str,
        module: nn.Module,
        activation: Activation | None,
        see_recurrent: Callable[[str, nn.RNNBase, int, tuple[Any, ...], object], None],
        look_from: Callable[[Key, int], None],
    ) -> None:
        self.passes = passes
        self.see_recurrent = see_recurrent
        """Told of each call of a recurrent module: its name, itself, the call's number, arguments and output."""
        self.look_from = look_from
        """Told, while stations are looked for, of the key and the turn to which a gradient has come."""
        self.name = name
        self.module = module
        self.activation = activation
        self.asks_inputs = activation is not None and activation.asks_inputs and not activation.rectifies
        self.recurrent = isinstance(module, nn.RNNBase)
        self.plain = type(module).__module__.startswith("torch.nn.modules.") and not any(True for _ in module.children())
        """Whether its output is made of its input and its parameters alone, in torch's own few operations."""
        self.before = passes.guard(self._before)
        self.after = passes.guard(self._after)
        self.named = passes.guard(self._after_named)
        self._calls: list[Call] = []
        self._handle: Any = None

    @cached_property
    def by_unit(self) -> bool:
        """Whether units are asked for their gradient: those of a matrix's output, where one of 0 means that it is blocked."""
        return not self.recurrent and any(p.dim() >= 2 for p in own_parameters(self.module))

    def attach(self) -> list[Any]:
        """Puts the hooks on the module; one that was there before goes back under its handle, which costs next to nothing."""
        if self.recurrent:  # its input and state may come by name
            handles = [self.module.register_forward_hook(self.named, with_kwargs=True)]
        else:
            hooks = self.module._forward_hooks
            if self._handle is not None and self._handle.hooks_dict_ref() is hooks:
                hooks[self._handle.id] = self.after
            else:
                self._handle = self.module.register_forward_hook(self.after)
            handles = [self._handle]
        if self.asks_inputs and self.activation is not None and self.activation.overwrites:
            handles.append(self.module.register_forward_pre_hook(self.before))
        return handles

    def _after_named(self, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: object) -> None:
        rest = ("input", "hx")[len(args) :]
        self._after(module, (*args, *(named.get(name) for name in rest)), output)

    def paths(self, number: int) -> tuple[tuple[int, ...], ...]:
        """The ways from a call's output node to its input, as places among producers; none where that is not known."""
        return self._calls[number].paths

    def path(self, number: int) -> tuple[int, ...] | None:
        """The only one; None where there are several or none."""
        paths = self.paths(number)
        return paths[0] if len(paths) == 1 else None

    def number(self, number: int) -> int:
        """Which output of its node a call's output is."""
        return self._calls[number].number

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """An activation's inputs, before one that works in place takes them away."""
        inputs = args[0] if args else None
        if module is not self.module or not isinstance(inputs, Tensor) or not inputs.requires_grad:
            return
        if torch.is_grad_enabled() and (number := self.passes.call(self.name, take=False)) is not None:
            self._call(number).see_inputs(inputs, self.passes.maker(inputs))

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        if module is not self.module:  # a copy of the model carries these hooks too
            return
        passes = self.passes
        tensor = output if isinstance(output, Tensor) else next((t for t in tensors_in(output) if t.is_floating_point()), None)
        if tensor is None or (node := tensor.grad_fn) is None:
            if passes.model.training and not torch.is_grad_enabled():
                passes.run_without_gradient(self.name)
            return
        if node in passes.nodes:  # a container's output is its last member's
            passes.aliases.setdefault(node, []).append(self.name)
            return
        if not tensor.is_floating_point():
            if own_parameters(module) or not any(True for _ in module.children()):  # a container only hands it on
                passes.notes["layers: of modules that give complex numbers nothing is recorded"] = None
            return
        if not tensor.numel() or (number := passes.call(self.name, take=True)) is None:
            return
        call = self._calls[number] if number < len(self._calls) else self._call(number)
        if self.activation is None or not args:
            call.see(node, tensor, args, None)
        else:
            source = passes.maker(args[0])
            call.see(node, tensor, args, source)
            if self.asks_inputs and not self.activation.overwrites and isinstance(args[0], Tensor):
                call.see_inputs(args[0], source)
        if self.recurrent:
            self.see_recurrent(self.name, cast(nn.RNNBase, module), number, args, output)

    def _call(self, number: int) -> Call:
        calls = self._calls
        while number >= len(calls):
            calls.append(Call(self, (self.name, len(calls))))
        return calls[number]


class Call:
    """One call of a station within a forward pass: ``before`` sees the gradient of its output, ``after`` of its input, ``both``
    both where the module is a single node of the graph: one hook costs less than two.

    What follows from the shape of its tensors is found when that changes.
    """

    def __init__(self, station: Station, key: Key) -> None:
        self.station = station
        self.passes = station.passes
        self.key = key
        self.before = self.passes.guard(self._before)
        self.after = self.passes.guard(self._after)
        self.both = self.passes.guard(self._both)
        self.slot = self.number = 0
        self.paths: tuple[tuple[int, ...], ...] = ()
        self._paths_of: type | None = None
        self._ends: list[tuple[tuple[int, ...], Any]] = []
        """The way to each node that takes the input, and what reads the gradient that it sends there."""
        self._is_one_node = False
        self._place = -1
        """Of the input among what its node takes, where there is one way to it."""
        self._parts: list[Tensor] = []
        self._fits: tuple[Any, ...] = ()
        """Shape, type and source of the output that the following is for."""
        self._dim: int | None = None
        self._rows = self._entries = 0
        self._rectifier: tuple[int, Activation] | None = None
        """The dimension of its units, if it rectifies: then its output tells which of them are dead."""
        self._output: Pile | None = None
        self._gradient: Pile | None = None
        self._fits_inputs: tuple[Any, ...] = ()
        self._inputs_dim = 0
        self._inputs: Pile | None = None

    def see(self, node: Node, tensor: Tensor, args: tuple[Any, ...], source: Key | None) -> None:
        """An output, and what went in; ``source`` is what made an activation's inputs."""
        passes = self.passes
        fits = (tensor.shape, tensor.dtype, source)
        if fits != self._fits:
            self._fit(tensor, source)
            self._fits = fits
        passes.nodes[node] = self.key
        self.number = tensor.output_nr
        gather = passes.gather
        gather.output(self._output, self.slot, tensor, self._rows, self._entries, self._rectifier)
        if not self.paths or self._paths_of is not type(node):
            self.paths, self._paths_of = self._ways(node, args), type(node)
            single = len(self.paths) == 1
            self._ends = [(path[:-1], self.after if single else self._part(path[-1])) for path in self.paths]
            self._is_one_node = single and len(self.paths[0]) == 1
            self._place = self.paths[0][-1] if single else -1
        if self._is_one_node and not passes.looking:  # while it looks, the graph must still be whole
            node.register_hook(self.both)
            return
        node.register_prehook(self.before)
        self._parts.clear()
        for way, hook in self._ends:
            if (end := behind(node, way)) is not None:  # else the input has no graph now
                end.register_hook(hook)

    def _ways(self, node: Node, args: tuple[Any, ...]) -> tuple[tuple[int, ...], ...]:
        """From the output back to the input: those of a few operations of torch's, or the one of a module that is one node."""
        given = [a for a in args if isinstance(a, Tensor)]
        if self.station.plain and not self.station.recurrent and len(given) == 1 and given[0].grad_fn is not None:
            return input_paths(node, given[0])
        edge = input_edge(node, given)
        return () if edge is None else ((edge,),)

    def see_inputs(self, inputs: Tensor, source: Key | None) -> None:
        """The inputs of an activation."""
        activation = self.station.activation
        if activation is None:
            return
        passes = self.passes
        fits = (inputs.shape, inputs.dtype, source)
        if fits != self._fits_inputs:
            if not inputs.is_floating_point() or not inputs.numel():
                return
            dim = self._inputs_dim = self._units(inputs, source)
            self.slot = passes.memory.slot(self.key, width(inputs, dim))
            small = inputs.numel() <= LIMIT
            self._inputs = passes.memory.pile("inputs", inputs, dim, activation) if small else None
            self._fits_inputs = fits
        passes.gather.inputs(self.slot, inputs, self._inputs_dim, activation, self._inputs)

    def _units(self, tensor: Tensor, source: Key | None) -> int:
        """The dimension of the units of what the module makes or takes."""
        memory = self.passes.memory

        def behind() -> Units | None:
            return self.passes.units_behind(tensor) if source is None else memory.units.get(source)

        units = unit_dim(self.station.module, tensor, behind)
        memory.units[self.key] = tensor.dim(), units
        return units

    def _fit(self, tensor: Tensor, source: Key | None) -> None:
        units = self._units(tensor, source)
        self._dim = units if self.station.by_unit and tensor.dim() else None
        memory, seen = self.passes.memory, head(tensor)
        self.slot = memory.slot(self.key, width(tensor, units))
        small = tensor.numel() <= LIMIT
        self._rows, self._entries = len(seen), seen.numel()
        activation = self.station.activation
        self._rectifier = (units, activation) if activation is not None and activation.rectifies else None
        self._output = memory.pile("output", tensor, *(self._rectifier or ())) if small else None
        self._gradient = memory.pile("backward", tensor, self._dim) if small else None

    def _before(self, arrived: Sequence[Tensor | None]) -> None:
        if (gradient := arrived[self.number]) is not None and self.passes.accumulates(self.station.module):
            self._see_gradient(gradient)

    def _see_gradient(self, gradient: Tensor) -> None:
        passes = self.passes
        turn = passes.turn_of_gradient()
        if passes.looking:
            self.station.look_from(self.key, turn)
        pile, entries = self._gradient, self._entries
        if gradient.shape != self._fits[0]:  # of an earlier forward pass, on a batch of another size
            entries = gradient.numel()
            pile = passes.memory.pile("backward", gradient, self._dim) if entries <= LIMIT else None
        passes.gather.gradient(pile, self.slot, gradient, turn, entries, self._dim)

    def _after(self, produced: Sequence[Tensor | None], _: object) -> None:
        if (gradient := produced[self._place]) is not None and self.passes.accumulates(self.station.module):
            self.passes.gather.input_gradient(self.slot, gradient)

    def _both(self, produced: Sequence[Tensor | None], arrived: Sequence[Tensor | None]) -> None:
        if not self.passes.accumulates(self.station.module):
            return
        if (gradient := arrived[self.number]) is not None:
            self._see_gradient(gradient)
        if (gradient := produced[self._place]) is not None:
            self.passes.gather.input_gradient(self.slot, gradient)

    def _part(self, place: int) -> Any:
        """Of an input that is read in several places: the gradient is the sum of what comes back from all of them."""

        def after(produced: Sequence[Tensor | None], _: object) -> None:
            if (gradient := produced[place]) is None or not self.passes.accumulates(self.station.module):
                return
            self._parts.append(gradient.detach())
            if len(self._parts) == len(self.paths):
                whole = torch.stack(self._parts).sum(0)
                self._parts.clear()
                self.passes.gather.input_gradient(self.slot, whole)

        return self.passes.guard(after)
