"""How an activation's slope behaves, found by evaluating it: on which inputs it is flat, and at which end.

Any parameterless module that maps entries one by one is an activation; nothing depends on its class. The slope is taken
on a grid over [-30, 30] and compared with its supremum on [-3, 3], where pre-activations of a healthy layer live.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradscope.capture.units import over_rows

FLAT = 0.05
"""Share of the largest slope under which an entry counts as saturated: tanh beyond 2.18, the sigmoid beyond 4.36."""
BLOCKED = 1e-3
"""Share of the largest slope under which a unit passes no gradient worth the name: a ReLU at 0, a leaky one never."""
REACH = 30.0


@dataclass(frozen=True)
class Activation:
    """``kind`` is ``one-sided`` (flat below: units can die), ``two-sided`` (flat at both ends) or ``other``.

    Inputs in [``low``, ``high``] have a slope of at least ``FLAT`` of the supremum; ``alive_low`` and ``alive_high`` bound
    the inputs whose slope is at least ``BLOCKED`` of it. An open end is infinite.
    """

    kind: str
    low: float
    high: float
    alive_low: float
    alive_high: float
    overwrites: bool = False
    """Whether the module works in place, so that its inputs are gone once it has run."""
    rectifies: bool = False
    """Whether its output is over 0 where the slope is at least ``BLOCKED`` of the supremum, and 0 elsewhere."""

    @property
    def asks_inputs(self) -> bool:
        """Whether its inputs tell something: which of them saturate, or which units are dead."""
        return self.kind == "two-sided" or (self.kind == "one-sided" and self.alive_low > -float("inf"))

    def saturated(self, inputs: Tensor) -> Tensor:
        """How many entries are on a flat part: (k, *shape) -> (k,) float64."""
        wide = torch.float32 if inputs.device.type == "mps" else torch.float64
        return ((inputs < self.low) | (inputs > self.high)).flatten(1).to(wide).sum(1)

    def alive(self, inputs: Tensor, dim: int) -> Tensor:
        """Per unit, whether any row passes a gradient: (k, *shape) -> (k, units) bool. One with a NaN is not dead."""
        if self.alive_high == float("inf"):
            return ~(over_rows(torch.amax, inputs, dim) <= self.alive_low)
        return ~over_rows(torch.all, (inputs <= self.alive_low) | (inputs >= self.alive_high), dim)


def examine(module: nn.Module) -> Activation | None:
    """What kind of activation a module is; None for one that is none (has parameters, mixes entries, or is linear).

    Torch's own classes are functions of their options alone: a thousand like ones are evaluated once.
    """
    likeness = _likeness(module)
    if likeness is None:
        return _evaluated(module)
    if likeness not in _EXAMINED:
        _EXAMINED[likeness] = _evaluated(module)
    return _EXAMINED[likeness]


_OWN = frozenset(vars(nn.Module()))
"""What every module has; its hooks are among them."""
_EXAMINED: dict[Hashable, Activation | None] = {}


def _likeness(module: nn.Module) -> Hashable | None:
    """Class and options of a module of torch.nn; None for one that may do as it likes: overridden, or someone's own."""
    own = vars(module)
    if not type(module).__module__.startswith("torch.nn.modules."):
        return None
    options = tuple(sorted((key, value) for key, value in own.items() if key not in _OWN))
    known = all(isinstance(value, bool | int | float | str | None) for _, value in options)
    return (type(module), options) if known else None


def _evaluated(module: nn.Module) -> Activation | None:
    if any(True for _ in module.parameters()) or any(True for _ in module.buffers()) or any(True for _ in module.children()):
        return None
    if isinstance(module, nn.Identity | nn.Flatten | nn.modules.dropout._DropoutNd | nn.modules.loss._Loss):
        return None
    try:
        with _untouched_random_states(), torch.enable_grad():
            apart = _apart(module)
            found = classify(_Slope(apart), overwrites=bool(getattr(module, "inplace", False)))
            return None if found is None else replace(found, rectifies=_rectifies(apart, found))
    except Exception:  # a module that cannot take the grid is no activation: whatever it raises says so
        return None


def _rectifies(module: nn.Module, found: Activation) -> bool:
    """Whether inputs over 0 have outputs over 0 and all others 0, and they alone pass a gradient."""
    grid = _grid()
    output = module.forward(grid[None].clone())[0]
    passes = (found.alive_low, found.alive_high) == (0.0, float("inf"))
    return passes and torch.equal(output > 0, grid > 0) and bool((output >= 0).all())


def _apart(module: nn.Module) -> nn.Module:
    """The module again, for evaluation: what its forward pass notes in it (a counter, a list, a tensor) is noted in a copy."""
    other = copy.copy(module)
    vars(other).update(
        {key: value.clone() if isinstance(value, Tensor) else _copied(value) for key, value in vars(module).items()}
    )
    other.training = False  # a randomised ReLU is judged by its mean slope; set past train(), which users override
    return other


def _copied(value: object) -> object:
    if isinstance(value, random.Random | np.random.Generator | np.random.RandomState):
        return copy.deepcopy(value)
    return copy.copy(value) if isinstance(value, list | dict | set) else value


@contextmanager
def _untouched_random_states() -> Iterator[None]:
    """Torch's, Python's and NumPy's: somebody's own activation may draw from any."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


class _Slope:
    """The absolute slope of a module at inputs (n,). Hooks on it are their owners' matter: they are not called."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, at: Tensor) -> Tensor:
        inputs = at[None].clone().requires_grad_()
        output = self.module.forward(inputs.clone())
        if not isinstance(output, Tensor) or output.shape != inputs.shape:
            raise ValueError("not a map of entries")
        if not torch.equal(self.module.forward(at[None, ::3].clone()), output.detach()[:, ::3]):
            raise ValueError("mixes its entries")
        (slope,) = torch.autograd.grad(output.sum(), inputs)
        return slope[0].abs()


