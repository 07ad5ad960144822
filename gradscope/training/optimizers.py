"""Optimizers of the config, each with its options. No torch here: ``build`` makes torch's optimizer of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field

from gradscope.strict.section import Section
from gradscope.training.options import Positive, Share


class Sgd(Section):
    """Stochastic gradient descent, torch.optim.SGD."""

    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.05
    """Learning rate."""
    momentum: Share = 0.9
    """Share of the last update that is kept; 0 for none."""
    dampening: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the gradient that momentum leaves out."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the L2 penalty that is added to the gradient."""
    nesterov: bool = False
    """Nesterov's momentum."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        if self.nesterov and not self.momentum:
            yield "nesterov", "Nesterov's momentum needs momentum above 0"
        if self.nesterov and self.dampening:
            yield "nesterov", "Nesterov's momentum allows no dampening"


Betas = Annotated[tuple[Share, Share], Field(strict=False)]


class Adam(Section):
    """Adam (Kingma & Ba 2015), torch.optim.Adam."""

    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    """Learning rate."""
    betas: Betas = (0.9, 0.999)
    """Decay rates of the running means of the gradient and of its square."""
    eps: Positive = 1e-8
    """Added to the denominator."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the L2 penalty that is added to the gradient."""


class AdamW(Section):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), torch.optim.AdamW."""

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    """Learning rate."""
    betas: Betas = (0.9, 0.999)
    """Decay rates of the running means of the gradient and of its square."""
    eps: Positive = 1e-8
    """Added to the denominator."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Share of the weight that is taken off, times lr, at each step."""


class RMSprop(Section):
    """RMSprop (Hinton 2012), torch.optim.RMSprop."""

    name: Literal["rmsprop"] = "rmsprop"
    lr: Positive = 1e-2
    """Learning rate."""
    alpha: Share = 0.99
    """Decay rate of the running mean of the squared gradient."""
    eps: Positive = 1e-8
    """Added to the denominator."""
    momentum: Share = 0.0
    """Share of the last update that is kept; 0 for none."""
    centered: bool = False
    """Divide by an estimate of the gradient's standard deviation instead of its root mean square."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the L2 penalty that is added to the gradient."""


Optimizer = Sgd | Adam | AdamW | RMSprop
OPTIMIZERS: Mapping[str, type[Section]] = {"sgd": Sgd, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}
