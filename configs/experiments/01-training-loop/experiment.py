"""The training loop, and what it does without ``zero_grad``: gradients add up, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import gradscope
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.training.build import Setup, build
from gradscope.training.config import load_config
from gradscope.training.trainer import Trainer
from scripts.experiments import Number, Result, drawn, logarithmic, titled

TITLE = "The training loop, and zero_grad"
CONFIG = Path(__file__).parent / "config.yaml"
BATCHES = 3


def run(short: bool) -> Result:
    setup = build(load_config(CONFIG, ["device=cpu"]))
    alone = [gradients(setup, [i]) for i in range(BATCHES)]
    uncleared = gradients(setup, list(range(BATCHES)))
    summed = alone[0]
    for more in alone[1:]:
        summed = summed + more
    runs = {cleared: trained(120 if short else 400, cleared=cleared) for cleared in (True, False)}
    accuracy = {cleared: float(series(run, "accuracy").values[-20:].mean()) for cleared, run in runs.items()}
    norms = {cleared: float(np.median(series(run, "total_norm").values[-20:])) for cleared, run in runs.items()}
    numbers = (
        Number(
            "entries of .grad after 3 batches without zero_grad that differ from the 3 gradients' sum",
            float((uncleared != summed).sum()), 0.0, 0.0, "torch adds into .grad",
        ),
        Number("training accuracy with zero_grad", accuracy[True], 0.9, 1.0, "a loop as it should be"),
        Number("without it, the same steps", accuracy[False], 0.0, accuracy[True] - 0.1, "each step repeats all before it"),
        Number(
            "gradient norm without it over that with it, medians of the last 20 steps", norms[False] / norms[True],
            10.0, float("inf"), "a sum of gradients that agree grows; limit: below the 33 to 1,084 of six seeds",
        ),
    )  # fmt: skip
    return Result(numbers, figure(runs))


def gradients(setup: Setup, batches: Sequence[int]) -> Tensor:
    """``.grad`` of all parameters after a backward pass through each of these batches and no ``zero_grad`` between them."""
    setup.model.zero_grad()
    rows = setup.config.data.batch_size
    for i in batches:
        x, y = (part[i * rows : (i + 1) * rows] for part in (setup.data.train.x, setup.data.train.y))
        setup.loss(setup.model(x), y).backward()
    return torch.cat([p.grad.flatten() for p in setup.model.parameters() if p.grad is not None])


def trained(steps: int, *, cleared: bool) -> Run:
    """The config's training as a loop written out, with and without its first line."""
    trainer = Trainer(build(load_config(CONFIG, ["device=cpu"])))
    model, optimizer, loss_of = trainer.model, trainer.optimizer, trainer.setup.loss
    with gradscope.watch(model, optimizer, every=1, name="with zero_grad" if cleared else "without zero_grad") as scope:
        for step in range(steps):
            if cleared:
                optimizer.zero_grad()
            x, y = trainer.batches[step]
            outputs = model(x)
            loss = loss_of(outputs, y)
            loss.backward()
            optimizer.step()
            scope.step(loss, accuracy=(outputs.argmax(1) == y).float().mean())
    return scope.run


def figure(runs: dict[bool, Run]) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        for i, (cleared, run) in enumerate(runs.items()):
            look = theme.run_look(i).line(label="with zero_grad" if cleared else "without", markevery=run.step_count // 6)
            for panel, column in zip(axes, ("loss", "total_norm"), strict=True):
                found = series(run, column).measured
                panel.plot(found.steps, found.values, **look)
        highest = max(series(run, "total_norm").values.max() for run in runs.values())
        logarithmic(axes[0], "y", 1e-3, 2.0 * max(series(run, "loss").values.max() for run in runs.values()))
        logarithmic(axes[1], "y", 1e-2, 2.0 * highest)
        titled(axes[0], "What is minimised", "training step", "loss")
        titled(axes[1], "What the optimizer is given", "training step", "gradient norm that the optimizer gets")
        axes[0].legend(loc="upper right")

    reading = (
        "Without zero_grad each backward pass adds to what is there: the optimizer steps along the sum of all gradients so "
        "far, old ones as much as new ones."
    )
    return drawn(TITLE, reading, 2, draw)
