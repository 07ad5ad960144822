"""Exploding gradients: the gain per layer above 1, by depth and scale of the weights; and not the size of the gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import gradscope
from gradscope.detect.engine import check
from gradscope.record.finding import Report
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.signals.events import broke_at, series
from gradscope.signals.ratios import backward_gain, geometric_mean, hidden_backward_ratio
from gradscope.training.build import build
from gradscope.training.config import load_config
from gradscope.training.trainer import Trainer
from scripts.experiments import Number, Result, drawn, logarithmic, titled, trained

TITLE = "Exploding gradients"
CONFIG = Path(__file__).parent / "config.yaml"
DEPTHS = (5, 10, 20, 30)
FACTOR = 1e5


def run(short: bool) -> Result:
    exploding = trained(CONFIG)
    gains = {gain: trained(CONFIG, f"model.init.gain={gain}", "training.steps=1") for gain in (1.4142, 2.0, 3.0)}
    ends = {depth: end_to_end(trained(CONFIG, f"model.depth={depth}", "training.steps=1")) for depth in DEPTHS}
    slope = math.exp(np.polyfit(DEPTHS, np.log(list(ends.values())), 1)[0])
    healthy = {factor: scaled(factor, 60 if short else 200) for factor in (1.0, FACTOR)}
    largest = {factor: float(series(run, "total_norm").values.max()) for factor, run in healthy.items()}
    broken = broke_at(exploding)
    report = check(exploding)
    per_layer = "sqrt(sigma_w^2 / 2) for ReLU (He et al. 2015)"
    numbers = (
        *(
            Number.near(f"gain per layer, weights {g:g} / sqrt(fan_in)", typical(run), g / math.sqrt(2), per_layer, within=0.06)
            for g, run in gains.items()
        ),
        Number.near("growth of the end-to-end ratio per layer of depth", slope, 3 / math.sqrt(2), per_layer, within=0.1),
        Number("steps until the loss is no number any more", math.inf if broken is None else broken, 0.0, 5.0, "measured"),
        Number("rules that call it exploding", float("GS102" in codes(report)), 1.0, 1.0, "GS102"),
        Number("loss times 1e5 under Adam: factor of the gradient", largest[FACTOR] / largest[1.0], 0.3e5, 3e5, "linearity"),
        Number("rules that call that exploding", float("GS102" in codes(check(healthy[FACTOR]))), 0.0, 0.0, "ratios of layers"),
        Number("its accuracy", float(series(healthy[FACTOR], "accuracy").values[-10:].mean()), 0.85, 1.0, "it learns"),
    )  # fmt: skip
    return Result(numbers, figure(gains, exploding, healthy))


def typical(run: Run) -> float:
    """The geometric mean of the hidden layers' gains at step 0."""
    found = geometric_mean(backward_gain(run).values[0, 1:-1])
    assert found is not None
    return found


def end_to_end(run: Run) -> float:
    return float(hidden_backward_ratio(run).values[0, 0])


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def scaled(factor: float, steps: int) -> Run:
    """A healthy network under Adam, its loss multiplied: every gradient is as much larger, and no layer's gain is."""
    options = ["model.init.gain=auto", "model.depth=6", "optimizer={name: adam, lr: 0.001}", f"training.steps={steps}"]
    trainer = Trainer(build(load_config(CONFIG, ["device=cpu", *options])))
    with gradscope.watch(trainer.model, trainer.optimizer, every=1) as scope:
        for step in range(steps):
            x, y = trainer.batches[step]
            trainer.optimizer.zero_grad()
            outputs = trainer.model(x)
            loss = factor * trainer.setup.loss(outputs, y)
            torch.autograd.backward(loss)
            trainer.optimizer.step()
            scope.step(loss, accuracy=(outputs.argmax(1) == y).float().mean())
    return scope.run


def figure(gains: dict[float, Run], exploding: Run, healthy: dict[float, Run]) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        highest = 1.0
        for i, (gain, run) in enumerate(gains.items()):
            ratio = hidden_backward_ratio(run)
            axes[0].plot(
                np.arange(1, len(ratio.layers) + 1), ratio.values[0], label=f"sigma_w {gain:.3g}", **theme.run_look(i).line()
            )
            highest = max(highest, float(ratio.values[0].max()))
        logarithmic(axes[0], "y", 0.1, 5 * highest)
        titled(
            axes[0],
            "Twenty ReLU layers at the first step",
            "layer, from input to output",
            "gradient, relative to the last hidden layer's",
        )
        axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].legend(loc="upper right")
        for i, (factor, run) in enumerate(healthy.items()):
            loss = series(run, "loss")
            label = "loss" if factor == 1.0 else "loss times 1e5"
            axes[1].plot(
                loss.steps, loss.values, label=label, markevery=max(len(loss.steps) // 6, 1), **theme.run_look(i).line()
            )
        loss = series(exploding, "loss").upto(broke_at(exploding) or 0)
        axes[1].plot(loss.steps, loss.values, label="sigma_w 3, until NaN", **theme.run_look(2).line())
        finite = loss.values[np.isfinite(loss.values)]
        logarithmic(axes[1], "y", 1e-4, 10 * max(float(finite.max(initial=1.0)), 1e6))
        titled(axes[1], "A large gradient is not an exploding one", "training step", "loss")
        axes[1].legend(loc="upper right")

    reading = (
        "On the left what explodes: each layer multiplies the gradient by more than 1. On the right what only looks so: a loss "
        "times 1e5 has gradients 1e5 times as large, and learns as before."
    )
    return drawn(TITLE, reading, 2, draw)
