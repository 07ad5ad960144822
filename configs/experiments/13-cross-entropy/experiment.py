"""Cross-entropy against squared error where a sigmoid is saturated, and why there is a logarithm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from gradscope.render import theme
from gradscope.training.build import Setup, build
from gradscope.training.config import load_config
from scripts.experiments import Number, Result, drawn, logarithmic

TITLE = "Cross-entropy and squared error behind a sigmoid"
CONFIG = Path(__file__).parent / "cross-entropy.yaml"
LOGITS = np.linspace(-20.0, 0.0, 81)


def run(short: bool) -> Result:
    entropy, squared = slopes("entropy"), slopes("squared")
    learned = {name: trained(name, 120 if short else 300) for name in ("entropy", "squared")}
    p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    of_class = F.cross_entropy(p.log()[None], torch.tensor([1])).item()
    at = {z: int(np.abs(LOGITS - z).argmin()) for z in (-20.0, -10.0, 0.0)}
    s = 1 / (1 + math.exp(10.0))
    near = partial(Number.near, within=1e-6)
    by_label, by_slope = "no factor of the sigmoid's slope", "its gradient has the slope as a factor"
    numbers = (
        near("|dL/dz| of cross-entropy at logit -20, target 1", entropy[at[-20.0]], 1.0, "1 - sigmoid(z)"),
        near("of squared error at logit -20", squared[at[-20.0]], 2 * math.exp(-20.0), "2 e^z for z far below 0"),
        near("of squared error at logit -10", squared[at[-10.0]], 2 * (1 - s) ** 2 * s, "2 (1 - s)^2 s, s = sigmoid(z)"),
        near("cross-entropy of class 2 under p = (0.7, 0.2, 0.1)", of_class, -math.log(0.2), "-log of its probability"),
        Number("-sum p log p of the same p", float(-(p * p.log()).sum()), 0.8018, 0.8019, "the entropy of p knows no label"),
        Number("accuracy from a saturated start, cross-entropy", learned["entropy"][-1], 0.9, 1.0, by_label),
        Number("the same start and steps, squared error", learned["squared"][-1], 0.0, 0.8, by_slope),
    )
    return Result(numbers, figure(entropy, squared, learned))


def slopes(loss: str) -> np.ndarray:
    """|dL/dz| for target 1 at each of ``LOGITS``, by autograd."""
    z = torch.tensor(LOGITS, requires_grad=True)
    ones = torch.ones_like(z)
    value = (
        F.binary_cross_entropy_with_logits(z, ones, reduction="sum") if loss == "entropy" else ((z.sigmoid() - 1) ** 2).sum()
    )
    (gradient,) = torch.autograd.grad(value, z)
    return gradient.abs().numpy()


def trained(loss: str, steps: int) -> list[float]:
    """Accuracy on the training rows, step by step, of ten sigmoid outputs under either loss; the rest is the config's."""
    setup = build(load_config(CONFIG, ["device=cpu"]))
    optimizer = torch.optim.SGD(setup.model.parameters(), lr=setup.config.optimizer.lr)
    x, y = setup.data.train.x, setup.data.train.y
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = setup.model(x)
        value(setup, loss, outputs, y).backward()
        optimizer.step()
        found.append(float((outputs.argmax(1) == y).float().mean()))
    return found


def value(setup: Setup, loss: str, outputs: Tensor, y: Tensor) -> Tensor:
    if loss == "entropy":
        return setup.loss(outputs, y)
    return F.mse_loss(outputs.sigmoid(), F.one_hot(y, setup.data.outputs).to(outputs.dtype))


def figure(entropy: np.ndarray, squared: np.ndarray, learned: dict[str, list[float]]) -> Figure:
    looks = {"entropy": theme.run_look(0), "squared": theme.run_look(1)}
    words = {"entropy": "cross-entropy", "squared": "squared error"}

    def draw(axes: Sequence[Axes]) -> None:
        for name, gradient in (("entropy", entropy), ("squared", squared)):
            axes[0].plot(LOGITS, gradient, label=words[name], markevery=20, **looks[name].line())
            axes[1].plot(learned[name], label=words[name], markevery=max(len(learned[name]) // 6, 1), **looks[name].line())
        logarithmic(axes[0], "y", 1e-9, 3.0)
        axes[0].set(xlabel="logit of the true class (left: sure and wrong)", ylabel="size of the gradient at the logit")
        axes[1].set(xlabel="training step", ylabel="share of the rows classified right", ylim=(0.0, 1.02))
        axes[0].set_title("What comes back through the sigmoid", loc="left", size=9)
        axes[1].set_title("From a start that is sure and wrong", loc="left", size=9)
        axes[0].legend(loc="lower right")
        axes[1].legend(loc="lower right")

    reading = (
        "The derivative of squared error holds the sigmoid's slope as a factor and dies with it; the logarithm of "
        "cross-entropy cancels that factor, and the gradient is 1 - p."
    )
    return drawn(TITLE, reading, 2, draw)
