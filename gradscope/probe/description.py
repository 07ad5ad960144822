"""A model as theory sees it: its layers in forward order, or why theory has no word on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradscope import theory
from gradscope.capture.activations import Erf
from gradscope.numbers import exact
from gradscope.probe.calls import SHAPING, Call, Calls
from gradscope.record.manifest import Catalogue, LayerInfo
from gradscope.signals.attribution import Attribution
from gradscope.signals.links import TOGETHER

ORTHOGONAL = 1e-4
"""How far, relative, W W^T may be from a multiple of the identity."""
_OPTIONS: Mapping[type[nn.Module], tuple[str, tuple[str, ...]]] = {
    nn.ReLU: ("relu", ()),
    nn.LeakyReLU: ("leaky_relu", ("negative_slope",)),
    nn.RReLU: ("rrelu", ("lower", "upper")),
    nn.ReLU6: ("relu6", ()),
    nn.ELU: ("elu", ("alpha",)),
    nn.CELU: ("celu", ("alpha",)),
    nn.SELU: ("selu", ()),
    nn.SiLU: ("silu", ()),
    nn.Mish: ("mish", ()),
    nn.Softplus: ("softplus", ("beta", "threshold")),
    nn.Softsign: ("softsign", ()),
    nn.Tanh: ("tanh", ()),
    nn.Hardtanh: ("hardtanh", ("min_val", "max_val")),
    nn.Sigmoid: ("sigmoid", ()),
    nn.Hardsigmoid: ("hardsigmoid", ()),
    nn.Hardswish: ("hardswish", ()),
    nn.LogSigmoid: ("logsigmoid", ()),
    nn.Tanhshrink: ("tanhshrink", ()),
    nn.Softshrink: ("softshrink", ("lambd",)),
    nn.Hardshrink: ("hardshrink", ("lambd",)),
    Erf: ("erf", ()),
}
"""Torch's activations by class: theory's name, and the attributes that are its options."""


class NoTheoryError(Exception):
    """Theory does not know this net; the message says why."""


@dataclass(frozen=True)
class Described:
    """A layer of theory and the name of the module that it stands for."""

    name: str
    layer: theory.Layer


def describe(calls: Calls, attribution: Attribution, catalogue: Catalogue) -> tuple[Described, ...]:
    """The layers, in forward order. Raises ``NoTheoryError`` where theory has no word on the net."""
    if attention := next((c for c in _flat(calls.top) if "Attention" in type(c.module).__name__), None):
        raise NoTheoryError(f"it has no word on attention ({attention.name}), whose gain depends on what the positions say")
    seen = {info.name: info for info in catalogue.layers}
    scales, blocks = {}, frozenset(attribution.blocks)
    for at, name in enumerate(attribution.layers):
        if name in blocks:
            if attribution.past[-1, at] != 1.0:
                raise NoTheoryError(f"the shortcut of {name} has weights of its own")
            if function := seen[name].ends_in:
                raise NoTheoryError(f"the residual block {name} puts {function} after the sum")
            *told, log = attribution.inside[-1, at].tolist()
            if not any(told) or math.isnan(attribution.branch[-1, at]):
                raise NoTheoryError(f"what stands in the branch of {name} cannot be told apart")
            scales[name] = 0.0 if math.isnan(log) else 10.0**log
    holding = {c.name for c in _flat(calls.top) if c.inside}
    if followed := [name for name in scales if name not in holding]:
        raise NoTheoryError(f"the residual block that ends in {followed[0]} puts it after the sum")
    found = tuple(_layers(calls.top, scales, seen))
    if not any(isinstance(d.layer, theory.Linear | theory.Convolution) for d in found):
        raise NoTheoryError("no linear layer was called")
    matrices = (d for d in found if isinstance(d.layer, theory.Linear | theory.Convolution))
    shut = next((d.name for d in matrices if not d.layer.sigma_w), None)  # type: ignore[attr-defined]
    if shut and holding:  # no gradient tells what stands in the blocks
        raise NoTheoryError(f"the weights of {shut} start at 0, so that nothing passes back before the first step")
    if other := [(name, why) for name, why in attribution.unexplained if not why.endswith(TOGETHER)]:
        name, why = other[0]
        raise NoTheoryError(f"the net is neither a chain nor one of residual blocks at {name}: {why}")
    return found


def _flat(calls: Sequence[Call]) -> Iterator[Call]:
    for call in calls:
        yield call
        yield from _flat(call.inside)


def _layers(calls: Sequence[Call], scales: Mapping[str, float], seen: Mapping[str, LayerInfo]) -> Iterator[Described]:
    """Each call as a layer, and in front of it a mean that a function takes over an image."""
    dropped, functions = False, 0
    for described in _called(calls, scales, seen):
        way = seen[described.name].through if described.name in seen else ()
        between = set(way) - {"activation"}
        if dropped:
            between.discard("product")
        if between == {"mean"} and "activation" not in way[way.index("mean") :]:
            yield Described("", theory.Mean())
        elif between:
            raise NoTheoryError(f"it does not know the {min(between)} in front of {described.name}")
        if described.name in seen and way.count("activation") not in (functions, 0):
            raise NoTheoryError(f"it does not see every activation in front of {described.name}")
        functions = functions + 1 if not described.name else 0
        dropped = isinstance(described.layer, theory.Dropout) or (dropped and described.name not in seen)
        yield described


def _called(calls: Sequence[Call], scales: Mapping[str, float], seen: Mapping[str, LayerInfo]) -> Iterator[Described]:
    for call in calls:
        if call.inside:
            if call.name in scales:
                branch = tuple(d.layer for d in _layers(call.inside, scales, seen))
                if isinstance(branch[-1], theory.Dropout) and branch[-1].rate:
                    raise NoTheoryError(f"the branch of {call.name} ends in a dropout, which cannot be told from its scale")
                yield Described(call.name, theory.Residual(branch, scales[call.name]))
            else:
                yield from _called(call.inside, scales, seen)
        elif not (isinstance(call.module, SHAPING) or call.unchanged or _is_mean(call.module)):
            yield Described(call.name, _layer(call))


def _is_mean(module: nn.Module) -> bool:
    """Over a whole image: the layer behind it shows that in the record, as it does where a function takes the mean."""
    pools = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
    return isinstance(module, pools) and module.output_size in (1, (1,), (1, 1), (1, 1, 1))


def _layer(call: Call) -> theory.Layer:
    module = call.module
    if isinstance(module, nn.Linear):
        return linear(module, call.name)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return convolution(module, call.name)
    if (found := _OPTIONS.get(type(module))) is not None:
        name, options = found
        return theory.Activation(name, tuple((o, float(getattr(module, o))) for o in options))
    if isinstance(module, nn.GELU):
        return theory.Activation("gelu" if module.approximate == "none" else "gelu_tanh")
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return theory.Activation("prelu", (("init", float(module.weight.detach())),))
    if isinstance(module, nn.Dropout):
        return theory.Dropout(module.p if module.training else 0.0)
    if isinstance(module, nn.BatchNorm1d | nn.LayerNorm | nn.RMSNorm) or (
        isinstance(module, nn.GroupNorm) and module.num_groups == 1
    ):
        return _norm(call)
    if isinstance(module, nn.RNNBase):
        raise NoTheoryError(f"it follows a recurrent layer ({call.name}) through time alone")
    raise NoTheoryError(f"it knows no {type(module).__name__} ({call.name})")


def _norm(call: Call) -> theory.Layer:
    module = call.module
    for name, start in (("weight", 1.0), ("bias", 0.0)):
        value = getattr(module, name, None)
        if isinstance(value, Tensor) and not bool((value == start).all()):
            raise NoTheoryError(f"{call.name} is not as it was initialised: its {name} is not {exact(start)}")
    eps = getattr(module, "eps", None)
    eps = float(eps) if eps is not None else float(torch.finfo(torch.float32).eps)
    if isinstance(module, nn.BatchNorm1d):
        return theory.Normalise("batch", eps)
    return theory.Normalise("rms" if isinstance(module, nn.RMSNorm) else "layer", eps)


def linear(module: nn.Linear, name: str) -> theory.Linear:
    """A matrix with the scale that it has, by its own norm. Raises ``NoTheoryError`` where it is no random one."""
    sigma_w, sigma_b = scales_of(module, name)
    kind: theory.layers.Weights = "orthogonal" if is_orthogonal(module.weight.detach().double()) else "gaussian"
    return theory.Linear(module.in_features, module.out_features, sigma_w, sigma_b, kind)


def convolution(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, name: str) -> theory.Convolution:
    """The same of a convolution."""
    if module.groups != 1 or module.padding_mode != "zeros":
        raise NoTheoryError(f"it knows no convolution in groups or padded by other than zeros ({name})")
    sigma_w, sigma_b = scales_of(module, name)
    each = zip(module.kernel_size, module.stride, module.dilation, strict=True)
    axes = []
    for i, (taps, stride, dilation) in enumerate(each):
        if isinstance(module.padding, str):
            zeros = dilation * (taps - 1) if module.padding == "same" else 0
            before, after = zeros // 2, zeros - zeros // 2
        else:
            before = after = module.padding[i]
        axes.append(theory.Axis(taps, stride, before, after, dilation))
    return theory.Convolution(module.in_channels, module.out_channels, sigma_w, tuple(axes), sigma_b)


@torch.no_grad()
def scales_of(module: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d, name: str) -> tuple[float, float]:
    """sigma_w and sigma_b. Raises ``NoTheoryError`` where the weights are no random matrix."""
    weight = module.weight.detach().double().flatten(1)
    outputs, inputs = weight.shape
    if not bool(weight.isfinite().all()):
        raise NoTheoryError(f"the weights of {name} are not finite")
    if min(outputs, inputs) > 1 and int(weight.count_nonzero()) <= min(outputs, inputs) and bool(weight.any()):
        raise NoTheoryError(f"the weights of {name} are no random matrix")
    sigma_b = float(module.bias.double().square().mean().sqrt()) if module.bias is not None else 0.0
    return float(weight.square().sum().div(outputs).sqrt()), sigma_b


def is_orthogonal(weight: Tensor) -> bool:
    """Whether W W^T (of the smaller side) is a multiple of the identity, by what it does to one vector."""
    matrix = weight if weight.shape[0] <= weight.shape[1] else weight.T
    if len(matrix) < 2:
        return False
    probe = torch.linspace(-1.0, 1.5, len(matrix), dtype=matrix.dtype, device=matrix.device)
    image = matrix @ (matrix.T @ probe)
    scale = (image @ probe) / (probe @ probe)
    return bool(scale > 0) and bool((image - scale * probe).norm() < ORTHOGONAL * image.norm())
