"""Convex against not: one minimum that every start reaches, or as many ends as starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.training.build import Setup, build
from gradscope.training.config import load_config
from scripts.experiments import Number, Result, drawn, titled, trained

TITLE = "Convex losses, and those that are not"
HERE = Path(__file__).parent
SQUARES, LOGISTIC, NETWORK = (HERE / f"{name}.yaml" for name in ("least-squares", "logistic-regression", "network"))


def run(short: bool) -> Result:
    starts = 4 if short else 20
    closed = closed_form(build(load_config(SQUARES, ["device=cpu"])))
    descent = float(series(trained(SQUARES), "loss").values[-1])
    ends = {name: np.array([end(path, seed) for seed in range(starts)]) for name, path in ENDS.items()}
    middles = {name: midpoint(path, 0.0 if name == "network" else None) for name, path in ENDS.items()}
    spread = {name: float(np.ptp(values)) for name, values in ends.items()}
    numbers = (
        Number.near("least squares: loss by gradient descent", descent, closed, "the closed form, (X'X)^-1 X'y", within=1e-4),
        Number("logistic regression: spread of the loss over the starts", spread["logistic regression"], 0.0, 1e-4, "convex"),
        Number("network: spread of the loss over the starts", spread["network"], 0.05, np.inf, "not convex"),
        Number(
            "logistic regression: loss halfway between two starts, less the mean of theirs", middles["logistic regression"],
            -np.inf, 0.0, "convex: f((a+b)/2) <= (f(a)+f(b))/2",
        ),
        Number(
            "network: the same, between a trained net and itself with its hidden units renumbered", middles["network"],
            0.1, np.inf, "not convex: both are minima",
        ),
    )  # fmt: skip
    return Result(numbers, figure(ends))


ENDS = {"logistic regression": LOGISTIC, "network": NETWORK}


def closed_form(setup: Setup) -> float:
    """The least mean squared error of any linear function of the training rows, with a bias."""
    x, y = setup.data.train.x.double(), setup.data.train.y.double()
    design = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    return float((design @ torch.linalg.lstsq(design, y).solution - y).square().mean())


def end(path: Path, start: int) -> float:
    """The loss, weight decay included, after training from one of many starts: other weights, the same data."""
    setup, model = started(path, start)
    descend(setup, model)
    return objective(setup, model)


def started(path: Path, start: int) -> tuple[Setup, nn.Module]:
    return build(load_config(path, ["device=cpu"])), build(load_config(path, ["device=cpu", f"seed={start}"])).model


def descend(setup: Setup, model: nn.Module) -> None:
    """The config's training, all rows at each step."""
    options = setup.config.optimizer
    optimizer = torch.optim.SGD(model.parameters(), **options.model_dump(exclude={"name"}))
    for _ in range(setup.config.training.steps):
        optimizer.zero_grad()
        setup.loss(model(setup.data.train.x), setup.data.train.y).backward()
        optimizer.step()


@torch.no_grad()
def objective(setup: Setup, model: nn.Module) -> float:
    decay = setup.config.optimizer.weight_decay
    penalty = sum((p.square().sum() for p in model.parameters()), torch.zeros(()))
    return float(setup.loss(model(setup.data.train.x), setup.data.train.y) + 0.5 * decay * penalty)


def midpoint(path: Path, renumbered: float | None) -> float:
    """How far the loss halfway between two points of weight space lies above the mean of theirs; convex means never."""
    setup, one = started(path, 0)
    _, other = started(path, 1)
    if renumbered is not None:  # the same function by other weights, so both are as good
        descend(setup, one)
        other.load_state_dict(permuted(one.state_dict()))
    _, middle = started(path, 2)
    middle.load_state_dict({key: (value + other.state_dict()[key]) / 2 for key, value in one.state_dict().items()})
    return objective(setup, middle) - (objective(setup, one) + objective(setup, other)) / 2


def permuted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A net of one hidden layer with its hidden units in reverse."""
    first, bias, last = "layers.0.weight", "layers.0.bias", "head.weight"
    return {**state, first: state[first].flip(0), bias: state[bias].flip(0), last: state[last].flip(1)}


def figure(ends: dict[str, np.ndarray]) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        for panel, (name, values) in zip(axes, ends.items(), strict=True):
            look = theme.run_look(0)
            panel.plot(np.arange(1, len(values) + 1), np.sort(values), linestyle="none", marker="o", color=look.colour)
            titled(panel, name, "start, in the order of its end", "loss that it ends at", ylim=(0.0, 1.15 * values.max()))
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))

    reading = (
        "Each dot is a training from other weights on the same data. On the left the loss is convex and all end at one value; "
        "on the right each ends where its start leads it."
    )
    return drawn(TITLE, reading, 2, draw)
