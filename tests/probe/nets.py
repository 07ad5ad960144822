"""Plain nets in torch with the scale of every matrix given, and rows for them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from tests.theory.simulation import haar


class Erf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


TORCH: dict[str, Any] = {
    "linear": nn.Identity,
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "erf": Erf,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "relu6": nn.ReLU6,
    "prelu": nn.PReLU,
    "rrelu": nn.RReLU,
    "hardtanh": nn.Hardtanh,
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "logsigmoid": nn.LogSigmoid,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "tanhshrink": nn.Tanhshrink,
    "softshrink": nn.Softshrink,
}


@torch.no_grad()
def chain(
    activation: str,
    sigma_w: float,
    sigma_b: float,
    *,
    depth: int,
    width: int,
    weights: str = "gaussian",
    seed: int = 0,
    **options: float,
) -> nn.Module:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(width, width)
        if weights == "uniform":
            nn.init.uniform_(linear.weight, -1.0, 1.0).mul_(sigma_w * math.sqrt(3.0 / width))
        elif weights == "orthogonal":
            linear.weight.copy_(sigma_w * haar(linear.weight))
        else:
            nn.init.normal_(linear.weight, std=sigma_w / math.sqrt(width))
        nn.init.normal_(linear.bias, std=sigma_b) if sigma_b else nn.init.zeros_(linear.bias)
        layers += [linear, TORCH[activation](**options)]
    return nn.Sequential(*layers[:-1])


def rows(count: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, width, generator=generator), torch.randint(0, 3, (count,), generator=generator)