def _grid() -> Tensor:
    return torch.arange(-3000, 3001, dtype=torch.float64) * (REACH / 3000)


def classify(slope: Callable[[Tensor], Tensor], *, overwrites: bool = False) -> Activation | None:
    """From the slope as a function; None where it is the same everywhere (a linear map) or has no bound (a root)."""
    grid = _grid()
    found = slope(grid)
    top = float(found[(grid >= -3) & (grid <= 3)].max())
    if not found.isfinite().all() or top <= 0 or float(found.max() - found.min()) < 1e-6 * top:
        return None
    (low, high), (alive_low, alive_high) = (_span(slope, grid, found, share * top) for share in (FLAT, BLOCKED))
    inf = float("inf")
    kind = {(True, True): "two-sided", (True, False): "one-sided"}.get((low > -inf, high < inf), "other")
    if kind == "two-sided" and low >= 0:  # ReLU6: flat for every negative input, so a rectifier whose units die
        kind = "one-sided"
    return Activation(kind, low, high, alive_low, alive_high, overwrites)


def _span(slope: Callable[[Tensor], Tensor], grid: Tensor, found: Tensor, level: float) -> tuple[float, float]:
    """The smallest interval outside which the slope stays under the level; infinite at an end that is steep up to the edge."""
    at = torch.nonzero(found >= level).flatten()
    first, last = int(at[0]), int(at[-1])
    low = -float("inf") if first == 0 else _edge(slope, grid[first - 1], grid[first], level)
    high = float("inf") if last == len(grid) - 1 else _edge(slope, grid[last + 1], grid[last], level)
    return low, high


def _edge(slope: Callable[[Tensor], Tensor], flat: Tensor, steep: Tensor, level: float) -> float:
    """The last flat point before the slope reaches the level, to eight digits; exact where the slope jumps on the grid."""
    for _ in range(3):
        points = flat + (steep - flat) * torch.arange(101, dtype=torch.float64) / 100
        first = max(1, int((slope(points) >= level).to(torch.uint8).argmax()))
        flat, steep = points[first - 1], points[first]
    return float(flat)


class Erf(nn.Module):
    """The error function, which torch has as a function alone."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


FUNCTIONAL: dict[str, nn.Module] = {
    "ReluBackward0": nn.ReLU(),
    "SigmoidBackward0": nn.Sigmoid(),
    "TanhBackward0": nn.Tanh(),
    "GeluBackward0": nn.GELU(),
    "SiluBackward0": nn.SiLU(),
    "MishBackward0": nn.Mish(),
    "EluBackward0": nn.ELU(),
    "LeakyReluBackward0": nn.LeakyReLU(),
    "SoftplusBackward0": nn.Softplus(),
    "HardtanhBackward0": nn.Hardtanh(),
    "HardsigmoidBackward0": nn.Hardsigmoid(),
    "HardswishBackward0": nn.Hardswish(),
    "ErfBackward0": Erf(),
    "CeluBackward0": nn.CELU(),
}
"""Activations called as functions, by the autograd node that they leave; with their default options."""


_OPTIONS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "LeakyReluBackward0": lambda node: (node._saved_negative_slope,),
    "EluBackward0": lambda node: (node._saved_alpha, node._saved_scale),
    "CeluBackward0": lambda node: (node._saved_alpha,),
    "SoftplusBackward0": lambda node: (float(node._saved_beta), float(node._saved_threshold)),
    "HardtanhBackward0": lambda node: (float(node._saved_min_val), float(node._saved_max_val)),
    "GeluBackward0": lambda node: (node._saved_approximate,),
}


def as_module(node: object) -> nn.Module | None:
    """The module that does as a functional activation's node did, options and all; None for another operation.

    Like ones are one object.
    """
    name = type(node).__name__
    return _with(name, *_OPTIONS[name](node)) if name in _OPTIONS else FUNCTIONAL.get(name)


@lru_cache(maxsize=256)
def _with(name: str, *options: Any) -> nn.Module:
    if name == "EluBackward0":
        return nn.SELU() if options[1] != 1 else nn.ELU(options[0])
    return type(FUNCTIONAL[name])(*options)


def inputs_of(node: object) -> Tensor | None:
    """The pre-activation that a functional activation's node has saved, or what stands for it; None where it is gone.

    Nodes that save only their result (ReLU, sigmoid, tanh) give it back through the inverse: what matters is on which
    side of a bound an entry lies.
    """
    try:
        if (saved := getattr(node, "_saved_self", None)) is not None:
            return saved.detach()  # type: ignore[no-any-return]
        result = getattr(node, "_saved_result", None)
    except RuntimeError:  # freed
        return None
    if result is None:
        return None
    result = result.detach()
    name = type(node).__name__
    if name == "SigmoidBackward0":
        return torch.logit(result)
    if name == "TanhBackward0":
        return torch.atanh(result)
    return result  # type: ignore[no-any-return]


def is_packed(node: object) -> bool:
    """Whether what a node saved was packed away: a look at it would run a checkpoint again, or fetch it from elsewhere."""
    raw = [getattr(node, name) for name in ("_raw_saved_self", "_raw_saved_result") if hasattr(node, name)]
    return any(getattr(saved, "unpack_hook", saved) is not None for saved in raw)
