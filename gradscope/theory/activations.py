"""Every elementwise activation of the config, as theory needs it: phi, its derivative and where it has kinks.

Names are those of ``torch.nn.functional``; options are named as there and have the same defaults. Derivatives are the
ones torch back-propagates: a jump of phi itself (``hardshrink``) carries no gradient.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import UsageError

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Nonlinearity:
    """``phi`` and ``slope`` (its derivative) take and give float64 arrays of any one shape.

    ``kinks`` are the arguments at which phi or its derivative is not smooth; quadrature splits there. Where phi itself jumps
    it is not ``continuous``: what torch back-propagates is then not the derivative of what it computes.
    """

    name: str
    phi: Function
    slope: Function
    kinks: tuple[float, ...] = ()
    continuous: bool = True


@cache
def find_activation(name: str, **options: float) -> Nonlinearity:
    """The activation of this name, lower or upper case; ``options`` as torch's, for example ``negative_slope=0.1``.

    Raises:
        UsageError: there is no such activation, or it has no such option.
    """
    make = ACTIVATIONS.get(name.lower())
    if make is None:
        near = difflib.get_close_matches(name.lower(), ACTIVATIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(ACTIVATIONS)}"
        raise UsageError(f"theory knows no activation {name!r}", hint=hint)
    try:
        return make(**options)
    except TypeError as wrong:
        raise UsageError(f"activation {name!r} takes no such options: {', '.join(options)}") from wrong


_ERF_STEP = 1 / 4096
_ERF_END = 6.0  # beyond, erf is 1 in float64


@cache
def _erf_table() -> tuple[Floats, Floats]:
    x = np.arange(0.0, _ERF_END + _ERF_STEP, _ERF_STEP)
    return np.array([math.erf(v) for v in x]), 2.0 / math.sqrt(math.pi) * np.exp(-x * x)


def erf(x: Floats) -> Floats:
    """The error function, elementwise: Taylor's series to the third order around a table, exact to 2e-16."""
    value, slope = _erf_table()
    size = np.minimum(np.abs(x), _ERF_END)
    place = np.rint(size / _ERF_STEP).astype(np.int64)
    at = place * _ERF_STEP
    d = size - at
    series = value[place] + slope[place] * d * (1.0 - at * d + (2.0 * at * at - 1.0) / 3.0 * d * d)
    return np.asarray(np.copysign(series, x))


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _softplus(x: Floats) -> Floats:
    return np.logaddexp(0.0, x)


def _normal_density(x: Floats) -> Floats:
    return np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def _sech_squared(x: Floats) -> Floats:
    return 1.0 - np.tanh(x) ** 2


def _inside(x: Floats, low: float, high: float) -> Floats:
    return np.where((x > low) & (x < high), 1.0, 0.0)


def _identity() -> Nonlinearity:
    return Nonlinearity("identity", lambda x: x, np.ones_like)


def _leaky(name: str, slope: float) -> Nonlinearity:
    return Nonlinearity(name, lambda x: np.where(x > 0, x, slope * x), lambda x: np.where(x > 0, 1.0, slope), (0.0,))


def _relu() -> Nonlinearity:
    return _leaky("relu", 0.0)


def _leaky_relu(negative_slope: float = 0.01) -> Nonlinearity:
    return _leaky("leaky_relu", negative_slope)


def _prelu(init: float = 0.25) -> Nonlinearity:
    return _leaky("prelu", init)


def _rrelu(lower: float = 1 / 8, upper: float = 1 / 3) -> Nonlinearity:
    # Training draws the slope anew for each entry; the root mean square slope gives the second moments exactly.
    return _leaky("rrelu", math.sqrt((lower**2 + lower * upper + upper**2) / 3.0))


def _relu6() -> Nonlinearity:
    return Nonlinearity("relu6", lambda x: np.clip(x, 0.0, 6.0), lambda x: _inside(x, 0.0, 6.0), (0.0, 6.0))


def _elu_like(name: str, scale: float, alpha: float, width: float) -> Nonlinearity:
    def phi(x: Floats) -> Floats:
        return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) / width))

    def slope(x: Floats) -> Floats:
        return scale * np.where(x > 0, 1.0, alpha / width * np.exp(np.minimum(x, 0.0) / width))

    return Nonlinearity(name, phi, slope, (0.0,))


def _elu(alpha: float = 1.0) -> Nonlinearity:
    return _elu_like("elu", 1.0, alpha, 1.0)


def _celu(alpha: float = 1.0) -> Nonlinearity:
    return _elu_like("celu", 1.0, alpha, alpha)


def _selu() -> Nonlinearity:
    # Klambauer 2017, the constants of the fixed point at mean 0 and variance 1.
    return _elu_like("selu", 1.0507009873554805, 1.6732632423543772, 1.0)


def _gelu() -> Nonlinearity:
    def cdf(x: Floats) -> Floats:
        return 0.5 * (1.0 + erf(x / math.sqrt(2.0)))

    return Nonlinearity("gelu", lambda x: x * cdf(x), lambda x: cdf(x) + x * _normal_density(x))


