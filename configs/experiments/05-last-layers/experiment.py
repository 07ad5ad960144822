"""A network whose gradient vanishes with its early half frozen: the same curve, and why that makes it no shallow network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import gradscope
from gradscope.probe import Probe
from gradscope.record.run import Run
from gradscope.render import theme
from gradscope.signals.events import series
from gradscope.signals.ratios import geometric_mean
from gradscope.training.build import build
from gradscope.training.config import load_config
from gradscope.training.trainer import Trainer
from scripts.experiments import Number, Result, codes, drawn, logarithmic, probed, titled, trained, typical_gains

TITLE = "Only the last layers train"
CONFIG = Path(__file__).parent / "config.yaml"
EARLY = 4
"""Layers of eight that are frozen."""
GUESSING = 183 / 1797
"""Share of the digits' most frequent class, the three."""
BY_CHANCE = math.sqrt(GUESSING * (1 - GUESSING) / 1280)
"""Standard error of the accuracy of guessing, over ten steps of 128 rows."""
TWIN, SHALLOW = "model.activation=tanh", "model.depth=4"
DEEPER = "model.depth=12", "model.width=256"
"""A network of the same kind that is deeper and wider, so that a factor per layer is the mean of many."""


@dataclass(frozen=True, eq=False)
class Pair:
    """One network trained whole, and trained with its early half as it was drawn."""

    whole: Run
    frozen: Run

    @property
    def distance(self) -> float:
        """The largest distance of the two losses, as a share of what the training won."""
        a, b = series(self.whole, "loss").values, series(self.frozen, "loss").values
        return float(np.abs(a - b).max() / (a[0] - a[-20:].mean()))

    @property
    def early_share(self) -> float:
        """The early half's part of the squared gradient over the training: of each small step's fall of the loss."""
        grid = self.whole.grid("parameters", "grad_norm")
        squares = np.square(grid.values).sum(axis=0)
        early = [any(name.startswith(f"layers.{i}.") for i in range(EARLY)) for name in grid.names]
        return float(squares[early].sum() / squares.sum())


def run(short: bool) -> Result:
    seeds, steps = ((0,), 80) if short else ((0, 1, 2), 300)
    sick = [pair(steps, f"seed={seed}") for seed in seeds]
    well = [pair(steps, f"seed={seed}", TWIN) for seed in seeds]
    shallow = [trained(CONFIG, SHALLOW, f"seed={seed}", "record.every=50") for seed in seeds]
    untrained, spread = probed(CONFIG, *DEEPER), spreads()
    back, predicted = typical_gains(untrained.layers[2:-1])
    ahead = geometric_mean(spread[2:-1] / spread[1:-2])
    assert ahead is not None
    over = "" if short else ", the worst of three seeds"
    theory = "sqrt(chi), both ways (Schoenholz et al. 2017); ten times the spread over eight seeds, 0.5 %"
    numbers = (
        Number(
            f"largest distance of the losses, frozen and whole, over what was won{over}", max(p.distance for p in sick),
            0.0, 0.01, "one per cent: the width of a line in the figure",
        ),
        Number(
            f"healthy twin: largest distance of the losses{over}", min(p.distance for p in well),
            0.1, np.inf, "ten times that",
        ),
        Number(
            f"early half's share of the descent{over}", max(p.early_share for p in sick), 0.0, 1e-4,
            "0.01 squared: what GS101 calls vanishing",
        ),
        Number(
            f"healthy twin: early half's share{over}", min(p.early_share for p in well), 0.25, 1.0,
            "half of what half of the layers have where gradients are level",
        ),
        Number(
            f"accuracy of the whole network{over}", max(accuracy(p.whole) for p in sick), 0.0, GUESSING + 5 * BY_CHANCE,
            "guessing the most frequent class, and five standard errors",
        ),
        Number(
            f"accuracy of a network that is the last four layers alone{over}", min(map(accuracy, shallow)), 0.8, 1.0,
            "it learns; limit: below the 0.94 of the worst of three seeds",
        ),
        Number.near("gradient: factor per layer, going back", back, predicted, theory, within=0.05),
        Number.near("differences between inputs: factor per layer, going ahead", ahead, predicted, theory, within=0.05),
        Number("rules that call it vanishing", float("GS101" in codes(sick[0].whole)), 1.0, 1.0, "GS101"),
        Number("rules that call the twin vanishing", float("GS101" in codes(well[0].whole)), 0.0, 0.0, "GS101"),
    )  # fmt: skip
    return Result(numbers, figure(sick[0], well[0], shallow[0], untrained, spread))


def pair(steps: int, *options: str) -> Pair:
    return Pair(*(halved(steps, options, freeze=freeze) for freeze in (False, True)))


def halved(steps: int, options: Sequence[str], *, freeze: bool) -> Run:
    """The config's training as a loop written out, with the early half of the network frozen or not."""
    trainer = Trainer(build(load_config(CONFIG, ["device=cpu", f"training.steps={steps}", *options])))
    if freeze:
        for i in range(EARLY):
            trainer.model.get_submodule(f"layers.{i}").requires_grad_(False)
    with gradscope.watch(trainer.model, trainer.optimizer, every=10) as scope:
        for step in range(steps):
            loss, accuracy = trainer.step(step)
            scope.step(loss, accuracy=accuracy)
    return scope.run


def accuracy(run: Run) -> float:
    return float(series(run, "accuracy").values[-10:].mean())


@torch.no_grad()
def spreads() -> np.ndarray:
    """How far inputs are apart at each layer of that network: the norm of what differs from the batch's mean."""
    setup = build(load_config(CONFIG, ["device=cpu", *DEEPER]))
    outputs: list[float] = []
    for layer in setup.model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(lambda _, __, z: outputs.append(float((z - z.mean(0)).double().norm())))
    setup.model(setup.first_batch()[0])
    return np.array(outputs)


def figure(sick: Pair, well: Pair, shallow: Run, untrained: Probe, spread: np.ndarray) -> Figure:
    def draw(axes: Sequence[Axes]) -> None:
        left = {"whole": sick.whole, "early half frozen": sick.frozen, "last 4 layers alone": shallow}
        right = {"whole": well.whole, "early half frozen": well.frozen}
        for panel, title, shown in ((axes[0], "Sigmoid", left), (axes[1], "Its healthy twin, tanh", right)):
            for i, (label, run) in enumerate(shown.items()):
                loss = series(run, "loss")
                every = max(len(loss.steps) // 6, 1)
                panel.plot(loss.steps, loss.values, label=label, markevery=(i * every // 3, every), **theme.run_look(i).line())
            titled(panel, title, "training step", "loss", ylim=(0.0, 2.8))
            panel.legend(loc="lower left" if panel is axes[0] else "upper right")
        ratios = np.array([layer.ratio or np.nan for layer in untrained.layers])
        at = np.arange(1, len(ratios) + 1)
        axes[2].plot(at, ratios, label="gradient, going back", **theme.run_look(0).line())
        axes[2].plot(at, spread / spread[0], label="differences, going ahead", **theme.run_look(1).line())
        logarithmic(axes[2], "y", 1e-9, 1e2)
        titled(axes[2], "Twelve sigmoid layers, untrained", "layer, from input to output", "relative to where it starts")
        axes[2].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[2].legend(loc="upper center")

    reading = (
        "On the left freezing half of the network changes nothing, for nothing is learned; four layers alone would. On the "
        "right why: what is left of the gradient after each layer is what is left of the differences between inputs."
    )
    return drawn(TITLE, reading, 3, draw)
