"""One labelled training: what it is made of, what a diagnosis has to say about it, and the loop that trains it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .data import Batches, Data, batches_of

VANISHING, EXPLODING = "vanishing-gradients", "exploding-gradients"
NON_FINITE = "non-finite"
DEAD, SATURATED = "dead-units", "saturated-activations"
UNSTABLE, SLOW, TOO_FAST = "loss-instability", "slow-learning", "learning-rate-too-high"
LABELS = (VANISHING, EXPLODING, NON_FINITE, DEAD, SATURATED, UNSTABLE, SLOW, TOO_FAST)

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Setup:
    """A training, ready to run: a step takes ``accumulate`` batches and may clip the gradient's norm at ``clip``."""

    model: nn.Module
    loss_fn: Loss
    batches: Batches
    optimizer: torch.optim.Optimizer
    steps: int
    accumulate: int = 1
    clip: float | None = None


@dataclass(frozen=True)
class Case:
    """``labels`` is what has to be said, nothing of a healthy run; ``tolerated`` is arguable and counts neither way.

    ``why`` is the physics behind the labels; ``make`` draws the weights from torch's random state.
    """

    name: str
    labels: frozenset[str]
    tolerated: frozenset[str]
    why: str
    make: Callable[[], Setup]

    @property
    def healthy(self) -> bool:
        return not self.labels

    def build(self, seed: int = 0) -> Setup:
        """The training; another ``seed`` is the same training with other draws."""
        torch.manual_seed(zlib.crc32(self.name.encode()) + seed)
        return self.make()


CASES: dict[str, Case] = {}
"""All cases by name."""


def case(
    *labels: str, tolerates: tuple[str, ...] = (), name: str | None = None
) -> Callable[[Callable[[], Setup]], Callable[[], Setup]]:
    """Files a function that makes a training under its own name, or ``name``; its docstring says why the labels hold."""

    def file(make: Callable[[], Setup]) -> Callable[[], Setup]:
        key = name or make.__name__.replace("_", "-")
        why = " ".join((make.__doc__ or "").split())
        assert key not in CASES, key
        assert {*labels, *tolerates} <= set(LABELS), key
        CASES[key] = Case(key, frozenset(labels), frozenset(tolerates), why, make)
        return make

    return file


def train(setup: Setup, after_step: Callable[[Tensor], None] | None = None) -> list[float]:
    """The loss of each step, the mean over its batches. ``after_step`` gets it while the gradients are still there."""
    torch.manual_seed(20240229)  # what dropout draws does not depend on what was drawn before
    setup.model.train()
    losses = []
    for _ in range(setup.steps):
        setup.optimizer.zero_grad(set_to_none=True)
        total: Tensor | None = None
        for _ in range(setup.accumulate):
            x, y = next(setup.batches)
            loss = setup.loss_fn(setup.model(x), y) / setup.accumulate
            loss.backward()  # type: ignore[no-untyped-call]
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None
        if setup.clip is not None:
            nn.utils.clip_grad_norm_(setup.model.parameters(), setup.clip)
        setup.optimizer.step()
        losses.append(float(total))
        if after_step is not None:
            after_step(total)
    return losses


CE, MSE = F.cross_entropy, F.mse_loss
Maker = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def setup(
    model: nn.Module,
    data: Data | Batches,
    optimizer: Maker,
    steps: int,
    loss: Loss = CE,
    rows: int = 64,
    accumulate: int = 1,
) -> Setup:
    """A training of the parameters that are not frozen, on batches of so many rows unless ``data`` brings its own."""
    batches = batches_of(data, rows) if isinstance(data, tuple) else data
    trainable = [p for p in model.parameters() if p.requires_grad]
    return Setup(model, loss, batches, optimizer(trainable), steps, accumulate)


def sgd(lr: float, momentum: float = 0.0) -> Maker:
    return lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=momentum)


def adam(lr: float) -> Maker:
    return lambda parameters: torch.optim.Adam(parameters, lr=lr)


def adamw(lr: float) -> Maker:
    return lambda parameters: torch.optim.AdamW(parameters, lr=lr)


def rmsprop(lr: float) -> Maker:
    return lambda parameters: torch.optim.RMSprop(parameters, lr=lr)


def scheduled(optimizer: Maker, factor: Callable[[int], float]) -> Maker:
    """The learning rate is multiplied by ``factor`` of the step."""

    def make(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        made = optimizer(parameters)
        schedule = torch.optim.lr_scheduler.LambdaLR(made, factor)
        made.register_step_post_hook(lambda *_: schedule.step())
        return made

    return make
