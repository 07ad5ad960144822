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
from scripts.experiments import Number, Result, drawn, logarithmic, titled

TITLE = "Cross-entropy and squared error behind a sigmoid"
CONFIG = Path(__file__).parent / "cross-entropy.yaml"
LOGITS = np.linspace(-20.0, 0.0, 81)


SATURATED, USUAL = 30.0, 1.0
"""Gains of the weights: the config's, and one with which logits begin within a few units of 0."""


def run(short: bool) -> Result:
    entropy, squared = slopes("entropy"), slopes("squared")
    rates, seeds, steps = ((3.0, 10.0, 30.0, 100.0), 1, 120) if short else ((1.0, 3.0, 10.0, 30.0, 100.0, 300.0), 3, 300)
    starts = {"cross-entropy": ("entropy", SATURATED), "squared error": ("squared", SATURATED)}
    starts |= {"squared error, usual weights": ("squared", USUAL)}
    learned = {name: [best(loss, gain, rates, seed, steps) for seed in range(seeds)] for name, (loss, gain) in starts.items()}
    ends = {name: [run[-1] for run in runs] for name, runs in learned.items()}
    p = [0.7, 0.2, 0.1]
    logs = torch.tensor(p, dtype=torch.float64).log()
    of_class = F.cross_entropy(logs[None], torch.tensor([1])).item()
    at = {z: int(np.abs(LOGITS - z).argmin()) for z in (-20.0, -10.0, 0.0)}
    s = 1 / (1 + math.exp(10.0))
    near = partial(Number.near, within=1e-6)  # float64 rounds at 1e-16, and 2 e^z leaves out a term of e^-20 = 2e-9
    over = f"its best of {len(rates)} rates" + ("" if short else ", the {} of three seeds")
    numbers = (
        near("size of dL/dz at logit -20, target 1: cross-entropy", entropy[at[-20.0]], 1.0, "1 - sigmoid(z)"),
        near("the same of squared error", squared[at[-20.0]], 2 * math.exp(-20.0), "2 e^z for z far below 0"),
        near("of squared error at logit -10", squared[at[-10.0]], 2 * (1 - s) ** 2 * s, "2 (1 - s)^2 s, s = sigmoid(z)"),
        near("cross-entropy of class 2 under p = (0.7, 0.2, 0.1)", of_class, -math.log(0.2), "-log of its probability"),
        near(
            "-sum p log p of the same p", float(-(logs.exp() * logs).sum()), -sum(q * math.log(q) for q in p),
            "the entropy of p knows no label",
        ),
        Number(
            f"accuracy from a saturated start, cross-entropy: {over.format('worst')}", min(ends["cross-entropy"]), 0.9, 1.0,
            "no factor of the sigmoid's slope; limit: below the 0.98 of three seeds",
        ),
        Number(
            f"the same start, squared error: {over.format('best')}", max(ends["squared error"]), 0.0, 0.8,
            "its gradient has the slope as a factor; limit: above the 0.36 to 0.50 of three seeds",
        ),
        Number(
            f"squared error from weights of the usual size: {over.format('worst')}", min(ends["squared error, usual weights"]),
            0.9, 1.0, "nothing saturated, nothing lost; limit: below the 0.97 of three seeds",
        ),
    )  # fmt: skip
    return Result(numbers, figure(entropy, squared, {name: runs[0] for name, runs in learned.items()}))


def slopes(loss: str) -> np.ndarray:
    """|dL/dz| for target 1 at each of ``LOGITS``, by autograd."""
    z = torch.tensor(LOGITS, requires_grad=True)
    ones = torch.ones_like(z)
    value = (
        F.binary_cross_entropy_with_logits(z, ones, reduction="sum") if loss == "entropy" else ((z.sigmoid() - 1) ** 2).sum()
    )
    (gradient,) = torch.autograd.grad(value, z)
    return gradient.abs().numpy()


def best(loss: str, gain: float, rates: Sequence[float], seed: int, steps: int) -> list[float]:
    """The accuracies of the rate that ends highest: no loss is given the other's rate."""
    return max((trained(loss, gain, rate, seed, steps) for rate in rates), key=lambda found: found[-1])


def trained(loss: str, gain: float, rate: float, seed: int, steps: int) -> list[float]:
    """Accuracy on the training rows, step by step, of ten sigmoid outputs under either loss; the rest is the config's."""
    setup = build(load_config(CONFIG, ["device=cpu", f"model.init.gain={gain}", f"seed={seed}"]))
    optimizer = torch.optim.SGD(setup.model.parameters(), lr=rate)
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
    def draw(axes: Sequence[Axes]) -> None:
        for i, (name, gradient) in enumerate((("cross-entropy", entropy), ("squared error", squared))):
            axes[0].plot(LOGITS, gradient, label=name, markevery=20, **theme.run_look(i).line())
        for i, (name, found) in enumerate(learned.items()):
            axes[1].plot(found, label=name, markevery=max(len(found) // 6, 1), **theme.run_look(i).line())
        logarithmic(axes[0], "y", 1e-9, 3.0)
        sure, learns = "logit of the true class (left: sure and wrong)", "share of the rows classified right"
        titled(axes[0], "What comes back through the sigmoid", sure, "size of the gradient at the logit")
        titled(axes[1], "What is learned from a start that is sure and wrong", "training step", learns, ylim=(0.0, 1.02))
        axes[0].legend(loc="lower right")
        axes[1].legend(loc="lower right")

    reading = (
        "The derivative of squared error holds the sigmoid's slope as a factor and dies with it; the logarithm of "
        "cross-entropy cancels that factor, and the gradient is 1 - p. On the right each at the best of several rates."
    )
    return drawn(TITLE, reading, 2, draw)