def _gelu_tanh() -> Nonlinearity:
    k, c = math.sqrt(2.0 / math.pi), 0.044715

    def gate(x: Floats) -> Floats:
        return np.tanh(k * (x + c * x**3))

    def slope(x: Floats) -> Floats:
        t = gate(x)
        return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * k * (1.0 + 3.0 * c * x * x)

    return Nonlinearity("gelu_tanh", lambda x: 0.5 * x * (1.0 + gate(x)), slope)


def _silu() -> Nonlinearity:
    def slope(x: Floats) -> Floats:
        s = _sigmoid(x)
        return s * (1.0 + x * (1.0 - s))

    return Nonlinearity("silu", lambda x: x * _sigmoid(x), slope)


def _mish() -> Nonlinearity:
    def slope(x: Floats) -> Floats:
        t = np.tanh(_softplus(x))
        return t + x * (1.0 - t * t) * _sigmoid(x)

    return Nonlinearity("mish", lambda x: x * np.tanh(_softplus(x)), slope)


def _softplus_activation(beta: float = 1.0, threshold: float = 20.0) -> Nonlinearity:
    return Nonlinearity(
        "softplus",
        lambda x: np.where(beta * x > threshold, x, _softplus(beta * x) / beta),
        lambda x: np.where(beta * x > threshold, 1.0, _sigmoid(beta * x)),
    )


def _softsign() -> Nonlinearity:
    return Nonlinearity("softsign", lambda x: x / (1.0 + np.abs(x)), lambda x: (1.0 + np.abs(x)) ** -2, (0.0,))


def _tanh() -> Nonlinearity:
    return Nonlinearity("tanh", np.tanh, _sech_squared)


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0) -> Nonlinearity:
    return Nonlinearity(
        "hardtanh", lambda x: np.clip(x, min_val, max_val), lambda x: _inside(x, min_val, max_val), (min_val, max_val)
    )


def _sigmoid_activation() -> Nonlinearity:
    return Nonlinearity("sigmoid", _sigmoid, lambda x: 0.25 * _sech_squared(0.5 * x))


def _hardsigmoid() -> Nonlinearity:
    return Nonlinearity(
        "hardsigmoid", lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0), lambda x: _inside(x, -3.0, 3.0) / 6.0, (-3.0, 3.0)
    )


def _hardswish() -> Nonlinearity:
    def slope(x: Floats) -> Floats:
        return np.where(x >= 3.0, 1.0, _inside(x, -3.0, 3.0) * (2.0 * x + 3.0) / 6.0)

    return Nonlinearity("hardswish", lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0, slope, (-3.0, 3.0))


def _logsigmoid() -> Nonlinearity:
    return Nonlinearity("logsigmoid", lambda x: -_softplus(-x), lambda x: _sigmoid(-x))


def _tanhshrink() -> Nonlinearity:
    return Nonlinearity("tanhshrink", lambda x: x - np.tanh(x), lambda x: np.tanh(x) ** 2)


def _softshrink(lambd: float = 0.5) -> Nonlinearity:
    return Nonlinearity(
        "softshrink",
        lambda x: np.sign(x) * np.maximum(np.abs(x) - lambd, 0.0),
        lambda x: 1.0 - _inside(x, -lambd, lambd),
        (-lambd, lambd),
    )


def _hardshrink(lambd: float = 0.5) -> Nonlinearity:
    def outside(x: Floats) -> Floats:
        return 1.0 - _inside(x, -lambd, lambd)

    return Nonlinearity("hardshrink", lambda x: x * outside(x), outside, (-lambd, lambd), continuous=False)


def _erf_activation() -> Nonlinearity:
    return Nonlinearity("erf", erf, lambda x: 2.0 / math.sqrt(math.pi) * np.exp(-x * x))


ACTIVATIONS: Mapping[str, Callable[..., Nonlinearity]] = MappingProxyType(
    {
        "identity": _identity,
        "linear": _identity,
        "relu": _relu,
        "leaky_relu": _leaky_relu,
        "prelu": _prelu,
        "rrelu": _rrelu,
        "relu6": _relu6,
        "elu": _elu,
        "celu": _celu,
        "selu": _selu,
        "gelu": _gelu,
        "gelu_tanh": _gelu_tanh,
        "silu": _silu,
        "mish": _mish,
        "softplus": _softplus_activation,
        "softsign": _softsign,
        "tanh": _tanh,
        "hardtanh": _hardtanh,
        "sigmoid": _sigmoid_activation,
        "hardsigmoid": _hardsigmoid,
        "hardswish": _hardswish,
        "logsigmoid": _logsigmoid,
        "tanhshrink": _tanhshrink,
        "softshrink": _softshrink,
        "hardshrink": _hardshrink,
        "erf": _erf_activation,
    }
)
"""Every activation that theory knows, by name."""


def of_torch(kind: str) -> Nonlinearity | None:
    """The activation of a class of torch.nn by the class's name, with its default options; None where theory knows none."""
    name = "leaky_relu" if kind == "LeakyReLU" else kind.lower()
    return find_activation(name) if name in ACTIVATIONS else None
