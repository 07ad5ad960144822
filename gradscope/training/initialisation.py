"""How weights start: the schemes of the config, what their gains mean, and LSUV."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.errors import UnsupportedError, did_you_mean
from gradscope.numbers import exact
from gradscope.theory import critical_gain
from gradscope.training.init_options import Init, matches

_WEIGHT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RANDOM = (nn.Dropout, nn.RReLU)
_TRUNCATED_STD = 0.8796256610342398
"""Standard deviation of a unit normal that is cut off at plus and minus 2."""
_ENTRY_SCHEMES = ("normal", "uniform", "trunc_normal")


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Name and module of every linear and convolutional layer, as in ``named_modules()``."""
    for name, module in model.named_modules():
        if isinstance(module, _WEIGHT_LAYERS):
            yield name, module  # type: ignore[misc]


@torch.no_grad()
def initialise(model: nn.Module, init: Init, activation: str) -> None:
    """Draw the weights of every linear and convolutional layer from torch's random state, the head's as the others' where
    ``init.layers`` says nothing else.

    ``lsuv`` draws orthogonal weights here; ``unit_variance`` then scales them on a batch.
    """
    for name, layer in weight_layers(model):
        own = init.of(name, kind_of(layer))
        draw(layer.weight, own, activation)
        if layer.bias is not None:
            layer.bias.fill_(own.bias)


def kind_of(layer: nn.Module) -> str:
    """The word of ``LAYER_KINDS`` for a layer."""
    if isinstance(layer, nn.RNNBase):
        return "recurrent"
    return "linear" if isinstance(layer, nn.Linear) else "conv"


def misplaced(model: nn.Module, init: Init) -> Iterator[tuple[str, str]]:
    """Keys of ``init.layers`` that speak of no layer of this network, or of a bias that none has; and what is wrong."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, (*_WEIGHT_LAYERS, nn.RNNBase))}
    for pattern, own in init.layers.items():
        meant = [m for name, m in layers.items() if matches(pattern, name, kind_of(m))]
        if not meant:
            kinds = sorted({kind_of(m) for m in layers.values()})
            first, last = next(iter(layers)), list(layers)[-1]
            meaning = did_you_mean(pattern, [*layers, *kinds])
            yield (
                pattern,
                f"no layer is called so (expected a name such as {first} or {last}, or {' or '.join(kinds)}{meaning})",
            )
        elif own.bias and not any(_has_bias(m) for m in meant):
            yield pattern, f"there are no biases to start at {exact(own.bias)}"


def _has_bias(layer: nn.Module) -> bool:
    return bool(layer.bias) if isinstance(layer, nn.RNNBase) else layer.bias is not None


def lsuv_targets(model: nn.Module, init: Init, activation: str) -> dict[str, float]:
    """The standard deviation of the output that each layer under lsuv is scaled to."""
    own = {name: init.of(name, kind_of(layer)) for name, layer in weight_layers(model)}
    return {name: gain_of(start, activation) for name, start in own.items() if start.scheme == "lsuv"}


def gain_of(init: Init, activation: str) -> float:
    """The number that ``init.gain`` stands for under its scheme, before any division by a fan.

    ``auto`` is what torch gives: ``calculate_gain`` under kaiming and orthogonal, sqrt 2 for an activation that torch does not
    know; elsewhere torch's functions have a scale of 1. ``critical`` is sigma_w of ``gradscope.theory.critical_gain``.

    Raises:
        UnsupportedError: ``critical`` for an activation of which theory knows none, or with lsuv, which finds its scale itself.
    """
    if init.gain == "critical":
        if init.scheme == "lsuv":
            raise UnsupportedError("critical has no meaning under lsuv, which finds the scale on a batch")
        return critical_gain(activation)
    if init.gain != "auto":
        return init.gain
    if not init.scheme.startswith(("kaiming", "orthogonal")):
        return 1.0
    try:
        gain: float = nn.init.calculate_gain("linear" if activation == "identity" else activation)  # type: ignore[arg-type]
    except ValueError:
        return math.sqrt(2.0)
    return gain


def draw(weight: Tensor, init: Init, activation: str) -> None:
    """Fill one layer's weights as ``init`` says, before ``activation``."""
    gain, scheme = gain_of(init, activation), init.scheme
    fan_in, fan_out = fans(weight)
    if scheme == "zeros":
        weight.zero_()
    elif scheme == "identity":
        nn.init.dirac_(weight) if weight.dim() > 2 else nn.init.eye_(weight)
        weight.mul_(gain)
    elif scheme in ("orthogonal", "lsuv"):
        nn.init.orthogonal_(weight, gain if scheme == "orthogonal" else 1.0)
    else:
        _draw_entries(weight, scheme, _entry_std(init, gain, fan_in, fan_out))


