"""The layers of theory as a real network in torch: random weights, a random gradient at the output, norms on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
import torch.nn.functional as F

from gradscope.theory.layers import Activation, Dropout, Layer, Linear, Normalise, Residual

WIDTH = 512
_POOL = 96


@cache
def _gaussians() -> torch.Tensor:
    """Gaussian matrices that the settings share in different orders: drawing them anew would take most of the time."""
    return torch.randn(_POOL, WIDTH, WIDTH, generator=torch.Generator().manual_seed(20))


TORCH: dict[str, Callable[..., torch.Tensor]] = {
    "identity": lambda x: x,
    "linear": lambda x: x,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "prelu": lambda x, init=0.25: F.prelu(x, torch.tensor([init], dtype=x.dtype)),
    "rrelu": partial(F.rrelu, training=True),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
}


def torch_activation(name: str, **options: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return partial(TORCH.get(name) or getattr(F, name), **options)


def haar(gaussian: torch.Tensor) -> torch.Tensor:
    """An orthogonal matrix, uniform among all: the signs matter, QR alone prefers some."""
    q, r = torch.linalg.qr(gaussian)
    return q * torch.sign(torch.diagonal(r))


@cache
def _orthogonal(place: int) -> torch.Tensor:
    return haar(_gaussians()[place])


@dataclass(frozen=True)
class Simulated:
    """Squared gradient norms and mean squares at the outputs of the top-level layers, (nets, layers), float64."""

    gradients: torch.Tensor
    lengths: torch.Tensor

    def factor(self, first: int, last: int) -> float:
        """The squared gradient at the output of one layer over that at another, both summed over nets."""
        total = self.gradients.sum(dim=0)
        return float(total[first] / total[last])


class _Net:
    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.order = torch.randperm(_POOL, generator=self.random).tolist()

    def matrix(self, layer: Linear) -> tuple[torch.Tensor, float]:
        """The matrix and its scale, to be put on the product: that is cheaper than to scale the matrix."""
        pooled = self.order.pop() if self.order and layer.fan_in == layer.fan_out == WIDTH else None
        if pooled is not None and layer.weights == "orthogonal":
            return _orthogonal(pooled), layer.sigma_w
        w = _gaussians()[pooled] if pooled is not None else torch.randn(layer.fan_out, layer.fan_in, generator=self.random)
        if layer.weights == "orthogonal":
            return haar(w), layer.sigma_w
        if layer.weights == "uniform":
            w = torch.erf(w / math.sqrt(2.0)) * math.sqrt(3.0)
        return w, layer.sigma_w / math.sqrt(layer.fan_in)

    def through(self, layer: Layer, h: torch.Tensor) -> torch.Tensor:
        if isinstance(layer, Linear):
            w, scale = self.matrix(layer)
            z = scale * (h @ w.T)
            return z + layer.sigma_b * torch.randn(layer.fan_out, generator=self.random) if layer.sigma_b else z
        if isinstance(layer, Activation):
            return torch_activation(layer.name, **dict(layer.options))(h)
        if isinstance(layer, Dropout):
            return h * torch.bernoulli(torch.full_like(h, 1.0 - layer.rate), generator=self.random) / (1.0 - layer.rate)
        if isinstance(layer, Residual):
            branch = h
            for inner in layer.branch:
                branch = self.through(inner, branch)
            return h + layer.scale * branch
        assert isinstance(layer, Normalise)
        if layer.kind == "batch":
            return F.batch_norm(h, None, None, training=True, eps=layer.eps)
        norm = F.layer_norm if layer.kind == "layer" else F.rms_norm
        return norm(h, h.shape[1:], eps=layer.eps)


def simulate(
    layers: Sequence[Layer],
    *,
    nets: int = 3,
    samples: int = 8,
    seed: int = 0,
    width: int = WIDTH,
    scale: float = 1.0,
    data: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> Simulated:
    """Run ``nets`` random networks forward and back.

    On ``samples`` Gaussian inputs of standard deviation ``scale`` with a random gradient at the output, or on ``data``, inputs
    and classes, with the cross entropy.
    """
    gradients, lengths = [], []
    for net in range(nets):
        random = _Net(1000 * seed + net)
        h = scale * torch.randn(samples, width, generator=random.random) if data is None else data[0].clone()
        outputs = []
        for layer in layers:
            h = random.through(layer, h if outputs else h.requires_grad_())
            h.retain_grad()
            outputs.append(h)
        if data is None:
            h.backward(torch.randn(h.shape, generator=random.random))
        else:
            F.cross_entropy(h, data[1]).backward()
        gradients.append([float(x.grad.double().square().sum()) for x in outputs if x.grad is not None])
        lengths.append([float(x.detach().double().square().mean()) for x in outputs])
    return Simulated(torch.tensor(gradients, dtype=torch.float64), torch.tensor(lengths, dtype=torch.float64))