def _entry_std(init: Init, gain: float, fan_in: int, fan_out: int) -> float:
    if init.scheme.startswith("xavier"):
        return gain * math.sqrt(2.0 / (fan_in + fan_out))
    # Under normal, uniform and trunc_normal a number is the standard deviation as it stands; critical is still a sigma_w.
    if init.scheme in _ENTRY_SCHEMES and init.gain != "critical":
        return gain
    return gain / math.sqrt(fan_out if init.fan == "out" else fan_in)


def _draw_entries(weight: Tensor, scheme: str, std: float) -> None:
    if scheme == "trunc_normal":
        scale = std / _TRUNCATED_STD
        nn.init.trunc_normal_(weight, std=scale, a=-2 * scale, b=2 * scale)
    elif scheme.endswith("uniform"):
        nn.init.uniform_(weight, -math.sqrt(3.0) * std, math.sqrt(3.0) * std)
    else:
        nn.init.normal_(weight, std=std)


def fans(weight: Tensor) -> tuple[int, int]:
    """Inputs and outputs that one unit is connected to: (n_in, n_out), times the receptive field of a convolution."""
    field = math.prod(weight.shape[2:])
    return weight.shape[1] * field, weight.shape[0] * field


def effective_sigma_w(model: nn.Module) -> Mapping[str, float]:
    """Layer -> the sigma_w that theory speaks of: sqrt(fan_in * mean square of the weights), whatever drew them."""
    return {name: math.sqrt(fans(m.weight)[0] * m.weight.double().square().mean().item()) for name, m in weight_layers(model)}


@torch.no_grad()
def unit_variance(model: nn.Module, batch: Tensor, targets: Mapping[str, float] | None = None) -> Mapping[str, float]:
    """Layer-sequential unit variance (Mishkin & Matas 2016, algorithm 1): scale each layer's weights, in forward order, so
    that its output on ``batch`` has standard deviation 1, or that of ``targets``, which leaves all layers alone that it does
    not name. Gives the factor of each layer.

    Their loop runs the network anew for each layer and each correction. A layer's input depends on earlier layers alone and
    its output, less the bias, is proportional to its weights, so one pass that corrects each layer as it goes by does the
    same. Norms work on the batch, nothing is drawn, and no buffer changes. A layer without variance is left as it is.
    """
    factors: dict[str, float] = {}
    wanted = targets if targets is not None else {name: 1.0 for name, _ in weight_layers(model)}

    def correct(name: str) -> Any:
        def hook(layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            std = output.double().std(correction=0).item()
            if name in factors or std == 0.0 or not math.isfinite(std):
                return None
            factors[name] = wanted[name] / std
            layer.weight.mul_(factors[name])
            corrected: Tensor = layer.forward(*inputs)
            return corrected

        return hook

    modes = {module: module.training for module in model.modules()}
    handles = [layer.register_forward_hook(correct(name)) for name, layer in weight_layers(model) if name in wanted]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        for module in modes:
            module.training = not isinstance(module, _RANDOM)
        torch.func.functional_call(model, buffers, (batch,))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return factors
